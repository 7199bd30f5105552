"""Packs: what the discriminator, penalties and augmentation are shown."""

from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn

from lightning_gan import ACGAN, GAN, MADGAN, MGAN, WGAN, WGANGP
from lightning_gan.gans import AdversarialModule
from lightning_gan.networks import (
    DCGANDiscriminator,
    DCGANGenerator,
    MLPDiscriminator,
    MLPGenerator,
)
from lightning_gan.training import (
    R1,
    R2,
    Augmentation,
    Batch,
    ConsistencyRegularization,
    ExperienceReplay,
    FeatureMatching,
    GradientPenalty,
    LatentConsistency,
    LatentDiversity,
    LeCam,
    Penalty,
)
from tests.gans.test_base_ddp import _UnionRandom
from tests.ranks import WORLD_SIZE, Ranks
from tests.toys import (
    NUM_CLASSES,
    VARIANTS,
    ToyData,
    ValidatedData,
    flat,
    images,
    labelled,
    mixture_networks,
    networks_for,
    points,
    sgd,
    toy_networks,
    toy_trainer,
)

sizes = pytest.mark.parametrize("size", [2, 3])


class Watched(nn.Module):
    """A linear discriminator of packs that remembers what it is shown."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.linspace(-1.0, 2.0, 2 * size))
        self.shown: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.shown.append(x.detach().clone())
        return x @ self.slope


class Remembering(GAN):
    """Keeps what it generated."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.made: list[Tensor] = []

    def generate(self, n: int, labels: Tensor | None = None) -> Batch:
        fake = super().generate(n, labels)
        self.made.append(fake.samples.detach())
        return fake


def game(size: int, *penalties: Penalty, **options: Any) -> Remembering:
    watched = Watched(size)
    model = Remembering(
        nn.Linear(3, 2), watched, latent_dim=3, packing=size, penalties=penalties, **options
    )
    model.watched = watched
    return model


def shown(model: Any) -> list[Tensor]:
    found: list[Tensor] = model.watched.shown
    return found


def packs(samples: Tensor, size: int) -> Tensor:
    """Join neighbours one by one."""
    whole = range(0, len(samples) - size + 1, size)
    return torch.stack([torch.cat([*samples[i : i + size]]) for i in whole])


# What the discriminator is shown


@sizes
def test_discriminator_is_shown_neighbours_of_one_kind(size: int, tmp_path: Path) -> None:
    model = game(size, n_critic=2)
    data = points(n=26, batches=1)
    toy_trainer(tmp_path, max_steps=1).fit(model, data)
    parts = data.batches[0].tensor_split(2)
    made = model.made[1:]  # after two that were tried
    assert [len(samples) for samples in made] == [13, 13, 13]
    expected = [parts[0], made[0], parts[1], made[1], made[2]]
    assert len(shown(model)) == 1 + len(expected)
    assert shown(model)[0].shape == (2, 2 * size)
    for actual, samples in zip(shown(model)[1:], expected, strict=True):
        torch.testing.assert_close(actual, packs(samples, size), rtol=0, atol=0)
    assert model.images_seen == 26


def test_images_are_joined_channel_by_channel() -> None:
    """Two samples of three channels each look like one of six to a convolution."""
    convolution = nn.Conv2d(6, 1, 3, bias=False)
    discriminator = nn.Sequential(convolution, nn.Flatten())
    model = GAN(DCGANGenerator(4, 8, base_channels=2), discriminator, packing=2)
    x = torch.randn(4, 3, 8, 8)
    halves = convolution.weight.detach().split(3, dim=1)
    outputs = model.logits(Batch(x).packed(2)).view(2, 6, 6)
    for i in range(2):
        apart = [nn.functional.conv2d(x[2 * i + j][None], halves[j])[0, 0] for j in range(2)]
        torch.testing.assert_close(outputs[i], apart[0] + apart[1], rtol=1e-5, atol=1e-5)


