"""R3GAN with a linear discriminator, of which everything is known in closed form."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback
from torch import Tensor, nn
from torch.nn.functional import softplus

from lightning_gan import R3GAN
from lightning_gan.callbacks import GeneratorEMA
from lightning_gan.gans.r3gan import default_gamma
from lightning_gan.networks import R3GANDiscriminator, R3GANGenerator
from lightning_gan.training import (
    R1,
    R2,
    Batch,
    CosineSchedule,
    Drift,
    GANAdam,
    GeometricSchedule,
    LinearSchedule,
    Schedule,
)
from lightning_gan.training.penalty import Terms
from tests.ranks import Ranks
from tests.toys import (
    ToyData,
    flat,
    image_networks,
    images,
    points,
    toy_networks,
    toy_trainer,
)

REAL, FAKE = torch.randn(2, 6, 2, generator=torch.Generator().manual_seed(0))
SLOPE = torch.tensor([3.0, 4.0])  # of norm 5


class Watched(R3GAN):
    """Keeps the terms of each update beside the discriminator's slope at that moment."""

    def __init__(self, **options: Any) -> None:
        critic = nn.Linear(2, 1, bias=False)
        critic.weight = nn.Parameter(SLOPE[None].clone())
        super().__init__(nn.Linear(3, 2), critic, latent_dim=3, **options)
        self.kept: list[tuple[Terms, Tensor]] = []

    def discriminator_terms(self, real: Batch, fake: Batch, update: int) -> Terms:
        terms = super().discriminator_terms(real, fake, update)
        self.kept.append((dict(terms), flat(self.discriminator)))
        return terms


def gammas(model: Watched, name: str) -> list[float]:
    """Return what must have been gamma: the term is gamma / 2 times the squared slope."""
    return [
        terms[name].item() * 2 / slope.square().sum().item() if name in terms else 0.0
        for terms, slope in model.kept
    ]


def test_terms_of_a_linear_discriminator() -> None:
    model = Watched(gamma=0.6)
    terms = model.discriminator_terms(Batch(REAL), Batch(FAKE), 0)
    apart = (REAL - FAKE) @ SLOPE
    expected = {"adversarial": softplus(-apart).mean().item(), "r1": 0.3 * 25, "r2": 0.3 * 25}
    assert list(terms) == list(expected)
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value, rel=1e-5)
    [(name, term)] = model.generator_terms(Batch(REAL), Batch(FAKE), 0).items()
    assert name == "adversarial"
    assert term.item() == pytest.approx(softplus(apart).mean().item(), rel=1e-5)


def test_each_sample_is_paired_with_its_own() -> None:
    """Rows in another order are other pairs, unlike under losses of each kind alone."""
    model = Watched(gamma=0.0)
    values = [
        model.discriminator_loss(Batch(REAL), Batch(fake))["adversarial"].item()
        for fake in (FAKE, FAKE.flip(0))
    ]
    assert values[0] != pytest.approx(values[1], rel=1e-2)


def test_gradients_are_those_of_the_pairs() -> None:
    model = Watched(gamma=0.0)
    real, fake = REAL.clone().requires_grad_(), FAKE.clone().requires_grad_()
    [term] = model.generator_terms(Batch(real), Batch(fake), 0).values()
    by_real, by_fake = torch.autograd.grad(term, [real, fake], allow_unused=True)
    weights = torch.sigmoid((REAL - FAKE) @ SLOPE) / 6
    torch.testing.assert_close(by_fake, -weights[:, None] * SLOPE, rtol=1e-5, atol=1e-7)
    assert by_real is None  # nobody moves the data


# Gamma


@pytest.mark.parametrize(
    ("shape", "batch_size", "expected"),
    [
        ((3, 32, 32), 512, 0.6),
        ((1, 32, 32), 512, 0.6),
        ((3, 64, 64), 512, 2.4),
        ((3, 64, 64), 256, 4.8),
        ((1, 8, 16), 96, 0.4),
        ((2,), 512, 0.1),
        ((7,), 1, 0.1),
    ],
)
def test_default_gamma(shape: tuple[int, ...], batch_size: int, expected: float) -> None:
    assert default_gamma(shape, batch_size) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("n_critic", "expected"), [(1, 0.3 * 64 / 10), (2, 0.3 * 64 / 5)])
