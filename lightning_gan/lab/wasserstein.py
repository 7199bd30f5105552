"""Whether a critic's estimate tells how good samples are, and whether a plain GAN's losses do."""

from collections.abc import Iterator, Sequence
from functools import reduce
from operator import add
from typing import Any, Literal

import torch
from lightning import Callback, LightningModule, Trainer, seed_everything
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]
from torch import Tensor
from torchmetrics.functional import pearson_corrcoef, spearman_corrcoef

from lightning_gan.data import GaussianMixture
from lightning_gan.functional import mixture_coverage
from lightning_gan.gans import GAN, WGANGP, AdversarialModule
from lightning_gan.lab.experiment import Experiment, Finding, Row
from lightning_gan.lab.figures import ORACLE, new_figure
from lightning_gan.lab.tables import markdown
from lightning_gan.lab.training import train
from lightning_gan.networks import MLPDiscriminator, MLPGenerator
from lightning_gan.training import GANAdam
from lightning_gan.training.batch import Batch

NUM_SAMPLES = 1000  # of each kind; the exact distance takes a tenth of a second
FOLLOWS = 0.8  # correlation from which on one figure is said to follow another
METHODS = ("WGAN-GP", "plain GAN")
# What each method offers to judge samples by, and how it is drawn.
SIGNALS = {
    "WGAN-GP": {"train": "estimate, train", "held_out": "estimate, held out"},
    "plain GAN": {"d_loss": "discriminator's loss", "g_loss": "generator's loss"},
}