def test_parts_smaller_than_a_pack_are_repeated(tmp_path: Path) -> None:
    model = game(3, n_critic=2)
    data = points(n=3, batches=1)
    toy_trainer(tmp_path, max_steps=1).fit(model, data)
    first, second, third = data.batches[0]
    assert torch.equal(shown(model)[1], torch.cat([first, second, first])[None])
    assert torch.equal(shown(model)[3], torch.cat([third] * 3)[None])


def test_remembered_samples_are_packed_anew(tmp_path: Path) -> None:
    model = game(2, replay=ExperienceReplay(1000, fraction=0.5))
    toy_trainer(tmp_path, max_steps=2).fit(model, points(n=20))
    assert model.replay is not None
    memory = model.replay.state()["samples"]
    assert memory.shape == (20, 2)
    first, second = (shown(model)[i].view(20, 2) for i in (2, 5))
    assert torch.equal(first, model.made[1])
    assert torch.equal(second[10:], model.made[3][10:])
    assert (second[:10, None] == model.made[1][:10]).all(dim=2).any(dim=1).all()


def test_validation_drops_what_is_left_over(tmp_path: Path) -> None:
    model = WGAN(nn.Linear(3, 2), Watched(3), latent_dim=3, packing=3)
    batch = points(n=11, batches=1).batches[0]
    fakes: list[Tensor] = []
    render = model.render

    def spy(*args: Any) -> Tensor:
        fakes.append(render(*args))
        return fakes[-1]

    with patch.object(model, "render", spy):
        [values] = toy_trainer(tmp_path).validate(
            model, ToyData(batch).train_dataloader(), verbose=False
        )
    slope = torch.linspace(-1.0, 2.0, 6)
    real, fake = ((packs(x, 3) @ slope).mean().item() for x in (batch, fakes[0]))
    assert fakes[0].shape == (11, 2)
    assert values["val/d_loss"] == pytest.approx(fake - real, rel=1e-4)
    assert values["val/g_loss"] == pytest.approx(-fake, rel=1e-4)
    assert values["val/real_logits"] == pytest.approx(real, rel=1e-4)


# Penalties


@sizes
def test_gradient_penalty_is_of_whole_packs(size: int) -> None:
    model = game(size, GradientPenalty(10.0), R1(4.0), R2(6.0))
    real, fake = (Batch(torch.randn(12, 2)).packed(size) for _ in range(2))
    terms = model.discriminator_terms(real, fake, 0)
    squared = float(torch.linspace(-1.0, 2.0, 2 * size).double().square().sum())
    expected = {
        "gradient_penalty": 10 * (squared**0.5 - 1) ** 2,
        "r1": 4 / 2 * squared,
        "r2": 6 / 2 * squared,
    }
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value, rel=1e-5)


@sizes
def test_one_point_between_for_each_pack(size: int) -> None:
    model = game(size, GradientPenalty())
    real, fake = (Batch(torch.randn(12, 2)).packed(size) for _ in range(2))
    model.discriminator_terms(real, fake, 0)
    share = (shown(model)[-1] - fake.samples) / (real.samples - fake.samples)
    torch.testing.assert_close(share, share[:, :1].expand_as(share), rtol=1e-3, atol=1e-4)
    assert len(share[:, 0].unique()) == 12 // size
    assert share.min() >= -1e-4
    assert share.max() <= 1 + 1e-4


