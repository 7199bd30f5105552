"""The whole loop against theory: plain updates circle the Dirac-GAN's equilibrium, cures end it.

With our sign, by which large logits mean real, psi is minus that of the paper: its start (1, 1) is
(1, -1) here.
"""

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Callback
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import SGD

from lightning_gan import GAN, R3GAN, WGAN, WGANGP
from lightning_gan.callbacks import LookaheadMinimax
from lightning_gan.gans import AdversarialModule
from lightning_gan.gans.base import Updates
from lightning_gan.networks import DiracDiscriminator, DiracGenerator
from lightning_gan.training import (
    R1,
    R2,
    ConsensusOptimization,
    GANAdam,
    GradientPenalty,
    InstanceNoise,
    OptimisticAdam,
    OptimisticSGD,
    Penalty,
)
from tests.toys import ToyData, toy_trainer

RATE, STEPS = 0.2, 500
START = (1.0, -1.0)
NODES = torch.special.ndtri((torch.arange(4000, dtype=torch.float64) + 0.5) / 4000)

Array = NDArray[np.float64]
Gradients = tuple[Any, Any]
Field = Callable[[Any, Any], Gradients]
Stepper = Callable[[float, float], float]


def sgd(parameters: Any) -> SGD:
    return SGD(parameters, lr=RATE)


def sigmoid(t: Any) -> Any:
    return 1 / (1 + np.exp(-t))


# Fields: each network's gradient of its own loss, at (theta, psi).


def minimax(theta: Any, psi: Any) -> Gradients:
    slope = sigmoid(theta * psi)
    return -psi * slope, theta * slope


def non_saturating(theta: Any, psi: Any) -> Gradients:
    return -psi * sigmoid(-theta * psi), theta * sigmoid(theta * psi)


def bilinear(theta: Any, psi: Any) -> Gradients:
    return -psi, theta


def damped(plain: Field, gamma: float) -> Field:
    def gradients(theta: Any, psi: Any) -> Gradients:
        of_theta, of_psi = plain(theta, psi)
        return of_theta, of_psi + gamma * psi

    return gradients


def lipschitz(theta: Any, psi: Any) -> Gradients:
    return -psi, theta + 0.7 * np.sign(psi) * (abs(psi) - 1)


def consensus_minimax(theta: Any, psi: Any) -> Gradients:
    s = sigmoid(theta * psi)  # half the squared norm is (theta^2 + psi^2) s^2 / 2
    change = (theta**2 + psi**2) * s**2 * (1 - s)
    of_theta, of_psi = minimax(theta, psi)
    return of_theta + theta * s**2 + change * psi, of_psi + psi * s**2 + change * theta


def blurred(theta: Any, psi: Any) -> Gradients:
    noise = 0.7 * NODES.numpy()
    fake = theta + noise
    slope = sigmoid(psi * fake)
    return -psi * slope.mean(), (slope * fake).mean() - (sigmoid(-psi * noise) * noise).mean()


def unrolled_minimax(theta: Any, psi: Any) -> Gradients:
    tiny = 1e-30  # complex step: an exact derivative without a difference
    moved, answer = theta + 1j * tiny, psi
    for _ in range(5):
        answer = answer - RATE * moved * sigmoid(moved * answer)
    loss = -np.log1p(np.exp(moved * answer))
    return loss.imag / tiny, minimax(theta, psi)[1]


class Descent:
    """Gradient descent, optimistic or not."""

    def __init__(self, optimistic: bool = False) -> None:
        self.optimistic = optimistic
        self.last: float | None = None

    def __call__(self, value: float, gradient: float) -> float:
        now = self.size(gradient)
        last = now if self.last is None or not self.optimistic else self.last
        self.last = now
        return value - 2 * now + last

    def size(self, gradient: float) -> float:
        return RATE * gradient


class AdaptiveDescent(Descent):
    """Adam with a rate of 0.05 and betas (0, 0.999)."""

    count, square = 0, 0.0

    def size(self, gradient: float) -> float:
        self.count += 1
        self.square = 0.999 * self.square + 0.001 * gradient**2
        root = math.sqrt(self.square / (1 - 0.999**self.count))
        return 0.05 * gradient / (root + 1e-8)


class EvenNoise(InstanceNoise):
    """Instance noise whose mean over the batch is as good as the expectation."""

    def forward(self, samples: Tensor, images: int) -> Tensor:
        noise: Tensor = 0.7 * NODES[: len(samples), None]
        return samples + noise


