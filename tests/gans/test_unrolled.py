"""A generator that looks some steps of the discriminator ahead."""

import copy
from collections import Counter
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn
from torch.func import functional_call, grad
from torch.nn.functional import softplus
from torch.optim import SGD, Adadelta

from lightning_gan import GAN, R3GAN, SNGAN, WGAN, WGANGP
from lightning_gan.networks import (
    DiracDiscriminator,
    DiracGenerator,
    MLPDiscriminator,
)
from lightning_gan.training import (
    R1,
    Augmentation,
    Batch,
    ConsistencyRegularization,
    ExperienceReplay,
    FeatureMatching,
    LeCam,
)
from lightning_gan.training.record import Record
from tests.ranks import Ranks
from tests.toys import (
    NUM_CLASSES,
    ToyData,
    assert_same,
    flat,
    image_networks,
    images,
    labelled,
    points,
    sgd,
    toy_networks,
    toy_trainer,
)

RATE = 0.05  # of tests.toys.sgd


@pytest.mark.parametrize("variant", [GAN, WGANGP, SNGAN])
def test_no_steps_change_no_bit(variant: Any, tmp_path: Path) -> None:
    weights = []
    for options in ({}, {"unrolled_steps": 0}, {"unrolled_steps": 1}):
        torch.manual_seed(0)
        model = variant(**image_networks(), **options)
        toy_trainer(tmp_path).fit(model, images())
        weights.append(flat(model))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


# Gradients


def _dirac(steps: int, n_critic: int, gamma: float) -> WGAN:
    return WGAN(
        DiracGenerator(-0.5),
        DiracDiscriminator(0.4),
        n_critic=n_critic,
        unrolled_steps=steps,
        weight_clip_val_d=None,
        penalties=[R1(gamma)],
        optimizer_g=sgd,
        optimizer_d=sgd,
    )


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("n_critic", [1, 2])
@pytest.mark.parametrize("gamma", [0.0, 3.0])
def test_linear_game_has_the_closed_form(
    steps: int, n_critic: int, gamma: float, tmp_path: Path
) -> None:
    """Each step takes psi to (1 - h gamma) psi + h (x - theta), and theta follows psi_k theta."""
    model = _dirac(steps, n_critic, gamma)
    x, theta, psi = 2.0, -0.5, 0.4
    toy_trainer(tmp_path, max_steps=2).fit(model, ToyData(torch.full((6, 1), x)))
    for _ in range(2):
        for _ in range(n_critic):
            psi = (1 - RATE * gamma) * psi + RATE * (x - theta)
        ahead, slope = psi, 0.0  # and its derivative by theta
        for _ in range(steps):
            ahead = (1 - RATE * gamma) * ahead + RATE * (x - theta)
            slope = (1 - RATE * gamma) * slope - RATE
        theta += RATE * (ahead + slope * theta)
    expected = torch.tensor([theta, psi])
    torch.testing.assert_close(flat(model), expected, rtol=1e-5, atol=1e-6)


class _Smooth(nn.Sequential):
    def __init__(self, outputs: int) -> None:
        super().__init__(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, outputs))


class _Watched(GAN):
    """Keeps what its generator's update was made of."""

    latents: Tensor
    gradients: list[Tensor]

    def generate(self, n: int, labels: Tensor | None = None) -> Batch:
        batch = super().generate(n, labels)
        assert batch.latents is not None
        self.latents = batch.latents
        return batch

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.gradients = [p.grad.clone() for p in self.generator.parameters() if p.grad is not None]