def test_gamma_is_chosen_from_the_first_update(
    n_critic: int, expected: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = R3GAN(**image_networks(), n_critic=n_critic)
    with caplog.at_level("INFO"):
        toy_trainer(tmp_path).fit(model, images(n=10))
    assert [penalty.weight for penalty in model.penalties.all()] == [pytest.approx(expected)] * 2
    told = [r.message for r in caplog.records if "gamma" in r.message]
    assert told == [f"Chosen gamma={expected:.3g} for R1 and R2; see 'Choosing gamma'."]


def test_chosen_gamma_holds_from_the_first_update_on(tmp_path: Path) -> None:
    model = Watched()
    toy_trainer(tmp_path).fit(model, points())
    assert gammas(model, "r1") == pytest.approx([0.1, 0.1], rel=1e-4)
    assert gammas(model, "r2") == pytest.approx([0.1, 0.1], rel=1e-4)


def _chosen(rank: int, folder: Path) -> list[Any]:
    model = R3GAN(**image_networks())
    toy_trainer(folder, strategy="ddp", devices=2).fit(model, images(n=10))
    return [penalty.weight for penalty in model.penalties.all()]


def test_gamma_is_of_the_batch_of_all_processes(ranks: Ranks, tmp_path: Path) -> None:
    for weights in ranks.run(_chosen, tmp_path):
        assert weights == [pytest.approx(0.3 * 64 / 20)] * 2


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint")
def test_chosen_gamma_is_that_of_the_first_part_of_the_run(tmp_path: Path) -> None:
    trainer = toy_trainer(tmp_path)
    trainer.fit(R3GAN(**image_networks()), images(n=10))
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    model = R3GAN(**image_networks())
    toy_trainer(tmp_path, max_steps=3).fit(model, images(n=5), ckpt_path=tmp_path / "run.ckpt")
    expected = pytest.approx(0.3 * 64 / 10)
    assert [penalty.weight for penalty in model.penalties.all()] == [expected] * 2


@pytest.mark.parametrize("gamma", [0.0, 0.25, LinearSchedule(1.0, 0.5, images=10)])
def test_given_gamma_is_kept(gamma: float | Schedule, tmp_path: Path) -> None:
    model = R3GAN(**image_networks(), gamma=gamma)
    toy_trainer(tmp_path).fit(model, images())
    assert [penalty.weight for penalty in model.penalties.all()] == [gamma] * 2


def test_gamma_is_checked() -> None:
    with pytest.raises(ValueError, match="Expected 'gamma' to be non-negative and finite"):
        R3GAN(**toy_networks(), gamma=-0.1)


def test_both_penalties_and_further_ones() -> None:
    model = R3GAN(**toy_networks(), penalties=[Drift()])
    assert [type(penalty) for penalty in model.penalties] == [R1, R2, Drift]


@pytest.mark.parametrize("penalty", [R1(), R2()])
def test_a_second_of_either_penalty_is_refused(penalty: R1) -> None:
    with pytest.raises(ValueError, match=f"of different names, got '{penalty.name}' twice"):
        R3GAN(**toy_networks(), penalties=[penalty])


# Schedules

RATE = CosineSchedule(2e-2, 5e-3, images=100)
BETA = LinearSchedule(0.9, 0.99, images=80)
GAMMA = GeometricSchedule(2.0, 0.2, images=60)
HALF_LIFE = LinearSchedule(0.0, 60.0, images=40)


class _Watch(Callback):
    """Keep each optimiser's numbers at its every step, and the average after it."""

    def __init__(self) -> None:
        self.numbers: dict[str, list[tuple[float, float]]] = {"g": [], "d": []}
        self.weights: list[Tensor] = []
        self.averages: list[Tensor] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        for name, optimizer in zip("gd", trainer.optimizers, strict=True):
            optimizer.register_step_pre_hook(lambda o, *_, name=name: self._keep(o, name))
        self.averages.append(flat(pl_module.ema_generator))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.weights.append(flat(pl_module.generator))
        self.averages.append(flat(pl_module.ema_generator))

    def _keep(self, optimizer: Any, name: str) -> None:
        [group] = optimizer.param_groups
        self.numbers[name].append((group["lr"], group["betas"][1]))


def _adam(parameters: Any) -> GANAdam:
    return GANAdam(parameters, lr=RATE, beta1=0.0, beta2=BETA)


def _scheduled(n_critic: int = 1) -> Watched:
    torch.manual_seed(0)
    return Watched(gamma=GAMMA, n_critic=n_critic, optimizer_g=_adam, optimizer_d=_adam)


@pytest.mark.parametrize("n_critic", [1, 2])
def test_all_schedules_follow_the_images_seen(n_critic: int, tmp_path: Path) -> None:
    model, watch = _scheduled(n_critic), _Watch()
    callbacks = [GeneratorEMA(half_life=HALF_LIFE), watch]
    toy_trainer(tmp_path, max_steps=6, callbacks=callbacks).fit(model, points(n=20))
    seen = [20 * step for step in range(6)]
    numbers = [(RATE(at), BETA(at)) for at in seen]
    assert watch.numbers["g"] == numbers
    assert watch.numbers["d"] == [pair for pair in numbers for _ in range(n_critic)]
    of_updates = [GAMMA(at) for at in seen for _ in range(n_critic)]
    for name in ("r1", "r2"):
        assert gammas(model, name) == pytest.approx(of_updates, rel=1e-4)
    for step, at in enumerate(seen):
        half_life = min(1.5 * at, 60.0)
        decay = 2 ** (-20 / half_life) if half_life > 0 else 0.0
        expected = decay * watch.averages[step] + (1 - decay) * watch.weights[step]
        torch.testing.assert_close(watch.averages[step + 1], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch")
def test_schedules_go_on_after_a_checkpoint(tmp_path: Path) -> None:
    whole = _scheduled()
    toy_trainer(tmp_path, max_steps=5).fit(whole, points(batches=1))
    half = toy_trainer(tmp_path, max_steps=2)
    half.fit(_scheduled(), points(batches=1))
    half.save_checkpoint(tmp_path / "half.ckpt")
    rest = _scheduled()
    trainer = toy_trainer(tmp_path, max_steps=5)
    trainer.fit(rest, points(batches=1), ckpt_path=tmp_path / "half.ckpt")
    assert gammas(rest, "r1") == pytest.approx(gammas(whole, "r1")[2:], rel=1e-4)
    assert torch.equal(flat(rest), flat(whole))
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(RATE(80))


def test_recipe_does_not_depend_on_the_batch_size(tmp_path: Path) -> None:
    """What is scheduled is the same after as many images, in 2 iterations or in 4."""
    ends = []
    for n, steps in ((40, 2), (20, 4)):
        model = _scheduled()
        trainer = toy_trainer(tmp_path, max_steps=steps + 1)
        trainer.fit(model, points(n=n, batches=1))
        [group] = trainer.optimizers[1].param_groups
        ends.append((group["lr"], group["betas"], round(gammas(model, "r1")[-1], 4)))
    assert ends[0] == ends[1] == (RATE(80), (0.0, BETA(80)), 0.2)


def test_defaults() -> None:
    model = R3GAN(**toy_networks())
    assert model.n_critic == 1
    for optimizer in model.configure_optimizers()[0]:
        assert isinstance(optimizer, GANAdam)
        assert optimizer.defaults["lr"] == 2e-4
        assert optimizer.defaults["betas"] == (0.0, 0.99)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_own_networks_learn(precision: Any, tmp_path: Path) -> None:
    sizes: Any = {"image_size": 8, "image_channels": 1, "width": 8, "blocks_per_stage": 1,
                  "group_width": 4}  # fmt: skip
    model = R3GAN(R3GANGenerator(4, **sizes), R3GANDiscriminator(**sizes))
    before = [flat(model.generator), flat(model.discriminator)]
    toy_trainer(tmp_path, precision=precision).fit(model, ToyData(*images().batches))
    after = [flat(model.generator), flat(model.discriminator)]
    assert not any(map(torch.equal, before, after))
    assert all(weights.isfinite().all() for weights in after)
    assert model.sample(3).abs().max() <= 1