@dataclass(frozen=True)
class Case:
    """A way of training: by the library, and as theory has it."""

    model: Callable[..., AdversarialModule]
    gradients: Field
    optimizer: Callable[..., Any] = sgd
    stepper: Callable[[], Descent] = Descent
    callbacks: Callable[[], list[Callback]] = field(default=list)
    updates_d: int = 1
    bound: float = np.inf
    batch_size: int = 2

    def expected(self, updates: Updates, steps: int) -> Array:
        """Return (theta, psi) after each iteration by the definition of the updates."""
        theta, psi = slow = START
        of_g, of_d = self.stepper(), self.stepper()
        places = [START]
        for i in range(1, steps + 1):
            g, d = self.gradients(theta, psi)
            if updates == "simultaneous":
                theta, psi = of_g(theta, g), of_d(psi, d)
            elif updates == "extragradient":
                g, d = self.gradients(of_g(theta, g), self.clip(of_d(psi, d)))
                theta, psi = of_g(theta, g), of_d(psi, d)
            else:
                for _ in range(self.updates_d):
                    psi = self.clip(of_d(psi, self.gradients(theta, psi)[1]))
                theta = of_g(theta, self.gradients(theta, psi)[0])
            psi = self.clip(psi)
            if self.callbacks() and i % 5 == 0:
                theta, psi = slow = (slow[0] + theta) / 2, (slow[1] + psi) / 2
            places.append((theta, psi))
        return np.array(places)

    def clip(self, psi: float) -> float:
        return min(max(psi, -self.bound), self.bound)

    def played(self, updates: Updates, steps: int, start: tuple[float, float] = START) -> Array:
        """Return (theta, psi) after each iteration of a Trainer."""
        optimizers = {"optimizer_g": self.optimizer, "optimizer_d": self.optimizer}
        networks = DiracGenerator(start[0]), DiracDiscriminator(start[1])
        model = self.model(*networks, updates=updates, **optimizers)
        zeros = torch.zeros(self.batch_size * model.batches_per_step, 1)
        places = Places(start)
        options: Any = {"precision": "64-true", "callbacks": [*self.callbacks(), places]}
        with tempfile.TemporaryDirectory() as folder:
            toy_trainer(folder, max_steps=steps, **options).fit(model, ToyData(*[zeros] * steps))
        return np.array(places.seen)


class Places(Callback):
    def __init__(self, start: tuple[float, float]) -> None:
        self.seen = [start]

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.seen.append((pl_module.generator.theta.item(), pl_module.discriminator.psi.item()))


def gan(*penalties: Penalty, **options: Any) -> Callable[..., AdversarialModule]:
    return partial(GAN, generator_objective="minimax", penalties=penalties, **options)


def wgan(*penalties: Penalty, **options: Any) -> Callable[..., AdversarialModule]:
    bound = {"weight_clip_val_d": None} | options
    return partial(WGAN, n_critic=1, penalties=penalties, **bound)


LOOKAHEAD: Any = {"callbacks": lambda: [LookaheadMinimax(steps=5, alpha=0.5)]}
OPTIMISTIC: Any = {
    "optimizer": partial(OptimisticSGD, lr=RATE),
    "stepper": partial(Descent, optimistic=True),
}
ADAM: Any = {
    "optimizer": partial(GANAdam, lr=0.05, beta1=0.0, beta2=0.999),
    "stepper": AdaptiveDescent,
}
OPTIMISTIC_ADAM: Any = {
    "optimizer": partial(OptimisticAdam, lr=0.05, beta1=0.0, beta2=0.999),
    "stepper": partial(AdaptiveDescent, optimistic=True),
}

CIRCLING = {
    "GAN": Case(gan(), minimax),
    "NSGAN": Case(GAN, non_saturating),
    "WGAN": Case(wgan(), bilinear),
    "WGAN clipped": Case(wgan(weight_clip_val_d=1.0), bilinear, bound=1.0),
    "WGAN-GP": Case(partial(WGANGP, n_critic=1, gp_weight=0.35), lipschitz),
    "WGAN Adam": Case(wgan(), bilinear, **ADAM),
}
CURES = {
    "R1 0.3": Case(gan(R1(0.3)), damped(minimax, 0.3)),
    "R1 1": Case(gan(R1(1.0)), damped(minimax, 1.0)),
    "R1 0.3, 5 to 1": Case(gan(R1(0.3), n_critic=5), damped(minimax, 0.3), updates_d=5),
    "R2 0.3": Case(gan(R2(0.3)), damped(minimax, 0.3)),
    "NSGAN R1 0.3": Case(partial(GAN, penalties=[R1(0.3)]), damped(non_saturating, 0.3)),
    "R3GAN 0.3": Case(partial(R3GAN, gamma=0.3), damped(non_saturating, 0.6)),
    "WGAN zero-centred": Case(wgan(GradientPenalty(0.15, target=0.0)), damped(bilinear, 0.3)),
    "instance noise": Case(gan(augmentation=EvenNoise(0.7)), blurred, batch_size=len(NODES)),
    "consensus": Case(gan(ConsensusOptimization(1.0)), consensus_minimax),
    "WGAN consensus": Case(wgan(ConsensusOptimization(1.0)), lambda g, d: (g - d, g + d)),
    "unrolled": Case(gan(unrolled_steps=5), unrolled_minimax),
    "WGAN unrolled": Case(wgan(unrolled_steps=5), lambda g, d: (2 * 5 * RATE * g - d, g)),
    "lookahead": Case(gan(), minimax, **LOOKAHEAD),
    "WGAN lookahead": Case(wgan(), bilinear, **LOOKAHEAD),
    "optimistic": Case(gan(), minimax, **OPTIMISTIC),
    "WGAN optimistic": Case(wgan(), bilinear, **OPTIMISTIC),
    "WGAN optimistic Adam": Case(wgan(), bilinear, **OPTIMISTIC_ADAM),
}
CASES = CIRCLING | CURES