@pytest.mark.parametrize("steps", [1, 3])
def test_gradient_equals_nested_functional_ones(steps: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = _Watched(
        _Smooth(2),
        _Smooth(1),
        latent_dim=2,
        unrolled_steps=steps,
        penalties=[R1(0.7)],
        optimizer_d=lambda p: SGD(p, lr=0.8),
    )
    generator, discriminator = model.generator, model.discriminator
    start = {name: p.detach().clone() for name, p in generator.named_parameters()}
    real = points(n=20, batches=1).batches[0]
    with patch.object(model, "_update_discriminator"):
        toy_trainer(tmp_path, max_steps=1).fit(model, ToyData(real))
    critic = {name: p.detach() for name, p in discriminator.named_parameters()}

    def logits(weights: Any, x: Tensor) -> Tensor:
        judged: Tensor = functional_call(discriminator, weights, x)
        return judged

    def generator_loss(weights: Any) -> Tensor:
        fake = functional_call(generator, weights, model.latents)

        def discriminator_loss(weights: Any) -> Tensor:
            slopes = grad(lambda x: logits(weights, x).sum())(real)
            apart = softplus(-logits(weights, real)).mean() + softplus(logits(weights, fake)).mean()
            value: Tensor = apart + 0.7 / 2 * slopes.square().sum(1).mean()
            return value

        ahead = critic
        for _ in range(steps):
            step = grad(discriminator_loss)(ahead)
            ahead = {name: ahead[name] - 0.8 * step[name] for name in ahead}
        value: Tensor = softplus(-logits(ahead, fake)).mean()
        return value

    expected = grad(generator_loss)(start)
    assert len(model.gradients) == len(expected)
    for actual, (name, value) in zip(model.gradients, expected.items(), strict=True):
        torch.testing.assert_close(actual, value, rtol=1e-4, atol=1e-6, msg=name)


# The discriminator stays as it is


class _Snapshots:
    """Everything of a discriminator, before and after each of the generator's updates."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.update = model._update_generator
        self.seen = 0

    def __call__(self, *args: Any) -> None:
        before = copy.deepcopy(self._state())
        self.update(*args)
        assert_same(self._state(), before)
        self.seen += 1

    def _state(self) -> dict[str, Any]:
        model = self.model
        optimizer = model.trainer.optimizers[1]
        return {
            "network": dict(model.discriminator.state_dict()),
            "trained": [p.requires_grad for p in model.discriminator.parameters()],
            "optimizer": optimizer.state_dict(),
            "penalties": dict(model.penalties.state_dict()),
            "updates": model._update,
        }


@pytest.mark.parametrize("variant", [GAN, WGANGP, SNGAN, WGAN])
def test_discriminator_stays_as_it_is(variant: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    networks = image_networks()
    if variant is GAN:
        layers = nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1)
        networks["discriminator"] = nn.Sequential(*layers)
    options: Any = {"unrolled_steps": 2, "n_critic": 2, "penalties": [LeCam(decay=0.5)]}
    model = variant(**networks, **options, weight_clip_val_d=None)
    assert any(model.discriminator.named_buffers()) == (variant in (GAN, SNGAN))
    snapshots = _Snapshots(model)
    start = flat(model.generator)
    with patch.object(model, "_update_generator", snapshots):
        toy_trainer(tmp_path, max_steps=3).fit(model, images())
    assert snapshots.seen == 3
    assert not torch.equal(flat(model.generator), start)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.generator.parameters())


class _Observing(Augmentation):
    def __init__(self) -> None:
        super().__init__()
        self.observed = 0

    def forward(self, samples: Tensor, images: int) -> Tensor:
        return samples + 0.1 * torch.randn_like(samples)

    def observe(self, real_logits: Tensor, images: int) -> None:
        self.observed += 1


def test_rehearsals_are_not_observed(tmp_path: Path) -> None:
    augmentation = _Observing()
    model = GAN(**toy_networks(), unrolled_steps=3, n_critic=2, augmentation=augmentation)
    toy_trainer(tmp_path, max_steps=2).fit(model, points())
    assert augmentation.observed == 4


def test_rehearsals_are_not_recorded(tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    add = Record.add

    def count(self: Record, name: str, value: Tensor) -> None:
        counts[name] += 1
        add(self, name, value)

    model = WGAN(**toy_networks(), unrolled_steps=3, weight_clip_val_d=None)
    with patch.object(Record, "add", count):
        toy_trainer(tmp_path, max_steps=2).fit(model, points())
    of_discriminator = ["real_logits", "fake_logits", "wasserstein", "d_wasserstein", "d_loss"]
    expected = dict.fromkeys(of_discriminator, 10) | {"g_wasserstein": 2, "g_loss": 2}
    assert dict(counts) == expected


# Networks, precisions, processes


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed", "64-true"])
@pytest.mark.parametrize("variant", [GAN, WGANGP, SNGAN, R3GAN])
def test_precisions(variant: Any, precision: Any, tmp_path: Path) -> None:
    model = variant(**image_networks(), unrolled_steps=2)
    before = flat(model.generator).double()
    options: dict[str, Any] = {"precision": precision}
    if precision == "16-mixed":  # which Lightning would turn into bf16 on a CPU
        scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
        options = {"plugins": MixedPrecision("16-mixed", "cpu", scaler)}
    toy_trainer(tmp_path, **options).fit(model, images())
    assert flat(model).isfinite().all()
    assert not torch.equal(flat(model.generator).double(), before)


def test_goes_with_all_other_options(tmp_path: Path) -> None:
    model = GAN(
        **image_networks(NUM_CLASSES),
        unrolled_steps=2,
        n_critic=2,
        top_k=0.5,
        replay=ExperienceReplay(20),
        augmentation=_Observing(),
        penalties=[R1(interval=2), LeCam(), FeatureMatching(),
                   ConsistencyRegularization(_Observing(), fake_weight=1.0)],
        gradient_clip_val_d=1.0,
    )  # fmt: skip
    before = flat(model)
    toy_trainer(tmp_path, max_steps=3).fit(model, labelled(images()))
    assert flat(model).isfinite().all()
    assert not torch.equal(flat(model), before)


@pytest.mark.parametrize("updates", ["simultaneous", "extragradient"])
def test_goes_with_every_order_of_updates(updates: Any, tmp_path: Path) -> None:
    weights = []
    for steps in (0, 2):
        torch.manual_seed(0)
        model = GAN(**toy_networks(), unrolled_steps=steps, updates=updates, optimizer_g=sgd)
        toy_trainer(tmp_path, max_steps=1).fit(model, points())
        weights.append([flat(model.generator), flat(model.discriminator)])
    assert not torch.equal(weights[0][0], weights[1][0])
    if updates == "simultaneous":
        assert torch.equal(weights[0][1], weights[1][1])


def test_packs_are_unrolled(tmp_path: Path) -> None:
    networks = toy_networks() | {"discriminator": MLPDiscriminator((4,), hidden=(16,))}
    model = WGANGP(**networks, unrolled_steps=2, packing=2)
    snapshots = _Snapshots(model)
    with patch.object(model, "_update_generator", snapshots):
        toy_trainer(tmp_path).fit(model, points(n=21))
    assert snapshots.seen == 2


def test_dead_unit_gives_no_nan(tmp_path: Path) -> None:
    """Adam's mean squared gradient of it is zero, of which the root has no derivative."""
    discriminator = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
    with torch.no_grad():
        discriminator.get_parameter("0.bias")[0] = -1e6
    model = GAN(nn.Linear(2, 2), discriminator, latent_dim=2, unrolled_steps=3)
    before = flat(model.generator)
    toy_trainer(tmp_path, max_steps=3, log_every_n_steps=1).fit(model, points())
    assert flat(model).isfinite().all()
    assert not torch.equal(flat(model.generator), before)


def _train_rank(rank: int, folder: Path, precision: Any) -> Tensor:
    torch.manual_seed(0)
    model = SNGAN(
        **image_networks(), n_critic=2, unrolled_steps=2, penalties=[LeCam()], optimizer_d=sgd
    )
    batches = torch.rand(2, 10, 1, 8, 8, generator=torch.Generator().manual_seed(rank)) * 2 - 1
    options: dict[str, Any] = {"strategy": "ddp", "devices": 2, "precision": precision}
    toy_trainer(folder, **options).fit(model, ToyData(*batches))
    state = [value.flatten().double() for value in model.state_dict().values()]
    return torch.cat(state)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_two_ranks_stay_equal(ranks: Ranks, precision: str, tmp_path: Path) -> None:
    first, second = ranks.run(_train_rank, tmp_path, precision)
    assert first.isfinite().all()
    assert torch.equal(first, second)


# Refusals


def test_negative_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="'unrolled_steps' to be at least 0, got -1"):
        GAN(**toy_networks(), unrolled_steps=-1)


def test_optimizer_of_another_kind_is_refused(tmp_path: Path) -> None:
    model = GAN(**toy_networks(), unrolled_steps=1, optimizer_d=Adadelta)
    with pytest.raises(TypeError, match=r"to be Adam, RMSprop, SGD .* got Adadelta"):
        toy_trainer(tmp_path).fit(model, points())