class WassersteinSignal(Experiment):
    r"""Measure, over a training, what its figures have to do with the quality of the samples.

    The quality is the Wasserstein distance itself, between as many held-out and generated points:

    .. math:: W_1 = \min_\pi \frac{1}{N} \sum_i \lVert x_i - G(z_{\pi(i)}) \rVert_2

    over all permutations, which the critic of WGAN-GP estimates by
    :math:`\mathbb{E}[D(x)] - \mathbb{E}[D(G(z))]`. That estimate, of training and of held-out
    points, is set beside it, and the losses of a plain GAN beside the distance of its own samples.

    Args:
        layout: Mixture of Gaussians; see :class:`~lightning_gan.data.GaussianMixture`.
        seeds: Runs of each method.
        steps: Iterations of the generator.
        every_n_steps: Iterations between two points.
        gp_weight: Weight of the gradient penalty.
        n_critic: Updates of the critic in an iteration.
        rate: Learning rate of Adam.
        batch_size: Real samples of an update.
        hidden: Widths of both networks' hidden layers.

    Raises:
        ValueError: If there are fewer than three points of a run, or no seeds.

    Reference:
        Arjovsky et al., "Wasserstein GAN", ICML 2017, https://arxiv.org/abs/1701.07875, section
        4.2; Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017,
        https://arxiv.org/abs/1704.00028, section 5.3.
    """

    title = "What a training's figures say of its samples"
    choices = ("seeds",)

    def __init__(
        self,
        layout: Literal["ring", "grid"] = "ring",
        seeds: Sequence[int] = (0,),
        steps: int = 1500,
        every_n_steps: int = 50,
        gp_weight: float = 1.0,
        n_critic: int = 5,
        rate: float = 2e-4,
        batch_size: int = 256,
        hidden: Sequence[int] = (128, 128),
    ) -> None:
        if every_n_steps < 1 or steps < 3 * every_n_steps:
            raise ValueError(
                f"Expected 'steps' to be at least three times 'every_n_steps', got {steps} and "
                f"{every_n_steps}."
            )
        if not seeds:
            raise ValueError("Expected 'seeds' to hold at least one, got none.")
        self.layout = layout
        self.seeds = seeds
        self.steps = steps
        self.every_n_steps = every_n_steps
        self.gp_weight = gp_weight
        self.n_critic = n_critic
        self.rate = rate
        self.batch_size = batch_size
        self.hidden = hidden

    def trials(self) -> Iterator[Row]:
        """Yield both methods for each seed."""
        for seed in self.seeds:
            for method in METHODS:
                yield {"method": method, "seed": seed}

    def measure(self, **trial: Any) -> Row:
        """Train once; ``points`` hold the step, distance, quality and signals of each point."""
        seed_everything(trial["seed"], verbose=False)
        model = self._model(trial["method"])
        data = GaussianMixture(self.layout, batch_size=self.batch_size, seed=trial["seed"])
        points = SignalPoints(self.every_n_steps, trial["seed"])
        train(model, data, self.steps, [points])
        return {"points": points.points}

    def findings(self, rows: Sequence[Row]) -> list[Finding]:
        """Tell which signals follow the distance, in each seed."""
        critic = _correlations(rows, "WGAN-GP")
        plain = _correlations(rows, "plain GAN")
        if not critic or not plain:
            return []
        least = min(value for name in SIGNALS["WGAN-GP"] for value in critic[name])
        closest = max(abs(value) for name in SIGNALS["plain GAN"] for value in plain[name])
        return [
            Finding(
                "The critic's estimate follows the distance between samples and data: rank "
                f"correlation of at least {FOLLOWS} in every seed.",
                least >= FOLLOWS,
                f"{_said(rows, 'WGAN-GP')}.",
            ),
            Finding(
                "The plain GAN's losses do not: below that, of either sign, in every seed.",
                closest < FOLLOWS,
                f"{_said(rows, 'plain GAN')}.",
            ),
        ]

    def draw(self, rows: Sequence[Row]) -> Figure:
        """Draw both signals and the distance over the training, and one against the other."""
        title = f"{self.title}: WGAN-GP's estimate and a plain GAN's losses, {self.layout}"
        figure, panels = new_figure(title, columns=2, rows=2, height=7.2)
        for place, method in enumerate(METHODS):
            runs = [row["points"] for row in rows if row["method"] == method]
            _draw_course(panels[place], method, runs)
            _draw_relation(panels[2 + place], method, runs, _correlations(rows, method))
        return figure

    def table(self, rows: Sequence[Row]) -> str:
        """Return the correlations of every run."""
        with_what = ["Pearson with W1", "Spearman with W1", "Spearman with quality"]
        lines = [["method", "signal", "seed", *with_what]]
        for row in rows:
            points = row["points"]
            for name, label in SIGNALS[row["method"]].items():
                signal, distance, quality = (
                    _column(points, key) for key in (name, "distance", "high_quality")
                )
                figures = [
                    pearson_corrcoef(signal, distance),
                    spearman_corrcoef(signal, distance),
                    spearman_corrcoef(signal, quality),
                ]
                cells = [f"{figure.item():.2f}" for figure in figures]
                lines.append([row["method"], label, str(row["seed"]), *cells])
        return markdown(lines)

    def _model(self, method: str) -> AdversarialModule:
        def adam(parameters: Any) -> GANAdam:
            return GANAdam(parameters, lr=self.rate, beta1=0.5, beta2=0.9)

        generator = MLPGenerator(hidden=self.hidden)
        discriminator = MLPDiscriminator(hidden=self.hidden)
        options: dict[str, Any] = {"optimizer_g": adam, "optimizer_d": adam}
        if method == "plain GAN":
            return GAN(generator, discriminator, **options)
        options |= {"gp_weight": self.gp_weight, "n_critic": self.n_critic}
        return WGANGP(generator, discriminator, **options)


class SignalPoints(Callback):
    """Note at intervals how far samples are from held-out data, and what the game says of it.

    Args:
        every_n_steps: Iterations between two points.
        seed: Of the latents, the same at each point.

    Attributes:
        points: ``step``, ``distance``, ``high_quality``, and signals by name.
    """

    def __init__(self, every_n_steps: int, seed: int) -> None:
        self.every_n_steps = every_n_steps
        self.seed = seed
        self.points: list[Row] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        """Take a point where it is time to."""
        if trainer.global_step % self.every_n_steps == 0:
            self._take(trainer, pl_module)

    def _take(self, trainer: Any, model: Any) -> None:
        data: GaussianMixture = trainer.datamodule
        generator = torch.Generator().manual_seed(self.seed)
        fake = model.sample(NUM_SAMPLES, generator=generator)
        index = torch.arange(NUM_SAMPLES)
        seen = data.train_set[index][0]
        held_out = (data.test_set or data.train_set)[index][0]
        quality = mixture_coverage(fake, data.centers, data.std).high_quality
        self.points.append(
            {
                "step": trainer.global_step,
                "distance": transport_distance(held_out, fake),
                "high_quality": 100 * quality.item(),
                **_signals(model, seen, held_out, fake),
            }
        )


