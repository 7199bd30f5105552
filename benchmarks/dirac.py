"""Which ways of training end the rotation: all of them on the Dirac-GAN, through ``trainer.fit``.

How to run, in a minute or two::

    OMP_NUM_THREADS=1 python -m benchmarks.dirac --output benchmarks/results/dirac.md

The data is always 0, the generator makes one number, theta, and the discriminator is a line through
the origin of the slope psi. The only equilibrium is (0, 0). With Wasserstein losses it is the
bilinear game theta * psi. All begin at (1, -1), which in the paper's sign of the logits is (1, 1).

How to read: the eigenvalues are those of the Jacobian, at the equilibrium, of the flow that both
networks' gradient descent follows in small steps; it converges if all real parts are negative. From
them and the order of updates follows by what factor an iteration multiplies a small distance to the
equilibrium; beside it stands the factor measured over the second half. WGAN-GP's flow jumps at the
equilibrium and Adam's steps have no derivative there, so that they have neither. Instance noise is
measured between iterations 100 and 250, after which it is at the noise that a batch's mean keeps.
Our alternating updates begin with the discriminator.

"So far": Adam's steps do not shrink with the gradient. When its mean squared gradient has forgotten
the beginning they throw it off again, in a simulation to a distance of 0.1 to 1 by iteration 5000.

Reference:
    Mescheder et al., "Which Training Methods for GANs do actually Converge?", ICML 2018,
    https://arxiv.org/abs/1801.04406.
"""

import argparse
import datetime
import logging
import math
import os
import platform
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from torch.optim import SGD
from torch.utils.data import DataLoader

import lightning_gan
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

START = (1.0, -1.0)
RATE, ADAM_RATE = 0.2, 0.05
ITERATIONS = 500
GAMMA, NOISE, UNROLLED = 0.3, 0.7, 5
LOOKAHEAD_STEPS, LOOKAHEAD_ALPHA = 5, 0.5
LINEAR = 0.998  # measured factors below it count as linear convergence

Array = np.ndarray[Any, np.dtype[np.float64]]


def sgd(parameters: Any) -> SGD:
    return SGD(parameters, lr=RATE)


class Places(Callback):
    """Note theta and psi after each iteration."""

    def __init__(self) -> None:
        self.seen = [START]

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        """Look at the weights."""
        self.seen.append((pl_module.generator.theta.item(), pl_module.discriminator.psi.item()))


