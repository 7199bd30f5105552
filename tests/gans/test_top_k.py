"""Which generated samples the generator learns from."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from lightning_gan import GAN, MGAN, R3GAN, WGAN, WGANGP
from lightning_gan.networks import MultiScaleDiscriminator, PatchDiscriminator
from lightning_gan.training import Batch, FeatureMatching, LatentDiversity, LinearSchedule
from lightning_gan.training.penalty import Terms
from tests.toys import (
    NUM_CLASSES,
    flat,
    image_networks,
    images,
    labelled,
    mixture_networks,
    points,
    sgd,
    toy_networks,
    toy_trainer,
)

SLOPE = torch.tensor([2.0, -1.0])
REAL, FAKE = torch.randn(10, 2), torch.randn(10, 2)


class Critic(nn.Module):
    """A linear discriminator that counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(SLOPE.clone())
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        logits: Tensor = x.unflatten(1, (-1, 2)).sum(1) @ self.slope
        return logits


def game(variant: Any = WGAN, **options: Any) -> Any:
    return variant(nn.Linear(3, 2), Critic(), latent_dim=3, **options)


def best(samples: Tensor, k: int) -> list[int]:
    """Return the places of the k largest logits, by sorting."""
    logits = (samples @ SLOPE).tolist()
    return sorted(sorted(range(len(logits)), key=lambda i: -logits[i])[:k])


def learns_from(model: Any, fake: Tensor = FAKE) -> tuple[list[int], Tensor]:
    """Return the rows that a gradient reaches, and the gradient."""
    fake = fake.clone().requires_grad_()
    [term] = model.generator_terms(Batch(REAL[: len(fake)]), Batch(fake), 0).values()
    (gradient,) = torch.autograd.grad(term, fake)
    return gradient.abs().sum(1).nonzero().flatten().tolist(), gradient


@pytest.mark.parametrize("variant", [GAN, WGAN, R3GAN])
@pytest.mark.parametrize(("share", "k"), [(1.0, 10), (0.5, 5), (0.3, 3), (0.01, 1)])
def test_best_samples_alone_have_a_gradient(variant: Any, share: float, k: int) -> None:
    rows, _ = learns_from(game(variant, top_k=share))
    assert rows == best(FAKE, k)


def test_gradient_is_the_mean_over_the_best() -> None:
    rows, gradient = learns_from(game(top_k=0.4))
    expected = torch.zeros(10, 2)
    expected[rows] = -SLOPE / 4
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=0)


def test_pairing_gets_as_many_real_samples() -> None:
    model = game(R3GAN, top_k=0.4)
    [term] = model.generator_terms(Batch(REAL), Batch(FAKE), 0).values()
    expected = softplus((REAL[:4] - FAKE[best(FAKE, 4)]) @ SLOPE).mean()
    torch.testing.assert_close(term.detach(), expected, rtol=1e-6, atol=1e-7)


def test_share_follows_the_images_seen() -> None:
    model = game(top_k=LinearSchedule(1.0, 0.2, images=100))
    counts = []
    for seen in (0, 25, 50, 100, 1000):
        model.images_seen = seen
        counts.append(len(learns_from(model)[0]))
    assert counts == [10, 8, 6, 2, 2]


