"""Which ways of training end the rotation: all of them on the Dirac-GAN, beside theory.

The data is always 0, the generator makes one number, theta, and the discriminator is a line through
the origin of the slope psi. The only equilibrium is (0, 0). With Wasserstein losses it is the
bilinear game theta * psi. With our sign, by which large logits mean real, psi is minus that of the
paper: its start (1, 1) is (1, -1) here.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from lightning import Callback, seed_everything
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from lightning_gan.callbacks import LookaheadMinimax
from lightning_gan.diagnostics.jacobian import game_eigenvalues
from lightning_gan.gans import AdversarialModule
from lightning_gan.gans.base import Updates
from lightning_gan.lab.dirac_figure import draw_dirac
from lightning_gan.lab.dirac_methods import (
    LOOKAHEAD_ALPHA,
    LOOKAHEAD_STEPS,
    NOISE_BATCH,
    Array,
    Method,
    methods,
)
from lightning_gan.lab.experiment import Experiment, Finding, Row
from lightning_gan.lab.tables import markdown
from lightning_gan.lab.training import train
from lightning_gan.networks import DiracDiscriminator, DiracGenerator
from lightning_gan.training.arguments import check_bound
from lightning_gan.training.batch import Batch

START = (1.0, -1.0)
EXACT = 1e-6  # how close eigenvalues have to be to theory
RATE_ERROR = 0.01  # how close the measured factor of what converges has to be
BESIDE = 1e-8  # the equilibrium, where a slope's norm has a derivative
DIFFERENCE = 1e-4  # between the starts from which an iteration is differentiated
POINTS = 250  # of a trajectory that are kept


class DiracGAN(Experiment):
    """Every method on the Dirac-GAN: eigenvalues, rate and trajectory, measured and by theory.

    Eigenvalues are those of the Jacobian, at the equilibrium, of the flow that gradient descent of
    both networks follows in small steps: it converges if all real parts are negative. They are
    measured on the losses, or, where the generator looks ahead through an optimiser's steps, on one
    iteration. From theory's and the order of updates follows by what factor an iteration multiplies
    a small distance to the equilibrium; beside it stands the factor that was measured. WGAN-GP's
    flow jumps at the equilibrium and Adam's steps have no derivative there, so that they have
    neither. What Adam shows is "so far": its steps do not shrink with the gradient, and when its
    mean squared gradient has forgotten the beginning they throw it off again.

    A distance that falls by less than a factor e over the iterations cannot be told from one that
    falls like a power of their number: it does not count as linear convergence, and methods that
    are expected to be that slow, for a small rate or few iterations, are left out of the verdict.

    Args:
        rate: Learning rate of gradient descent.
        adam_rate: Of Adam.
        iterations: Of each training.

    Raises:
        ValueError: If a rate is not positive, or there are fewer than 20 iterations.

    Reference:
        Mescheder et al., "Which Training Methods for GANs do actually Converge?", ICML 2018,
        https://arxiv.org/abs/1801.04406.
    """

    title = "Dirac-GAN: plain training circles the equilibrium, the cures fall into it"

    def __init__(self, rate: float = 0.2, adam_rate: float = 0.05, iterations: int = 500) -> None:
        check_bound("rate", rate)
        check_bound("adam_rate", adam_rate)
        if iterations < 20:
            raise ValueError(f"Expected 'iterations' to be at least 20, got {iterations}.")
        self.rate = rate
        self.adam_rate = adam_rate
        self.iterations = iterations

    def trials(self) -> Iterator[Row]:
        """Yield each method with each order of updates that it is tried with."""
        for method in methods(self.rate, self.adam_rate):
            for updates in method.orders:
                yield {"losses": method.losses, "method": method.name, "updates": updates}

    def measure(self, **trial: Any) -> Row:
        """Differentiate the losses at the equilibrium, and train."""
        method, updates = self._method(trial), trial["updates"]
        places = _play(method, updates, START, self.iterations)
        norms = np.linalg.norm(places, axis=1)
        factor = _measured_factor(norms, method.fitted)
        row: Row = {
            "factor": factor,
            "distance": float(norms[-1]),
            "converges": factor < self._slowest,
            "trajectory": places[_kept(len(places))].round(5).tolist(),
        }
        if method.jacobian is None:
            return row | {"eigenvalues": None, "theory": None, "expected_factor": None}
        return row | {
            "eigenvalues": _pairs(self._eigenvalues(method)),
            "theory": _pairs(np.linalg.eigvals(method.jacobian)),
            "expected_factor": method.expected_factor(updates, self.rate),
        }

    def findings(self, rows: Sequence[Row]) -> list[Finding]:
        """Compare eigenvalues, ends and rates with theory."""
        played = [(row, self._method(row)) for row in rows]
        plain = [(row, method) for row, method in played if method.converges is False]
        cured = [row for row, method in played if method.converges]
        telling = [row for row in cured if row["expected_factor"] < self._slowest]
        return [
            _of_eigenvalues([(row, method) for row, method in played if row["theory"] is not None]),
            _of_ends(
                "Plain GAN and WGAN, clipped WGAN and WGAN-GP do not converge.",
                [row for row, method in plain if method.losses != "NSGAN"],
                converge=False,
            ),
            _of_ends(
                "The non-saturating GAN has no linear rate.",
                [row for row, method in plain if method.losses == "NSGAN"],
                converge=False,
            ),
            _of_ends(
                "R1, R2, instance noise, consensus, zero-centred penalty, unrolling, optimism, "
                "extragradient and lookahead converge linearly.",
                telling,
                converge=True,
                left_out=len(cured) - len(telling),
            ),
            _of_rates(cured),
        ]

    def draw(self, rows: Sequence[Row]) -> Figure:
        """Draw telling trajectories, and all eigenvalues."""
        return draw_dirac(self.title, rows)

    def table(self, rows: Sequence[Row]) -> str:
        """Return a line for each trial."""
        heads = ["losses", "method", "updates", "eigenvalues", "by theory", "factor expected"]
        heads += ["measured", f"distance after {self.iterations}", "converges"]
        lines = [heads]
        for row in rows:
            known = row["theory"] is not None
            cells = [
                row["losses"],
                row["method"],
                row["updates"],
                _text(row["eigenvalues"]) if known else "none",
                _text(row["theory"]) if known else "none",
                f"{row['expected_factor']:.4f}" if known else "",
                f"{row['factor']:.4f}",
                f"{row['distance']:.3g}",
                self._end(row),
            ]
            lines.append(cells)
        return markdown(lines)

    @property
    def _slowest(self) -> float:
        """Factor of an iteration that brings the distance to an e-th in all of them."""
        return math.exp(-1 / self.iterations)

    def _end(self, row: Row) -> str:
        if row["converges"]:
            return "linearly" if row["theory"] is not None else "so far"
        expected = row["expected_factor"]
        too_slow = expected is not None and self._slowest <= expected < 1 - 1e-12
        return "too slow to tell" if too_slow else "no"

    def _method(self, trial: Row) -> Method:
        wanted = (trial["losses"], trial["method"])
        for method in methods(self.rate, self.adam_rate):
            if (method.losses, method.name) == wanted and trial["updates"] in method.orders:
                return method
        raise ValueError(f"Expected a trial of this experiment, got {trial}.")

    def _eigenvalues(self, method: Method) -> NDArray[Any]:
        model = _model(method, method.orders[0], (BESIDE, -BESIDE)).double()
        if model.unrolled_steps > 0:
            changes = [
                _play(method, "simultaneous", (sign * x, sign * y), 1)[1]
                for x, y in DIFFERENCE * np.eye(2)
                for sign in (1, -1)
            ]
            columns = [(changes[0] - changes[1]), (changes[2] - changes[3])]
            iteration = np.stack(columns, axis=1) / (2 * DIFFERENCE)
            return np.asarray(np.linalg.eigvals((iteration - np.eye(2)) / self.rate))
        seed_everything(0, verbose=False)
        zeros = torch.zeros(method.batch_size, 1, dtype=torch.float64)
        return np.asarray(game_eigenvalues(model, Batch(zeros), zeros).values)


class _Places(Callback):
    """Note theta and psi after each iteration."""

    def __init__(self, start: tuple[float, float]) -> None:
        self.seen = [start]

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.seen.append((pl_module.generator.theta.item(), pl_module.discriminator.psi.item()))


def _model(method: Method, updates: Updates, start: tuple[float, float]) -> AdversarialModule:
    return method.model(
        DiracGenerator(start[0]),
        DiracDiscriminator(start[1]),
        updates=updates,
        optimizer_g=method.optimizer,
        optimizer_d=method.optimizer,
    )


def _play(method: Method, updates: Updates, start: tuple[float, float], iterations: int) -> Array:
    """Return (theta, psi) at the start and after each iteration of a Trainer."""
    seed_everything(0, verbose=False)
    model = _model(method, updates, start)
    places = _Places(start)
    back = [LookaheadMinimax(LOOKAHEAD_STEPS, LOOKAHEAD_ALPHA)] if method.lookahead else []
    zeros = torch.zeros(method.batch_size * model.batches_per_step, 1)
    loader: Any = DataLoader([zeros] * iterations, batch_size=None)  # type: ignore[arg-type]
    train(model, loader, iterations, [*back, places], precision="64-true")
    return np.array(places.seen)


def _measured_factor(norms: Array, fitted: tuple[float, float]) -> float:
    """Return the mean factor of an iteration, from a line through the logarithms."""
    first, last = (round(share * (len(norms) - 1)) for share in fitted)
    logarithms = np.log(norms[first : last + 1].clip(min=np.finfo(norms.dtype).tiny))
    slope, _ = np.polyfit(np.arange(len(logarithms)), logarithms, 1)
    return float(np.exp(slope))


def _kept(places: int) -> NDArray[np.int64]:
    """Return which places are kept: all of the first, when most is going on, then some."""
    if places <= POINTS:
        return np.arange(places)
    dense = POINTS // 2
    later = np.linspace(dense, places - 1, POINTS - dense).round().astype(np.int64)
    return np.concatenate([np.arange(dense), later])


def _of_eigenvalues(known: Sequence[tuple[Row, Method]]) -> Finding:
    errors = [(_eigenvalue_error(row), method.spread) for row, method in known]
    exact = [error for error, spread in errors if not spread]
    drawn = [error for error, spread in errors if spread]
    evidence = f"largest difference {max(exact, default=math.nan):.1g} in {len(exact)} trials"
    if drawn:
        evidence += f", and {max(drawn):.1g} where a batch of {NOISE_BATCH} draws its noise"
    return Finding(
        "The losses have the eigenvalues of theory at the equilibrium.",
        all(error < EXACT + spread for error, spread in errors) if errors else None,
        evidence,
    )


def _of_ends(claim: str, rows: Sequence[Row], converge: bool, left_out: int = 0) -> Finding:
    slow = f"{left_out} expected to be too slow to tell"
    if not rows:
        return Finding(claim, None, slow if left_out else "no trials")
    wrong = [_name(row) for row in rows if row["converges"] is not converge]
    factors = [row["factor"] for row in rows]
    evidence = (
        f"{len(rows) - len(wrong)} of {len(rows)} trials, factors per iteration from "
        f"{min(factors):.4f} to {max(factors):.4f}"
    )
    evidence = f"{evidence}; {slow}" if left_out else evidence
    return Finding(claim, not wrong, "; not ".join([evidence, *wrong]))


def _of_rates(rows: Sequence[Row]) -> Finding:
    claim = "Those converge at the rate that follows from their eigenvalues."
    if not rows:
        return Finding(claim, None, "no trials")
    errors = {_name(row): abs(row["factor"] - row["expected_factor"]) for row in rows}
    worst = max(errors, key=errors.__getitem__)
    evidence = f"largest difference of a factor per iteration {errors[worst]:.2g}, of {worst}"
    return Finding(claim, errors[worst] < RATE_ERROR, evidence)


def _eigenvalue_error(row: Row) -> float:
    """Return how far the measured pair is from that of theory, the better way round."""
    measured, theory = (np.array(row[key]) @ (1, 1j) for key in ("eigenvalues", "theory"))
    return float(min(np.abs(measured - theory).max(), np.abs(measured - theory[::-1]).max()))


def _name(row: Row) -> str:
    return f"{row['losses']} {row['method']}, {row['updates']}"


def _pairs(values: NDArray[Any]) -> list[list[float]]:
    """Return complex numbers as JSON holds them: (real, imaginary)."""
    return [[float(value.real), float(value.imag)] for value in values]


def _text(pairs: Sequence[Sequence[float]]) -> str:
    (first, imaginary), (second, _) = pairs
    if abs(imaginary) > 1e-4:
        real = f"{first:.4g} " if abs(first) > 1e-4 else ""
        return f"{real}± {abs(imaginary):.4g}i"
    return f"{first:.4g}, {second:.4g}"