@dataclass(frozen=True)
class Method:
    """One way of training.

    Args:
        game: Whose losses.
        name: What is done to them.
        model: Makes the model from its networks.
        jacobian: Of the flow at the equilibrium, if it has one.
        orders: Orders of the updates to try.
        optimizer: Of both networks.
        optimism: Share of the last step that is expected of the next one.
        lookahead: Whether both networks go part of the way back every few iterations.
        batch_size: Samples of a batch; without noise they are all the same.
        fitted: Iterations over which the factor is measured; by default the second half.
    """

    game: str
    name: str
    model: Callable[..., AdversarialModule]
    jacobian: Array | None
    orders: tuple[Updates, ...] = ("simultaneous", "alternating")
    optimizer: Callable[..., torch.optim.Optimizer] = sgd
    optimism: float = 0.0
    lookahead: bool = False
    batch_size: int = 2
    fitted: tuple[int, int] = (ITERATIONS // 2, ITERATIONS + 1)

    def train(self, updates: Updates) -> Array:
        """Return the distance to the equilibrium at the start and after each iteration."""
        model = self.model(
            DiracGenerator(START[0]),
            DiracDiscriminator(START[1]),
            updates=updates,
            optimizer_g=self.optimizer,
            optimizer_d=self.optimizer,
        )
        places = Places()
        back = [LookaheadMinimax(LOOKAHEAD_STEPS, LOOKAHEAD_ALPHA)] if self.lookahead else []
        with tempfile.TemporaryDirectory() as folder:
            trainer = lightning.Trainer(
                accelerator="cpu",
                devices=1,
                precision="64-true",
                max_steps=ITERATIONS,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                callbacks=[*back, places],
                default_root_dir=folder,
            )
            zeros = torch.zeros(self.batch_size * model.batches_per_step, 1)
            trainer.fit(model, DataLoader([zeros] * ITERATIONS, batch_size=None))  # type: ignore[arg-type]
        return np.asarray(np.linalg.norm(places.seen, axis=1))

    def row(self, updates: Updates) -> str:
        """Train, and return the line of the table."""
        norms = self.train(updates)
        measured = measured_factor(norms, self.fitted)
        converges = "so far" if self.jacobian is None else "linearly"
        cells = [
            self.game,
            self.name,
            updates,
            "none" if self.jacobian is None else eigenvalues(self.jacobian),
            "" if self.jacobian is None else f"{self.expected_factor(updates):.4f}",
            f"{measured:.4f}",
            f"{norms[-1]:.3g}",
            converges if measured < LINEAR else "no",
        ]
        return f"| {' | '.join(cells)} |"

    def expected_factor(self, updates: Updates) -> float:
        """Return by what an iteration multiplies the distance near the equilibrium."""
        assert self.jacobian is not None
        matrix = iteration_matrix(self.jacobian, updates, self.optimism)
        if not self.lookahead:
            return radius(matrix)
        ahead = np.linalg.matrix_power(matrix[:2, :2], LOOKAHEAD_STEPS)
        kept = (1 - LOOKAHEAD_ALPHA) * np.eye(2) + LOOKAHEAD_ALPHA * ahead
        return math.pow(radius(kept), 1 / LOOKAHEAD_STEPS)


def iteration_matrix(jacobian: Array, updates: Updates, optimism: float) -> Array:
    """Return the linear map of an iteration on (theta, psi) and the last steps of both, (4, 4)."""

    def step(begin: Array, at: Array, *moving: int) -> Array:
        after = begin.copy()
        for i in moving:
            update = RATE * jacobian[i] @ at[:2]
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


def radius(matrix: Array) -> float:
    return float(np.abs(np.linalg.eigvals(matrix)).max())


def measured_factor(norms: Array, fitted: tuple[int, int]) -> float:
    """Return the mean factor of an iteration, from a line through the logarithms."""
    slope, _ = np.polyfit(np.arange(*fitted), np.log(norms[slice(*fitted)]), 1)
    return float(np.exp(slope))


def eigenvalues(jacobian: Array) -> str:
    """Return both as text."""
    first, second = np.linalg.eigvals(jacobian).astype(complex)
    if abs(first.imag) > 1e-6:
        real = f"{first.real:.4g} " if abs(first.real) > 1e-6 else ""
        return f"{real}± {abs(first.imag):.4g}i"
    return f"{first.real:.4g}, {second.real:.4g}"


def flow(slope: float, generator: float = 0.0, discriminator: float = 0.0) -> Array:
    """Return the Jacobian of a game that turns as fast as the slope, and of what damps it."""
    return np.array([[-generator, slope], [-slope, -discriminator]])


def gan(*penalties: Penalty, **options: Any) -> Callable[..., AdversarialModule]:
    return partial(GAN, generator_objective="minimax", penalties=penalties, **options)


def wgan(*penalties: Penalty, **options: Any) -> Callable[..., AdversarialModule]:
    bound = {"weight_clip_val_d": None} | options
    return partial(WGAN, n_critic=1, penalties=penalties, **bound)


def methods() -> Iterator[Method]:
    """Yield all, the Dirac-GAN's first."""
    yield from _dirac()
    yield from _against_rotation("GAN", gan(), flow(0.5))
    yield from _bilinear()
    yield from _against_rotation("WGAN", wgan(), flow(1.0))
    yield from _adaptive()


def _dirac() -> Iterator[Method]:
    turning = flow(0.5)
    yield Method("GAN", "plain", gan(), turning)
    yield Method("NSGAN", "plain", GAN, turning)
    for gamma in (GAMMA, 1.0):
        yield Method("GAN", f"R1 {gamma:g}", gan(R1(gamma)), flow(0.5, 0, gamma))
    yield Method("GAN", f"R2 {GAMMA}", gan(R2(GAMMA)), flow(0.5, 0, GAMMA))
    yield Method("NSGAN", f"R1 {GAMMA}", partial(GAN, penalties=[R1(GAMMA)]), flow(0.5, 0, GAMMA))
    yield Method("R3GAN", f"R1 + R2 {GAMMA}", partial(R3GAN, gamma=GAMMA), flow(0.5, 0, 2 * GAMMA))
    yield Method(
        "GAN",
        f"instance noise {NOISE}, batch 16384",
        gan(augmentation=InstanceNoise(NOISE)),
        flow(0.5, 0, NOISE**2 / 2),
        batch_size=16384,
        fitted=(100, 250),
    )
    yield Method("GAN", "consensus 1", gan(ConsensusOptimization(1.0)), flow(0.5, 0.25, 0.25))
    unrolled = partial(gan(), unrolled_steps=UNROLLED)
    damping = 2 * UNROLLED * RATE * 0.5**2
    yield Method("GAN", f"unrolled {UNROLLED}", unrolled, flow(0.5, damping))


def _bilinear() -> Iterator[Method]:
    yield Method("WGAN", "plain", wgan(), flow(1.0))
    yield Method("WGAN", "clipped at 1", wgan(weight_clip_val_d=1.0), flow(1.0))
    weight = 0.35  # the paper's 0.7, which has a half before it
    yield Method(
        "WGAN-GP", f"penalty {weight}", partial(WGANGP, n_critic=1, gp_weight=weight), None
    )
    centred = GradientPenalty(GAMMA / 2, target=0.0)
    yield Method("WGAN", f"zero-centred penalty {GAMMA / 2}", wgan(centred), flow(1.0, 0, GAMMA))
    yield Method("WGAN", "consensus 1", wgan(ConsensusOptimization(1.0)), flow(1.0, 1.0, 1.0))
    unrolled = partial(wgan(), unrolled_steps=UNROLLED)
    yield Method("WGAN", f"unrolled {UNROLLED}", unrolled, flow(1.0, 2 * UNROLLED * RATE))


def _against_rotation(
    game: str, model: Callable[..., AdversarialModule], jacobian: Array
) -> Iterator[Method]:
    optimistic = partial(OptimisticSGD, lr=RATE)
    yield Method(game, "optimistic SGD", model, jacobian, optimizer=optimistic, optimism=1.0)
    yield Method(game, "extragradient", model, jacobian, ("extragradient",))
    name = f"lookahead {LOOKAHEAD_STEPS}, {LOOKAHEAD_ALPHA}"
    yield Method(game, name, model, jacobian, lookahead=True)


def _adaptive() -> Iterator[Method]:
    for game, model in (("GAN", gan()), ("WGAN", wgan())):
        for beta1 in (0.0, 0.5):
            options: dict[str, Any] = {"lr": ADAM_RATE, "beta1": beta1, "beta2": 0.999}
            betas = f"({beta1:g}, 0.999)"
            adam, optimistic = partial(GANAdam, **options), partial(OptimisticAdam, **options)
            yield Method(game, f"Adam {betas}", model, None, optimizer=adam)
            yield Method(game, f"optimistic Adam {betas}", model, None, optimizer=optimistic)
            yield Method(game, f"Adam {betas}", model, None, ("extragradient",), optimizer=adam)


def report() -> Iterator[str]:
    """Yield the lines of the report."""
    versions = {
        "lightning_gan": lightning_gan.__version__,
        "torch": torch.__version__,
        "lightning": lightning.__version__,
        "python": platform.python_version(),
    }
    date = datetime.date.today().isoformat()
    used = ", ".join(f"{name} {version}" for name, version in versions.items())
    yield f"`python -m benchmarks.dirac`, {date}; {used}."
    yield ""
    yield (
        f"SGD with a rate of {RATE}, Adam with {ADAM_RATE}, {ITERATIONS} iterations from "
        f"(theta, psi) = {START}, at a distance of {np.hypot(*START):.3f}. "
        "How to read it is said at the top of `benchmarks/dirac.py`."
    )
    yield ""
    heads = [
        "losses",
        "method",
        "updates",
        "eigenvalues of the flow",
        "factor expected",
        "measured",
        f"distance after {ITERATIONS}",
        "converges",
    ]
    yield f"| {' | '.join(heads)} |"
    yield "|" + "---|" * len(heads)
    for method in methods():
        for updates in method.orders:
            yield method.row(updates)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, help="Markdown file for what is printed")
    args = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    os.environ["PL_GLOBAL_SEED"] = "0"
    lines = []
    for line in report():
        print(line, flush=True)
        lines.append(f"{line}\n")
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