def test_discriminator_sees_all() -> None:
    model = game(top_k=0.1)
    terms = model.discriminator_terms(Batch(REAL), Batch(FAKE), 0)
    expected = ((FAKE - REAL) @ SLOPE).mean()
    torch.testing.assert_close(terms["wasserstein"].detach(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("share", "calls"), [(1.0, 1), (0.5, 2)])
def test_nobody_is_asked_where_all_are_kept(share: float, calls: int) -> None:
    model = game(top_k=share)
    learns_from(model)
    assert model.discriminator.calls == calls


def test_packs_are_chosen_as_a_whole() -> None:
    model = game(top_k=0.4, packing=2)
    packs = Batch(FAKE).packed(2).samples
    sums = packs[:, :2] + packs[:, 2:]
    assert learns_from(model, packs)[0] == best(sums, 2)


class _Watched(MGAN):
    """Remembers what its generator's loss was given."""

    given: tuple[Batch, Batch]

    def generator_loss(self, real: Batch, fake: Batch) -> Terms:
        self.given = real, fake
        return super().generator_loss(real, fake)


def test_labels_and_latents_stay_with_their_samples() -> None:
    model = _Watched(**mixture_networks(toy_networks, NUM_CLASSES), top_k=0.3)
    labels = torch.arange(10)
    fake = model.generate(10, labels)
    model.generator_terms(Batch(REAL, labels), fake, 0)
    real, kept = model.given
    assert kept.labels is not None
    assert len(kept.labels) == 3
    for actual, whole in zip(kept, fake, strict=True):
        assert actual is not None
        assert whole is not None
        assert torch.equal(actual, whole[kept.labels])
    assert torch.equal(real.samples, REAL[:3])
    assert real.labels is not None
    assert real.labels.tolist() == [0, 1, 2]


def test_maps_of_logits_count_with_their_means() -> None:
    discriminator = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.ones_(discriminator.weight)
    model = WGAN(nn.Linear(2, 1), discriminator, latent_dim=2, top_k=0.5)
    fake = torch.full((4, 1, 2, 2), -1.0)
    fake[0, 0, 0, 0] = 5.0  # mean 0.5
    fake[2] = 1.0
    fake[3, 0, 0, 0] = 1.5  # mean -0.375
    fake.requires_grad_()
    [term] = model.generator_terms(Batch(torch.zeros_like(fake)), Batch(fake), 0).values()
    (gradient,) = torch.autograd.grad(term, fake)
    assert gradient.abs().sum((1, 2, 3)).nonzero().flatten().tolist() == [0, 2]


@pytest.mark.parametrize("kind", [PatchDiscriminator, MultiScaleDiscriminator])
def test_discriminators_of_several_logits(kind: Any, tmp_path: Path) -> None:
    networks = image_networks()
    if kind is PatchDiscriminator:
        networks["discriminator"] = PatchDiscriminator(1, base_channels=4, num_layers=1)
    else:
        scales = [nn.Conv2d(1, 1, 3) for _ in range(2)]
        networks["discriminator"] = MultiScaleDiscriminator(scales)
    _train_half(GAN(**networks, top_k=0.5), images(), tmp_path)


def test_every_iteration_in_half_precision(tmp_path: Path) -> None:
    model = WGANGP(
        **image_networks(NUM_CLASSES),
        top_k=LinearSchedule(1.0, 0.5, images=20),
        penalties=[LatentDiversity(), FeatureMatching()],
    )
    _train_half(model, labelled(images()), tmp_path)


def _train_half(model: Any, data: Any, folder: Path) -> None:
    before = flat(model.generator)
    toy_trainer(folder, max_steps=4, precision="bf16-mixed").fit(model, data)
    assert flat(model).isfinite().all()
    assert not torch.equal(flat(model.generator), before)


def test_update_through_the_trainer(tmp_path: Path) -> None:
    """A bias moves by the rate times the slope, however many samples are left."""
    for share in (1.0, 0.25):
        model = game(top_k=share, n_critic=1, weight_clip_val_d=None,
                     optimizer_g=sgd, optimizer_d=lambda p: torch.optim.SGD(p, lr=0.0))  # fmt: skip
        before = model.generator.bias.detach().clone()
        toy_trainer(tmp_path, max_steps=1).fit(model, points())
        moved = model.generator.bias.detach() - before
        torch.testing.assert_close(moved, 0.05 * SLOPE, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5, float("nan"), LinearSchedule(1.0, 0.0, 10)])
def test_shares_out_of_range_are_refused(share: Any) -> None:
    with pytest.raises(ValueError, match=r"Expected 'top_k' to be in \[1e-06, 1\], got"):
        game(top_k=share)