class Numbering(Augmentation):
    """Multiplies each sample by its place in the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, ...]] = []
        self.observed: list[tuple[int, int]] = []

    def forward(self, samples: Tensor, images: int) -> Tensor:
        self.sizes.append(tuple(samples.shape))
        return samples * torch.arange(len(samples))[:, None]

    def observe(self, real_logits: Tensor, images: int) -> None:
        self.observed.append((len(real_logits), images))


@sizes
def test_consistency_changes_each_sample_of_a_pack(size: int) -> None:
    model = game(size, ConsistencyRegularization(Numbering(), weight=1.0))
    real, fake = torch.randn(6, 2), torch.randn(6, 2)
    batches = Batch(real).packed(size), Batch(fake).packed(size)
    term = model.discriminator_terms(*batches, 0)["consistency"]
    moved = packs(real * (torch.arange(6) - 1)[:, None], size)
    slope = torch.linspace(-1.0, 2.0, 2 * size)
    torch.testing.assert_close(term.detach(), (moved @ slope).square().mean(), rtol=1e-4, atol=1e-5)


def test_packs_are_made_again_from_their_latents_and_classes() -> None:
    generator = MLPGenerator(num_classes=NUM_CLASSES)
    model = GAN(generator, MLPDiscriminator((4,)), packing=2)
    packed = model.generate(6, torch.arange(6)).packed(2)
    assert packed.latents is not None
    again = model.regenerate(packed.latents, packed.labels)
    for actual, expected in zip(again, packed, strict=True):
        assert actual is not None
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)


def test_every_kind_of_penalty_takes_packs(tmp_path: Path) -> None:
    penalties = [
        GradientPenalty(),
        LeCam(),
        ConsistencyRegularization(Numbering(), weight=0.01, fake_weight=1.0),
        LatentConsistency(),
        LatentDiversity(),
        FeatureMatching(),
    ]
    generator = MLPGenerator(num_classes=NUM_CLASSES)
    model = GAN(generator, MLPDiscriminator((4,)), packing=2, penalties=penalties, n_critic=2)
    before = flat(model.generator)
    trainer = toy_trainer(tmp_path, max_steps=3, log_every_n_steps=1)
    trainer.fit(model, labelled(points(n=11)))
    assert not torch.equal(flat(model.generator), before)
    logged = {name.removeprefix("train/") for name in trainer.callback_metrics}
    assert {f"{'g' if p.name in ('latent_diversity', 'feature_matching') else 'd'}_{p.name}"
            for p in penalties} <= logged  # fmt: skip


# Augmentation


@sizes
def test_samples_are_augmented_one_by_one(size: int, tmp_path: Path) -> None:
    augmentation = Numbering()
    model = game(size, augmentation=augmentation)
    data = points(n=13, batches=1)
    toy_trainer(tmp_path, max_steps=1).fit(model, data)
    whole = 13 // size * size
    expected = data.batches[0] * torch.arange(13)[:, None]
    assert augmentation.sizes[1:] == [(whole, 2)] * 3
    torch.testing.assert_close(shown(model)[1], packs(expected, size), rtol=0, atol=0)
    assert augmentation.observed == [(13 // size, whole)]


# Refusals


@pytest.mark.parametrize("size", [0, -1])
def test_packs_of_nothing_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"'packing' to be at least 1, got {size}"):
        GAN(**toy_networks(), packing=size)


@pytest.mark.parametrize(
    ("variant", "networks"),
    [
        (GAN, toy_networks(NUM_CLASSES)),
        (GAN, toy_networks(NUM_CLASSES, conditioning="projection")),
        (ACGAN, toy_networks(10, instead={"num_classes": None}, num_outputs=11)),
        (MGAN, mixture_networks(toy_networks)),
        (MADGAN, mixture_networks(toy_networks)),
    ],
)
def test_packs_of_several_classes_are_refused(variant: Any, networks: Any) -> None:
    message = "tells real from generated samples and nothing else under packing=2, got one with"
    with pytest.raises(ValueError, match=message):
        variant(**networks, packing=2)


def test_discriminator_of_single_samples_is_refused() -> None:
    message = r"'discriminator' for 6 channels under packing=3, 3 times .* 2, got one for 2"
    with pytest.raises(ValueError, match=message):
        GAN(**toy_networks(), packing=3)


def test_foreign_discriminator_of_single_samples_is_refused(tmp_path: Path) -> None:
    model = GAN(nn.Linear(3, 2), nn.Linear(2, 1), latent_dim=3, packing=2)
    before = flat(model)
    with pytest.raises(ValueError, match="Expected 'discriminator' to take"):
        toy_trainer(tmp_path).fit(model, points())
    assert torch.equal(flat(model), before)


# Variants


def toy_packs(num_classes: int | None = None, **options: Any) -> dict[str, Any]:
    networks = toy_networks(num_classes, **options)
    given: Any = {"num_classes": num_classes} | options.pop("instead", {})
    network = MLPDiscriminator((4,), hidden=(16,), **given, **options)
    return networks | {"discriminator": network}


def image_packs(num_classes: int | None = None, **options: Any) -> dict[str, Any]:
    given: Any = {"num_classes": num_classes} | options.pop("instead", {})
    sizes: Any = {"image_size": 8, "base_channels": 4}
    return {
        "generator": DCGANGenerator(4, image_channels=1, num_classes=num_classes, **sizes),
        "discriminator": DCGANDiscriminator(
            image_channels=2, norm="layer", **sizes, **given, **options
        ),
    }


def fits(network: Any) -> bool:
    """Tell whether a discriminator's verdict is of a pack as a whole."""
    return network.num_classes is None and network.num_outputs == 1


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_every_variant_packs_or_says_why_not(
    variant: type[AdversarialModule], precision: Any, tmp_path: Path
) -> None:
    half = precision == "bf16-mixed"
    networks = networks_for(variant, image_packs if half else toy_packs)
    if not fits(networks["discriminator"]):
        with pytest.raises(ValueError, match="under packing=2, got one with classes"):
            variant(**networks, packing=2)
        return
    model = variant(**networks, packing=2)
    before = [flat(model.generator), flat(model.discriminator)]
    data = images(n=11) if half else points(n=11)
    trainer = toy_trainer(tmp_path, precision=precision)
    trainer.fit(model, ValidatedData(*data.batches))
    after = [flat(model.generator), flat(model.discriminator)]
    assert all(weights.isfinite().all() for weights in after)
    assert not any(map(torch.equal, before, after))
    assert model.sample(3).shape[1:] == data.batches[0].shape[1:]


