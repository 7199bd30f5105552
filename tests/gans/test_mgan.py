"""MGAN with a linear discriminator against torch's cross-entropies."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot

from lightning_gan import MGAN
from lightning_gan.networks import (
    MixtureGenerator,
    MLPDiscriminator,
    MLPGenerator,
    MultiScaleDiscriminator,
)
from lightning_gan.training import GradientPenalty
from lightning_gan.training.batch import Batch
from tests.toys import ToyData, flat, points, sgd, toy_networks, toy_trainer

K = 3
REAL, FAKE = torch.randn(6, 2), torch.randn(6, 2)
MAKERS = torch.tensor([0, 2, 2, 1, 0, 2])
LATENTS = torch.cat([torch.randn(6, 2), one_hot(MAKERS, K)], dim=1)  # the last K coordinates choose


def _model(outputs: int = 1 + K, **options: Any) -> MGAN:
    generator = MixtureGenerator(MLPGenerator(latent_dim=2, hidden=(4,)), K)
    return MGAN(generator, nn.Linear(2, outputs), **options)


def _targets(value: float) -> Tensor:
    return torch.full((6,), value)


@pytest.mark.parametrize(("options", "beta"), [({}, 0.01), ({"diversity_weight": 0.125}, 0.125)])
@pytest.mark.parametrize(("b", "a"), [(1.0, 0.0), (0.9, 0.1)])
def test_terms_are_cross_entropies(
    options: dict[str, Any], beta: float, b: float, a: float
) -> None:
    model = _model(real_target=b, fake_target=a, **options)
    real, fake = Batch(REAL), Batch(FAKE, latents=LATENTS)
    real_outputs, fake_outputs = model.discriminator(REAL), model.discriminator(FAKE)
    entropy = binary_cross_entropy_with_logits
    d_terms, g_terms = model.discriminator_loss(real, fake), model.generator_loss(real, fake)
    expected = entropy(real_outputs[:, 0], _targets(b)) + entropy(fake_outputs[:, 0], _targets(a))
    torch.testing.assert_close(d_terms["adversarial"], expected, rtol=1e-5, atol=1e-5)
    expected = entropy(fake_outputs[:, 0], _targets(1.0))
    torch.testing.assert_close(g_terms["adversarial"], expected, rtol=1e-5, atol=1e-5)
    makers = cross_entropy(fake_outputs[:, 1:], MAKERS)
    torch.testing.assert_close(d_terms["generators"], makers, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(g_terms["generators"], beta * makers, rtol=1e-5, atol=1e-6)
    assert [*d_terms] == [*g_terms] == ["adversarial", "generators"]


def test_equal_scores_cost_the_logarithm_of_the_generators() -> None:
    model = _model(diversity_weight=1.0)
    for parameter in model.discriminator.parameters():
        nn.init.zeros_(parameter)
    batch = model.generate(50)
    for terms in (model.discriminator_loss(batch, batch), model.generator_loss(batch, batch)):
        assert terms["generators"].item() == pytest.approx(math.log(K))


def test_makers_are_those_that_made_the_samples() -> None:
    """Generator k makes the k-th unit vector only, and the classifier reads it off."""
    pattern = MLPGenerator(latent_dim=2, sample_shape=(K,), hidden=(4,))
    generator = MixtureGenerator(pattern, K)
    for k, part in enumerate(generator.generators):
        output = part.layers[2]  # type: ignore[index]
        assert isinstance(output, nn.Linear)
        nn.init.zeros_(output.weight)
        output.bias = nn.Parameter(torch.eye(K)[k])
    classifier = nn.Linear(K, 1 + K)
    classifier.weight = nn.Parameter(torch.cat([torch.zeros(1, K), 100 * torch.eye(K)]))
    model = MGAN(generator, classifier)
    fake = model.generate(40)
    assert len(fake.samples.unique(dim=0)) == K
    assert model.discriminator_loss(fake, fake)["generators"].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("others", [0.0, 100.0])
def test_penalties_see_the_first_column_alone(others: float, tmp_path: Path) -> None:
    model = _model(penalties=[GradientPenalty(10.0)], optimizer_g=sgd, optimizer_d=sgd)
    weight = others * torch.randn(1 + K, 2)
    weight[0] = torch.tensor([3.0, 4.0])  # of norm 5
    model.discriminator.weight = nn.Parameter(weight)
    trainer = toy_trainer(tmp_path, max_steps=1, log_every_n_steps=1)
    trainer.fit(model, ToyData(REAL))
    logged = trainer.callback_metrics["train/d_gradient_penalty"].item()
    assert logged == pytest.approx(10 * (5 - 1) ** 2)


def test_defaults_are_the_papers() -> None:
    model = _model()
    assert (model.n_critic, model.diversity_weight, model.num_outputs) == (1, 0.01, 1 + K)
    for optimizer in model.configure_optimizers()[0]:
        assert isinstance(optimizer, torch.optim.Adam)
        assert optimizer.defaults["lr"] == 2e-4
        assert optimizer.defaults["betas"] == (0.5, 0.999)


def test_single_generators_are_refused() -> None:
    message = r"Expected a MixtureGenerator as 'generator' of MGAN, got MLPGenerator\. Wrap it"
    with pytest.raises(ValueError, match=message):
        MGAN(**toy_networks(num_outputs=1 + K))


def test_discriminators_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    generator = MixtureGenerator(MLPGenerator(), K)
    with pytest.raises(ValueError, match=r"with num_outputs=4, .* got num_outputs=3\."):
        MGAN(generator, MLPDiscriminator(num_outputs=K))
    model = _model(outputs=K)  # a foreign one, whose outputs are seen only when it is run
    before = flat(model)
    with pytest.raises(ValueError, match=r"4 outputs per sample, \(2, 4\), got \(2, 3\)\."):
        toy_trainer(tmp_path).fit(model, points())
    assert torch.equal(flat(model), before)


@pytest.mark.parametrize("value", [-0.1, float("nan")])
def test_negative_weights_are_refused(value: float) -> None:
    message = f"Expected 'diversity_weight' to be non-negative, got {value}"
    with pytest.raises(ValueError, match=message):
        _model(diversity_weight=value)


def test_unknown_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match=r"MGAN has no argument 'diversity'\."):
        _model(diversity=1.0)
    with pytest.raises(TypeError, match=r"Did you mean 'diversity_weight'\?"):
        _model(diversity_weigth=1.0)


def test_scales_are_not_taken_for_makers() -> None:
    scales = MultiScaleDiscriminator([MLPDiscriminator((1, 8, 8)) for _ in range(1 + K)])
    generator = MixtureGenerator(MLPGenerator(sample_shape=(1, 8, 8)), K)
    with pytest.raises(ValueError, match=r"num_outputs=4.* got num_outputs=1"):
        MGAN(generator, scales)
