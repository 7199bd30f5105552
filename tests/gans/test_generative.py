"""What is done with a trained model: truncation and standing statistics."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_gan import GAN
from lightning_gan.gans import AdversarialModule
from lightning_gan.layers import spectral_normalize
from lightning_gan.networks import BigGANDiscriminator, BigGANGenerator
from tests.toys import VARIANTS, flat, image_networks, networks_for, toy_networks

every_variant = pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)


def seeded(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def latents_as_samples(length: int = 20) -> GAN:
    """Return a model that shows its latents."""
    return GAN(nn.Identity(), nn.Linear(length, 1), latent_dim=length)


def biggan(num_classes: int | None = 3) -> GAN:
    """Return a tiny BigGAN that was normalised as the paper has it."""
    generator = BigGANGenerator(8, base_channels=2, embedding_dim=3, num_classes=num_classes)
    discriminator = BigGANDiscriminator(base_channels=2, num_classes=num_classes)
    return GAN(spectral_normalize(generator), spectral_normalize(discriminator))


def statistics(network: nn.Module) -> dict[str, Tensor]:
    buffers = network.named_buffers()
    return {name: value.clone() for name, value in buffers if "running" in name}


# Truncation


@pytest.mark.parametrize("truncation", [0.05, 0.5, 2.0])
def test_latents_are_normal_within_the_bound(truncation: float) -> None:
    """Kolmogorov and Smirnov's distance to (Phi(x) - Phi(-t)) / (Phi(t) - Phi(-t))."""
    values = latents_as_samples().sample(2000, None, seeded(), truncation).flatten().double()
    assert values.abs().max() <= truncation
    values, _ = values.sort()
    low, high = (math.erf(x / 2**0.5) for x in (-truncation, truncation))
    expected = (torch.erf(values / 2**0.5) - low) / (high - low)
    steps = torch.arange(len(values) + 1, dtype=torch.float64) / len(values)
    distance = torch.maximum((steps[1:] - expected).max(), (expected - steps[:-1]).max())
    assert distance < 1.63 / len(values) ** 0.5  # exceeded by one sample of 100


@every_variant
def test_truncation_draws_from_every_variant(variant: type[AdversarialModule]) -> None:
    model = variant(**networks_for(variant, image_networks))
    draws = [model.sample(9, generator=seeded(), truncation=0.3) for _ in range(2)]
    assert torch.equal(*draws)
    assert draws[0].shape == (9, 1, 8, 8)
    assert draws[0].abs().max() <= 1
    assert not torch.equal(draws[0], model.sample(9, generator=seeded(), truncation=0.6))


def test_truncation_keeps_the_labels() -> None:
    model = GAN(**toy_networks(num_classes=3))
    labels = torch.tensor([2, 0])
    latents = torch.nn.init.trunc_normal_(
        torch.empty(2, model.latent_dim), a=-0.5, b=0.5, generator=seeded()
    )
    actual = model.sample(2, labels, seeded(), truncation=0.5)
    torch.testing.assert_close(actual, model.render(latents, labels), rtol=0, atol=0)


def test_truncation_takes_the_global_generator_by_default() -> None:
    model, draws = latents_as_samples(), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(model.sample(4, truncation=0.5))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize("truncation", [0.0, -0.5, float("nan")])
def test_wrong_truncation(truncation: float) -> None:
    message = f"Expected 'truncation' to be positive, got {truncation}"
    with pytest.raises(ValueError, match=message):
        latents_as_samples().sample(2, truncation=truncation)
    model = GAN(**image_networks())
    before = statistics(model.generator)
    with pytest.raises(ValueError, match=message):
        model.standing_statistics(2, 4, truncation=truncation)
    torch.testing.assert_close(statistics(model.generator), before, rtol=0, atol=0)


# Standing statistics


class _Scaled(nn.Module):
    """Normalises its latents, scaled by 1 + its label."""

    latent_dim, num_classes = 2, 3

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(2)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        y: Tensor = self.norm(z * (1 + labels[:, None]))
        return y