@torch.no_grad()
def transport_distance(real: Tensor, fake: Tensor) -> float:
    """Return the exact Wasserstein-1 distance between two sets of as many points.

    Args:
        real: Points (N, d).
        fake: Points (N, d).

    Example:
        >>> points = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
        >>> transport_distance(points, points.flip(0) + torch.tensor([0.0, 2.0]))
        2.0
    """
    exact = "donot_use_mm_for_euclid_dist"
    costs = torch.cdist(real.double(), fake.double(), compute_mode=exact).numpy()
    rows, columns = linear_sum_assignment(costs)
    return float(costs[rows, columns].mean())


def _signals(model: AdversarialModule, seen: Tensor, held_out: Tensor, fake: Tensor) -> Row:
    """Return what the losses say of samples, without the penalties."""
    generated = Batch(fake)
    with torch.no_grad(), model.rehearsal():
        losses = {
            name: reduce(add, model.discriminator_loss(Batch(real), generated).values()).item()
            for name, real in {"train": seen, "held_out": held_out}.items()
        }
        if isinstance(model, WGANGP):
            return {name: -loss for name, loss in losses.items()}
        loss_g = reduce(add, model.generator_loss(Batch(seen), generated).values()).item()
    return {"d_loss": losses["train"], "g_loss": loss_g}


def _column(points: Sequence[Row], name: str) -> Tensor:
    return torch.tensor([point[name] for point in points])


def _correlations(rows: Sequence[Row], method: str) -> dict[str, list[float]]:
    """Return, of each signal of a method, its rank correlation with the distance in each run."""
    runs = [row["points"] for row in rows if row["method"] == method]
    return {
        name: [
            spearman_corrcoef(_column(points, name), _column(points, "distance")).item()
            for points in runs
        ]
        for name in SIGNALS[method]
        if runs
    }


def _said(rows: Sequence[Row], method: str) -> str:
    """Say the correlations of a method's signals in words."""
    return "; ".join(
        f"{SIGNALS[method][name]} {', '.join(f'{value:.2f}' for value in values)}"
        for name, values in _correlations(rows, method).items()
    )


def _draw_course(axes: Axes, method: str, runs: Sequence[Sequence[Row]]) -> None:
    """Draw signals and distance over the training."""
    for number, points in enumerate(runs):
        steps = _column(points, "step")
        for color, (name, label) in enumerate(SIGNALS[method].items()):
            own = label if number == 0 else "_"
            axes.plot(steps, _column(points, name), color=f"C{color}", linewidth=1, label=own)
        own = "true W1" if number == 0 else "_"
        axes.plot(steps, _column(points, "distance"), color="0.35", linestyle="--", label=own)
    axes.set(xlabel="iterations of the generator", ylabel="estimate or loss; distance")
    _add_legend(axes, method)


def _draw_relation(
    axes: Axes,
    method: str,
    runs: Sequence[Sequence[Row]],
    correlations: dict[str, list[float]],
) -> None:
    """Draw each signal against the distance."""
    for color, (name, label) in enumerate(SIGNALS[method].items()):
        told = ", ".join(f"{value:.2f}" for value in correlations.get(name, []))
        for number, points in enumerate(runs):
            own = f"{label}: {told}" if number == 0 else "_"
            distances, signal = _column(points, "distance"), _column(points, name)
            axes.scatter(distances, signal, s=9, color=f"C{color}", alpha=0.6, lw=0, label=own)
    if method == "WGAN-GP" and runs:
        line: dict[str, Any] = ORACLE
        axes.axline((0, 0), slope=1, label="estimate = W1", **line)
    axes.set(xlabel="true distance W1 to held-out data", ylabel="estimate or loss")
    _add_legend(axes, f"{method}, with rank correlations")


def _add_legend(axes: Axes, title: str) -> None:
    options: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": 3}
    axes.legend(title=title, fontsize=7.5, title_fontsize=10, frameon=False, **options)
