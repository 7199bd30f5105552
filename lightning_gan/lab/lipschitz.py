"""How steep critics are: spectral norm, what it leaves to convolutions and blocks, and the cure."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from lightning import Callback, seed_everything
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.optim import SGD

from lightning_gan.data import Digits
from lightning_gan.gans import WGAN, AdversarialModule, HingeGAN
from lightning_gan.lab.experiment import Experiment, Finding, Row
from lightning_gan.lab.lipschitz_critics import (
    KERNEL,
    NORMALIZATIONS,
    SHAPE,
    Kind,
    convolutional_critic,
    identity_critic,
    settle,
    steepest_slope,
)
from lightning_gan.lab.lipschitz_figure import NAMES, draw_slopes
from lightning_gan.lab.tables import markdown
from lightning_gan.lab.training import train
from lightning_gan.layers import empirical_slope, layer_norms, lipschitz_bound
from lightning_gan.networks import MLPGenerator
from lightning_gan.training import GANAdam
from lightning_gan.training.arguments import check_bound

NUM_WATCHED = 64  # images at which the slope is measured in training
NUM_STARTS = 32  # images from which the steepest place is looked for
LOOKS = 20  # during a training
NEARLY = 1.02  # times a bound: what the norms' estimates may be off
GROWN = 2.0  # times as steep as at half time: still getting steeper
# Of each loss, the critics and what their weights are divided by.
CASES: dict[str, list[tuple[Kind, str]]] = {
    "wasserstein": [
        ("plain", "none"),
        ("plain", "spectral"),
        ("plain", "exact"),
        ("sum", "exact"),
        ("mean", "exact"),
    ],
    "hinge": [("plain", "none"), ("plain", "spectral"), ("plain", "exact")],
    "none": [("sum", "exact"), ("mean", "exact")],
}


class Lipschitz(Experiment):
    r"""The steepest slope that can be found in critics, beside the product of their layers' norms.

    Critics of 8x8 digits are trained in two ways: by the Wasserstein loss without any bound,
    against a generator that does not move, which asks them to be as steep as they can; and in a
    game of hinge losses. Their weights are as they are, divided by the norm of the kernel's matrix
    (spectral normalisation), or by that of the convolution's linear map. At the end a slope as
    steep as possible is looked for by gradient ascent.

    For two branches of slope at most 1 the sum has slopes up to 2. A block whose branches are both
    the identity, on positive images, has exactly 2; the mean of the branches has 1.

    Args:
        seeds: Runs of each critic.
        channels: Of its maps.
        steps: Iterations, of five updates of the critic each.
        rate: Learning rate of Adam.
        batch_size: Images of each kind.
        search_steps: Steps of the search for the steepest slope.

    Raises:
        ValueError: If a number is not positive.

    Reference:
        Miyato et al., "Spectral Normalization for GANs", ICLR 2018,
        https://arxiv.org/abs/1802.05957; Gouk et al., "Regularisation of Neural Networks by
        Enforcing Lipschitz Continuity", Machine Learning 2021, https://arxiv.org/abs/1804.04368 (of
        convolutions and of residual connections).
    """

    title = "Norms of layers bound a critic's slope, if they are those of its layers' maps"
    choices = ("seeds",)

    def __init__(
        self,
        seeds: Sequence[int] = (0,),
        channels: int = 16,
        steps: int = 100,
        rate: float = 1e-3,
        batch_size: int = 64,
        search_steps: int = 200,
    ) -> None:
        numbers = {"channels": channels, "steps": steps, "rate": rate, "batch_size": batch_size}
        for name, number in {**numbers, "search_steps": search_steps}.items():
            check_bound(name, number)
        self.seeds = seeds
        self.channels = channels
        self.steps = steps
        self.rate = rate
        self.batch_size = batch_size
        self.search_steps = search_steps

    def trials(self) -> Iterator[Row]:
        """Yield one for each critic, its loss and its seed."""
        for loss, cases in CASES.items():
            for seed in [None] if loss == "none" else self.seeds:
                for critic, normalization in cases:
                    yield {
                        "loss": loss,
                        "critic": critic,
                        "normalization": normalization,
                        "seed": seed,
                    }

    def measure(self, **trial: Any) -> Row:
        """Build a critic, train it, and look for its steepest place."""
        seed_everything(trial["seed"] or 0, verbose=False)
        untrained = trial["loss"] == "none"
        kind: Kind = trial["critic"]
        raw = identity_critic(kind) if untrained else convolutional_critic(kind, self.channels)
        critic = NORMALIZATIONS[trial["normalization"]](raw)
        data = Digits(batch_size=self.batch_size)
        data.setup("fit")
        images, _ = data.train_set[torch.arange(NUM_WATCHED)]
        trace = _Slopes(images, max(1, self.steps // LOOKS))
        trace.look(critic, 0)
        if not untrained:
            train(self._model(critic, trial["loss"]), data, self.steps, [trace])
        in_training = lipschitz_bound(critic, images)
        settle(critic, images)
        few = images[: NUM_STARTS // 2]
        starts = torch.cat([few, few.abs()])  # where all pixels are positive, activations let pass
        return {
            "steps": trace.steps,
            "slopes": trace.slopes,
            "bound_in_training": in_training,
            "bound": lipschitz_bound(critic, images),
            "slope": steepest_slope(critic, starts, self.search_steps),
            "norms": _norms_of_kernels(critic, images),
        }

    def findings(self, rows: Sequence[Row]) -> list[Finding]:
        """Compare slopes with bounds, and bounds with the closed form."""

        def of(loss: str, critic: str, normalization: str) -> list[Row]:
            wanted = (loss, critic, normalization)
            return [r for r in rows if (r["loss"], r["critic"], r["normalization"]) == wanted]

        plain = {name: of("wasserstein", "plain", name) for name in NORMALIZATIONS}
        games = {name: of("hinge", "plain", name) for name in NORMALIZATIONS}
        return [
            _of_kernels(plain["spectral"] + games["spectral"]),
            _of_growth(plain),
            _of_order(games),
            _below("A chain of layers divided by their operator norm", plain["exact"], 1.0),
            _of_identity(of("none", "sum", "exact"), "sum", 2.0),
            _of_parallel(of("wasserstein", "sum", "exact")),
            _of_identity(of("none", "mean", "exact"), "mean", 1.0),
            _below(
                "A block that takes the mean of such branches",
                of("wasserstein", "mean", "exact"),
                1.0,
            ),
            _of_bounds(rows),
        ]

    def draw(self, rows: Sequence[Row]) -> Figure:
        """Draw the norms of the kernels, the steepest slopes, and those during training."""
        return draw_slopes(self.title, rows, float(KERNEL))

    def table(self, rows: Sequence[Row]) -> str:
        """List every critic with its slope and bound."""
        of_slopes = ["steepest slope found", "bound", "in training"]
        lines = [["loss", "critic", "divided by", "seed", *of_slopes]]
        for row in rows:
            cells = [row["loss"], row["critic"], row["normalization"], row["seed"]]
            cells += [f"{row[name]:.4g}" for name in ("slope", "bound", "bound_in_training")]
            lines.append(cells)
        return markdown(lines)

    def _model(self, critic: nn.Module, loss: str) -> AdversarialModule:
        generator = MLPGenerator(8, SHAPE)

        def adam(parameters: Any) -> GANAdam:
            return GANAdam(parameters, lr=self.rate, beta1=0.0, beta2=0.9)

        if loss == "hinge":
            return HingeGAN(generator, critic, n_critic=5, optimizer_g=adam, optimizer_d=adam)
        return WGAN(
            generator,
            critic,
            weight_clip_val_d=None,
            optimizer_g=lambda parameters: SGD(parameters, lr=0.0),
            optimizer_d=adam,
        )


class _Slopes(Callback):
    """Note the largest slope at some images, every few iterations."""

    def __init__(self, images: Tensor, interval: int) -> None:
        self.images, self.interval = images, interval
        self.steps: list[int] = []
        self.slopes: list[float] = []

    def look(self, critic: nn.Module, step: int) -> None:
        self.steps.append(step)
        self.slopes.append(empirical_slope(critic, self.images).max().item())

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        if trainer.global_step % self.interval == 0:
            self.look(pl_module.discriminator, trainer.global_step)


def _norms_of_kernels(critic: nn.Module, images: Tensor) -> list[float]:
    norms = layer_norms(critic, images)
    layers = dict(critic.named_modules())
    return [norm for name, norm in norms.items() if isinstance(layers[name], nn.Conv2d)]


def _of_kernels(rows: Sequence[Row]) -> Finding:
    norms = [norm for row in rows for norm in row["norms"]]
    return Finding(
        "The norm of a kernel's matrix is not that of its convolution, which is up to "
        f"{KERNEL} times as large for a kernel of {KERNEL}x{KERNEL}.",
        NEARLY < max(norms) <= NEARLY * KERNEL if norms else None,
        f"{_range(norms)} after spectral normalisation",
    )


def _of_growth(rows: dict[str, list[Row]]) -> Finding:
    grown = {
        key: [row["slopes"][-1] / row["slopes"][len(row["slopes"]) // 2] for row in found]
        for key, found in rows.items()
    }
    others = [factor for key, found in grown.items() if key != "none" for factor in found]
    return Finding(
        "Asked to be steep, a critic does so for ever unless its weights are normalised.",
        min(grown["none"]) > GROWN > max(others) if all(grown.values()) else None,
        f"{_by_normalization(rows)}; since half time by factors of {_range(grown['none'])}, and of "
        f"{_range(others)} with normalisation",
    )


def _of_order(rows: dict[str, list[Row]]) -> Finding:
    low, high = ({k: f(r["slope"] for r in v) for k, v in rows.items() if v} for f in (min, max))
    return Finding(
        "In a hinge GAN the critic is steepest without normalisation, and least steep with "
        "operator norms.",
        low["none"] > high["spectral"] and low["spectral"] > high["exact"]
        if all(rows.values())
        else None,
        _by_normalization(rows),
    )


def _by_normalization(rows: dict[str, list[Row]]) -> str:
    said = (f"{NAMES[key]} {_range([r['slope'] for r in found])}" for key, found in rows.items())
    return f"steepest slope, weights divided by {', '.join(said)}"


def _below(what: str, rows: Sequence[Row], limit: float) -> Finding:
    slopes, bounds = ([row[name] for row in rows] for name in ("slope", "bound"))
    lag = max((row["bound_in_training"] / row["bound"] for row in rows), default=math.nan)
    return Finding(
        f"{what} has no slope above {limit:g}.",
        max(slopes) <= NEARLY * limit if rows else None,
        f"steepest {_range(slopes)}, bound {_range(bounds)}; in training, with norms that lag "
        f"behind, the bound was up to {lag:.2f} times as large",
    )


def _of_identity(rows: Sequence[Row], kind: str, expected: float) -> Finding:
    slopes = [row["slope"] for row in rows]
    return Finding(
        f"The {kind} of two branches that are both the identity has the slope {expected:g}.",
        all(abs(slope - expected) < 1e-3 for slope in slopes) if slopes else None,
        f"found {_range(slopes)}",
    )


def _of_parallel(rows: Sequence[Row]) -> Finding:
    slopes = [row["slope"] for row in rows]
    return Finding(
        "Trained, the sum of two branches of slope 1 gets steeper than 1, and at most 2.",
        min(slopes) > 1.0 and max(slopes) <= 2 * NEARLY if slopes else None,
        f"steepest {_range(slopes)}",
    )


def _of_bounds(rows: Sequence[Row]) -> Finding:
    shares = [row["slope"] / row["bound"] for row in rows]
    return Finding(
        "No slope is above the product of the layers' norms.",
        max(shares) <= 1.001 if shares else None,
        f"the steepest reach from {min(shares, default=math.nan):.2g} to "
        f"{max(shares, default=math.nan):.4f} of it",
    )


def _range(values: Sequence[float]) -> str:
    if not values:
        return "unknown"
    low, high = f"{min(values):.3g}", f"{max(values):.3g}"
    return low if low == high else f"{low} to {high}"