def test_enough_variants_pack() -> None:
    accepting = {name for name, v in VARIANTS.items()
                 if fits(networks_for(v, toy_packs)["discriminator"])}  # fmt: skip
    assert accepting >= {"GAN", "LSGAN", "WGAN", "WGANGP", "SNGAN", "FGAN", "R3GAN", "DRAGAN"}


# Processes

STEPS, N_CRITIC, BATCH = 3, 2, 6
PACKED = ["GAN", "WGANGP", "R3GAN", "DRAGAN"]


def _train(rank: int, world_size: int, folder: Path, variant: str) -> Tensor:
    """Return all weights after some steps, on this rank's share of fixed data."""
    shape = STEPS, N_CRITIC, WORLD_SIZE, BATCH, 2
    data = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    mine = data[:, :, slice(None) if world_size == 1 else rank]
    torch.manual_seed(0)
    model = VARIANTS[variant](
        **toy_packs(), n_critic=N_CRITIC, packing=2, optimizer_g=sgd, optimizer_d=sgd
    )
    options: dict[str, Any] = {"max_steps": STEPS}
    if world_size > 1:
        options |= {"strategy": "ddp", "devices": world_size, "use_distributed_sampler": False}
    rand, randn = torch.rand, torch.randn
    with (
        patch("torch.rand", _UnionRandom(rand, rank, world_size)),
        patch("torch.randn", _UnionRandom(randn, rank, world_size)),
    ):
        toy_trainer(folder, **options).fit(model, ToyData(*mine.flatten(1, -2)))
    return flat(model)


def _train_rank(rank: int, folder: Path, variant: str) -> Tensor:
    return _train(rank, WORLD_SIZE, folder, variant)


@pytest.mark.parametrize("variant", PACKED)
def test_two_ranks_equal_one_on_the_union(ranks: Ranks, tmp_path: Path, variant: str) -> None:
    expected = _train(0, 1, tmp_path, variant)
    for weights in ranks.run(_train_rank, tmp_path, variant):
        torch.testing.assert_close(weights, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("variant", [WGANGP, GAN])
def test_packs_of_one_change_no_bit(variant: Any, tmp_path: Path) -> None:
    weights = []
    for options in ({}, {"packing": 1}):
        torch.manual_seed(0)
        model = variant(**toy_networks(), **options)
        toy_trainer(tmp_path).fit(model, points())
        weights.append(flat(model))
    assert torch.equal(*weights)