@pytest.mark.parametrize("truncation", [None, 0.7])
def test_statistics_are_those_of_fresh_latents_and_labels(truncation: float | None) -> None:
    """Of labels 0, 1 and 2 alike, E[(1 + label)^2] = 14/3."""
    model = GAN(_Scaled(), nn.Linear(2, 1))
    model.standing_statistics(20, 2000, seeded(), truncation)
    variance = 1.0
    if truncation is not None:
        density = math.exp(-(truncation**2) / 2) / math.sqrt(2 * math.pi)
        variance -= 2 * truncation * density / math.erf(truncation / 2**0.5)
    norm: Any = model.generator.norm
    expected = torch.full((2,), 14 / 3 * variance)
    torch.testing.assert_close(norm.running_var, expected, rtol=0.03, atol=0)
    torch.testing.assert_close(norm.running_mean, torch.zeros(2), rtol=0, atol=0.03)
    assert norm.num_batches_tracked == 20


@every_variant
def test_every_variant_has_standing_statistics(variant: type[AdversarialModule]) -> None:
    model = variant(**networks_for(variant, image_networks))
    modes = {module: module.training for module in model.modules()}
    weights, before = flat(model), statistics(model.generator)
    seen = []
    for _ in range(2):
        model.standing_statistics(3, 16, seeded())
        seen.append(statistics(model.generator))
    torch.testing.assert_close(seen[0], seen[1], rtol=0, atol=0)
    assert not any(torch.equal(seen[0][name], before[name]) for name in before)
    assert torch.equal(flat(model), weights)
    assert {module: module.training for module in model.modules()} == modes


def test_the_network_that_samples_is_measured() -> None:
    model = GAN(**image_networks())
    average = model.attach_ema()
    trained, averaged = statistics(model.generator), statistics(average)
    model.standing_statistics(2, 8, seeded())
    torch.testing.assert_close(statistics(model.generator), trained, rtol=0, atol=0)
    assert not any(torch.equal(statistics(average)[name], averaged[name]) for name in averaged)


@pytest.mark.parametrize("num_classes", [None, 3])
def test_samples_depend_on_their_latents_alone(num_classes: int | None) -> None:
    model = biggan(num_classes)
    model.attach_ema()
    model.standing_statistics(4, 16, seeded(1), truncation=0.5)
    draws = [model.sample(6, generator=seeded(), truncation=0.5) for _ in range(2)]
    assert torch.equal(*draws)
    latents = torch.nn.init.trunc_normal_(torch.empty(6, 8), a=-0.5, b=0.5)
    labels = None if num_classes is None else torch.arange(6) % num_classes
    together = model.render(latents, labels)
    for i in range(6):
        alone = model.render(latents[i : i + 1], None if labels is None else labels[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-4, atol=1e-5)


def test_statistics_fit_the_weights_that_sample() -> None:
    """Of one batch, evaluation with them is what training mode gives, but for n - 1."""
    model = biggan(num_classes=None)
    model.generator.eval()
    trained = copy.deepcopy(model.generator)
    for module in trained.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train()
    latents = model.sample_latents(64, seeded())
    expected = trained(latents).detach()
    assert (model.render(latents) - expected).abs().max() > 0.1
    model.standing_statistics(1, 64, seeded())
    torch.testing.assert_close(model.render(latents), expected, rtol=0, atol=0.01)


def test_wrong_numbers_of_batches() -> None:
    model = GAN(**image_networks())
    with pytest.raises(ValueError, match="the number of batches to be at least 1, got 0"):
        model.standing_statistics(0, 4)
    with pytest.raises(ValueError, match="'batch_size' to be at least 1, got 0"):
        model.standing_statistics(4, 0)


def test_generator_without_batch_normalisation() -> None:
    with pytest.raises(ValueError, match=r"Expected a network with batch .* got a MLPGenerator"):
        GAN(**toy_networks()).standing_statistics(2, 4)