PLAIN: list[tuple[str, Updates]] = [
    (name, updates) for name in CIRCLING for updates in ("simultaneous", "alternating")
]
CURED: list[tuple[str, Updates]] = [
    *[(n, "simultaneous") for n, case in CURES.items() if case.updates_d == 1],
    *[(name, "alternating") for name in CURES],
    *[(name, "extragradient") for name in ("GAN", "WGAN", "WGAN clipped", "WGAN Adam")],
]
# Distances from the equilibrium after 500 simultaneous updates, by simulations of the paper's game.
SIMULTANEOUS = {
    "GAN": 3.097,
    "NSGAN": 0.6402,
    "WGAN": 2**0.5 * 1.04**250,
    "WGAN clipped": 1.002,
    "WGAN-GP": 1.802,
    "R1 0.3": 2.6e-6,
    "R1 1": 9.5e-22,
    "NSGAN R1 0.3": 2.2e-6,
    "R3GAN 0.3": 1.4e-13,
    "instance noise": 5.7e-5,
    "consensus": 2.6e-10,
}
LONG: list[tuple[str, Updates]] = [
    *[(name, "simultaneous") for name in ("GAN", "WGAN clipped", "R1 0.3")],
    *[(name, "alternating") for name in ("WGAN", "WGAN lookahead")],
    ("WGAN", "extragradient"),
]


def at_length(pairs: list[tuple[str, Updates]]) -> list[Any]:
    """Return the pairs as parameters, of which most are marked as slow."""
    return [pytest.param(*pair, marks=() if pair in LONG else pytest.mark.slow) for pair in pairs]


@cache
def played(name: str, updates: Updates, steps: int) -> Array:
    return CASES[name].played(updates, steps)


def distances(name: str, updates: Updates) -> Array:
    return np.asarray(np.linalg.norm(played(name, updates, STEPS), axis=1))


@pytest.mark.parametrize(("name", "updates"), PLAIN + CURED)
def test_every_iteration_is_that_of_theory(name: str, updates: Updates) -> None:
    steps = STEPS if (name, updates) in LONG else 60
    expected = CASES[name].expected(updates, steps)
    errors = np.linalg.norm(played(name, updates, steps) - expected, axis=1)
    assert (errors / np.linalg.norm(expected, axis=1)).max() < 1e-6


@pytest.mark.parametrize(("name", "updates"), at_length(PLAIN))
def test_plain_updates_do_not_converge_linearly(name: str, updates: Updates) -> None:
    now = distances(name, updates)
    assert now[500] > 0.7 * now[250]
    assert now[500] > 0.1 * now[0]


@pytest.mark.parametrize(("name", "updates"), at_length(CURED))
def test_cures_converge_linearly(name: str, updates: Updates) -> None:
    now = distances(name, updates)
    assert now[250] < 0.5 * now[0]
    assert now[500] < 0.5 * now[250]


@pytest.mark.parametrize("name", SIMULTANEOUS)
def test_theory_ends_where_the_papers_does(name: str) -> None:
    end = np.linalg.norm(CASES[name].expected("simultaneous", STEPS)[-1])
    digits = 5e-4 if name in CIRCLING else 0.03
    assert end == pytest.approx(SIMULTANEOUS[name], rel=digits)


@pytest.mark.parametrize(
    ("name", "updates"), at_length([(name, "simultaneous") for name in SIMULTANEOUS])
)
def test_simultaneous_updates_end_where_the_papers_do(name: str, updates: Updates) -> None:
    digits = 5e-4 if name in CIRCLING else 0.03
    assert distances(name, updates)[-1] == pytest.approx(SIMULTANEOUS[name], rel=digits)


def test_alternating_updates_of_the_bilinear_game_conserve_an_ellipse() -> None:
    theta, psi = played("WGAN", "alternating", STEPS).T  # at 1.414 to 1.563 for ever
    np.testing.assert_allclose(theta**2 + psi**2 - RATE * theta * psi, 2.2, rtol=1e-12)


def test_extragradient_contracts_as_its_eigenvalues_say() -> None:
    near = CASES["GAN"].played("extragradient", 40, start=(1e-3, -1e-3))
    factors = np.linalg.norm(near[1:], axis=1) / np.linalg.norm(near[:-1], axis=1)
    a = RATE / 2  # |1 - a^2 +- ia|
    np.testing.assert_allclose(factors, (1 - a**2 + a**4) ** 0.5, rtol=1e-5)
    np.testing.assert_allclose(factors, 0.99504, atol=1e-5)


def test_drawn_noise_converges_as_its_expectation() -> None:
    case = Case(gan(augmentation=InstanceNoise(0.7)), blurred, batch_size=20000)
    drawn, expected = case.played("simultaneous", 100), case.expected("simultaneous", 100)
    assert np.linalg.norm(expected[-1]) < 0.21
    np.testing.assert_allclose(drawn, expected, rtol=0, atol=0.02)
    assert np.abs(drawn - expected).max() > 1e-5
