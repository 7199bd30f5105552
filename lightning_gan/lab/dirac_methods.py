"""Ways of training the Dirac-GAN, and what theory says of each."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.optim import SGD

from lightning_gan.gans import GAN, R3GAN, WGAN, WGANGP, AdversarialModule
from lightning_gan.gans.base import Updates
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

GAMMA, NOISE, NOISE_BATCH, UNROLLED = 0.3, 0.7, 16384, 5
LOOKAHEAD_STEPS, LOOKAHEAD_ALPHA = 5, 0.5

Array = np.ndarray[Any, np.dtype[np.float64]]
Game = Callable[..., AdversarialModule]


@dataclass(frozen=True)
class Method:
    """One way of training.

    Args:
        losses: Whose losses.
        name: What is done to them.
        model: Makes the model from its networks.
        optimizer: Of both networks.
        jacobian: Of the flow at the equilibrium, if it has one.
        converges: Whether theory has it converge linearly; None where it is silent.
        orders: Orders of the updates to try.
        optimism: Share of the last step that is expected of the next one.
        lookahead: Whether both networks go part of the way back every few iterations.
        batch_size: Samples of a batch; without noise they are all the same.
        fitted: Shares of the iterations between which the factor is measured.
        spread: How far the noise that a batch draws may move an eigenvalue.
    """

    losses: str
    name: str
    model: Game
    optimizer: Callable[..., torch.optim.Optimizer]
    jacobian: Array | None
    converges: bool | None
    orders: tuple[Updates, ...] = ("simultaneous", "alternating")
    optimism: float = 0.0
    lookahead: bool = False
    batch_size: int = 2
    fitted: tuple[float, float] = (0.5, 1.0)
    spread: float = 0.0

    def expected_factor(self, updates: Updates, rate: float) -> float:
        """Return by what an iteration multiplies the distance near the equilibrium."""
        assert self.jacobian is not None
        matrix = _iteration_matrix(rate * self.jacobian, updates, self.optimism)
        if not self.lookahead:
            return _radius(matrix)
        ahead = np.linalg.matrix_power(matrix[:2, :2], LOOKAHEAD_STEPS)
        kept = (1 - LOOKAHEAD_ALPHA) * np.eye(2) + LOOKAHEAD_ALPHA * ahead
        return math.pow(_radius(kept), 1 / LOOKAHEAD_STEPS)


def methods(rate: float, adam_rate: float) -> Iterator[Method]:
    """Yield all, those of the cross-entropy GAN first.

    Args:
        rate: Learning rate of gradient descent.
        adam_rate: Of Adam.
    """
    yield from _cross_entropy(rate)
    yield from _against_rotation("GAN", _gan(), flow(0.5), rate)
    yield from _bilinear(rate)
    yield from _against_rotation("WGAN", _wgan(), flow(1.0), rate)
    yield from _adaptive(adam_rate)


def flow(slope: float, generator: float = 0.0, discriminator: float = 0.0) -> Array:
    """Return the Jacobian of a game that turns as fast as the slope, and of what damps it.

    Args:
        slope: That of the loss at the logit 0.
        generator: What damps theta.
        discriminator: What damps psi.
    """
    return np.array([[-generator, slope], [-slope, -discriminator]])


def _gan(*penalties: Penalty, **options: Any) -> Game:
    return partial(GAN, generator_objective="minimax", penalties=penalties, **options)


def _wgan(*penalties: Penalty, **options: Any) -> Game:
    bound = {"weight_clip_val_d": None} | options
    return partial(WGAN, n_critic=1, penalties=penalties, **bound)


def _cross_entropy(rate: float) -> Iterator[Method]:
    def method(
        losses: str, name: str, model: Game, jacobian: Array, converges: bool = True, **rest: Any
    ) -> Method:
        return Method(losses, name, model, partial(SGD, lr=rate), jacobian, converges, **rest)

    yield method("GAN", "plain", _gan(), flow(0.5), converges=False)
    yield method("NSGAN", "plain", GAN, flow(0.5), converges=False)
    for gamma in (GAMMA, 1.0):
        yield method("GAN", f"R1 {gamma:g}", _gan(R1(gamma)), flow(0.5, 0, gamma))
    yield method("GAN", f"R2 {GAMMA}", _gan(R2(GAMMA)), flow(0.5, 0, GAMMA))
    yield method("NSGAN", f"R1 {GAMMA}", partial(GAN, penalties=[R1(GAMMA)]), flow(0.5, 0, GAMMA))
    both = partial(R3GAN, gamma=GAMMA)
    yield method("R3GAN", f"R1 + R2 {GAMMA}", both, flow(0.5, 0, 2 * GAMMA))
    yield method(
        "GAN",
        f"instance noise {NOISE}",
        _gan(augmentation=InstanceNoise(NOISE)),
        flow(0.5, 0, NOISE**2 / 2),
        batch_size=NOISE_BATCH,
        fitted=(0.2, 0.5),  # later it is at the noise that a batch's mean keeps
        spread=NOISE**2 / NOISE_BATCH**0.5,  # four standard deviations
    )
    yield method("GAN", "consensus 1", _gan(ConsensusOptimization(1.0)), flow(0.5, 0.25, 0.25))
    unrolled = _gan(unrolled_steps=UNROLLED)
    yield method("GAN", f"unrolled {UNROLLED}", unrolled, flow(0.5, 2 * UNROLLED * rate * 0.5**2))


def _bilinear(rate: float) -> Iterator[Method]:
    def method(name: str, model: Game, jacobian: Array | None, converges: bool = True) -> Method:
        losses = "WGAN-GP" if jacobian is None else "WGAN"
        return Method(losses, name, model, partial(SGD, lr=rate), jacobian, converges)

    yield method("plain", _wgan(), flow(1.0), converges=False)
    yield method("clipped at 1", _wgan(weight_clip_val_d=1.0), flow(1.0), converges=False)
    weight = 0.35  # the paper's 0.7, which has a half before it
    lipschitz = partial(WGANGP, n_critic=1, gp_weight=weight)
    yield method(f"penalty {weight}", lipschitz, None, converges=False)
    centred = GradientPenalty(GAMMA / 2, target=0.0)
    yield method(f"zero-centred penalty {GAMMA / 2}", _wgan(centred), flow(1.0, 0, GAMMA))
    yield method("consensus 1", _wgan(ConsensusOptimization(1.0)), flow(1.0, 1.0, 1.0))
    unrolled = _wgan(unrolled_steps=UNROLLED)
    yield method(f"unrolled {UNROLLED}", unrolled, flow(1.0, 2 * UNROLLED * rate))


def _against_rotation(losses: str, model: Game, jacobian: Array, rate: float) -> Iterator[Method]:
    plain = partial(Method, losses, model=model, jacobian=jacobian, converges=True)
    sgd, optimistic = partial(SGD, lr=rate), partial(OptimisticSGD, lr=rate)
    yield plain("optimistic SGD", optimizer=optimistic, optimism=1.0)
    yield plain("extragradient", optimizer=sgd, orders=("extragradient",))
    name = f"lookahead {LOOKAHEAD_STEPS}, {LOOKAHEAD_ALPHA}"
    yield plain(name, optimizer=sgd, lookahead=True)


def _adaptive(rate: float) -> Iterator[Method]:
    for losses, model in (("GAN", _gan()), ("WGAN", _wgan())):
        for beta1 in (0.0, 0.5):
            options: dict[str, Any] = {"lr": rate, "beta1": beta1, "beta2": 0.999}
            adam, optimistic = partial(GANAdam, **options), partial(OptimisticAdam, **options)
            name = f"Adam ({beta1:g}, 0.999)"
            yield Method(losses, name, model, adam, None, None)
            yield Method(losses, f"optimistic {name}", model, optimistic, None, None)
            yield Method(losses, name, model, adam, None, None, ("extragradient",))


def _iteration_matrix(steps: Array, updates: Updates, optimism: float) -> Array:
    """Return the linear map of an iteration on (theta, psi) and the last steps of both, (4, 4)."""

    def step(begin: Array, at: Array, *moving: int) -> Array:
        after = begin.copy()
        for i in moving:
            update = steps[i] @ at[:2]
            after[i] += (1 + optimism) * update - optimism * begin[2 + i]
            after[2 + i] = update
        return after

    now = np.eye(4)
    if updates == "simultaneous":
        return step(now, now, 0, 1)
    if updates == "extragradient":
        return step(now, step(now, now, 0, 1), 0, 1)
    discriminator_moved = step(now, now, 1)
    return step(discriminator_moved, discriminator_moved, 0)


def _radius(matrix: Array) -> float:
    return float(np.abs(np.linalg.eigvals(matrix)).max())
