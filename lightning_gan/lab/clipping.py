"""Clipping against the gradient penalty: where a deep critic's weights and gradients end up."""

import math
from collections.abc import Iterator, Sequence
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import torch
from lightning import seed_everything
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.optim import SGD, RMSprop

from lightning_gan.data import GaussianMixture
from lightning_gan.diagnostics import clipped_share
from lightning_gan.gans import WGAN, WGANGP, AdversarialModule
from lightning_gan.lab.experiment import Experiment, Finding, Row
from lightning_gan.lab.figures import ORACLE, new_figure
from lightning_gan.lab.training import train
from lightning_gan.networks import MLPDiscriminator
from lightning_gan.training import GANAdam
from lightning_gan.training.arguments import check_bound
from lightning_gan.training.batch import Batch

NUM_POINTS = 20_000
LOOKED_AT = 1024  # samples of each kind on which the gradients are measured, the same each time
AT_BOUND = 0.99  # of it: from here on a weight counts as pushed to the bound
MOST = 0.5  # share of the weights that counts as most of them
STEADY = 1.5  # factor per layer up to which a gradient neither vanishes nor explodes
BINS = 41
PENALTY = "gradient penalty"


class Clipping(Experiment):
    r"""What bounding a deep critic by clipping does to its weights and to its gradient.

    The critic tells the points of a grid of Gaussians from the same points with noise, which stand
    for a generator that does not move. It is trained by :class:`~lightning_gan.WGAN` with several
    bounds, and by :class:`~lightning_gan.WGANGP`. At the end the gradient of its loss by the
    activations of each layer is measured, per sample, and how many weights lie within 1 % of the
    bound.

    Between two layers of n units with weights in [-c, c], and activations of slope at most 1, the
    gradient grows at most by the factor :math:`c n`, the norm of a matrix of which every entry is
    c: below 1 it has to vanish.

    Args:
        bounds: Bounds c on the weights, a run each.
        gp_weight: Weight of the penalty.
        seeds: Runs of each method.
        depth: Linear layers of the critic.
        width: Units of each hidden one.
        steps: Iterations, of five updates of the critic each.
        rate: Learning rate of RMSprop under clipping and of Adam under the penalty.
        noise: Standard deviation of the noise that tells the generated points from the real ones.
        batch_size: Samples of each kind.

    Raises:
        ValueError: If a number is not positive, or ``depth`` below 4.

    Reference:
        Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017,
        https://arxiv.org/abs/1704.00028, section 3 and figure 1.
    """

    title = "Clipping sends weights to the bound and gradients to nothing or infinity"
    choices = ("bounds", "seeds")

    def __init__(
        self,
        bounds: Sequence[float] = (0.001, 0.01, 0.1),
        gp_weight: float = 10.0,
        seeds: Sequence[int] = (0,),
        depth: int = 12,
        width: int = 64,
        steps: int = 150,
        rate: float = 5e-4,
        noise: float = 1.0,
        batch_size: int = 256,
    ) -> None:
        numbers = {"gp_weight": gp_weight, "width": width, "steps": steps, "rate": rate}
        for name, number in {**numbers, "noise": noise, "batch_size": batch_size}.items():
            check_bound(name, number)
        for bound in bounds:
            check_bound("bounds", bound)
        if depth < 4:
            raise ValueError(f"Expected 'depth' to be at least 4, got {depth}.")
        self.bounds = bounds
        self.gp_weight = gp_weight
        self.seeds = seeds
        self.depth = depth
        self.width = width
        self.steps = steps
        self.rate = rate
        self.noise = noise
        self.batch_size = batch_size

    def trials(self) -> Iterator[Row]:
        """Yield a trial for each bound, and one for the penalty, with each seed."""
        for seed in self.seeds:
            for bound in self.bounds:
                yield {"method": "clipping", "bound": bound, "seed": seed}
            yield {"method": PENALTY, "bound": None, "seed": seed}

    def measure(self, **trial: Any) -> Row:
        """Train a critic, and look at its weights and gradients."""
        bound, seed = trial["bound"], trial["seed"]
        seed_everything(seed, verbose=False)
        data = GaussianMixture("grid", num_samples=NUM_POINTS, batch_size=self.batch_size)
        data.setup("fit")
        points = data.train_set.samples
        model = self._model(NoisyData(points, self.noise), bound)
        start = None if bound is None else share_at(model.discriminator, bound)
        train(model, data, self.steps)
        latents = torch.randn(LOOKED_AT, 3, generator=torch.Generator().manual_seed(0))
        real, fake = Batch(points[:LOOKED_AT]), Batch(model.generator(latents).detach())
        gradients = gradient_norms(model, real, fake)
        weights = _weights(model.discriminator)
        edge = bound or weights.abs().max().item()
        return {
            "gradients": gradients,
            "factor": factor_per_layer(gradients),
            "limit": None if bound is None else bound * self.width,
            "share_at_start": start,
            "share": None if bound is None else share_at(model.discriminator, bound),
            "edge": edge,
            "histogram": (torch.histc(weights, BINS, -edge, edge) / len(weights)).tolist(),
        }

    def findings(self, rows: Sequence[Row]) -> list[Finding]:
        """Say where weights and gradients ended up."""
        clipped = [row for row in rows if row["bound"] is not None]
        free = [row for row in clipped if row["share_at_start"] < MOST]
        penalised = [row for row in rows if row["bound"] is None]
        return [
            Finding(
                f"Clipping leaves more than {MOST:.0%} of the weights within 1 % of the bound.",
                all(row["share"] > MOST for row in clipped) if clipped else None,
                _by_bound(clipped, lambda row: f"{row['share_at_start']:.0%} -> {row['share']:.0%}")
                + ", from the first clipping to the end",
            ),
            Finding(
                "Where few weights begin beyond the bound, the training sends them there.",
                all(row["share"] > MOST for row in free) if free else None,
                _by_bound(free, lambda row: f"{row['share'] - row['share_at_start']:+.0%}")
                or "none begin so",
            ),
            Finding(
                "Under clipping the gradient vanishes or explodes from layer to layer: "
                f"by more than {STEADY:g} times.",
                all(not _is_steady(row) for row in clipped) if clipped else None,
                "factor towards the samples: "
                + _by_bound(clipped, lambda row: f"{row['factor']:.3g}"),
            ),
            Finding(
                "Under clipping the factor keeps below the bound times the width.",
                all(row["factor"] <= row["limit"] for row in clipped) if clipped else None,
                _by_bound(clipped, lambda row: f"{row['factor']:.3g} <= {row['limit']:.3g}"),
            ),
            Finding(
                "Under the penalty it does neither.",
                all(_is_steady(row) for row in penalised) if penalised else None,
                "factor " + _listed(f"{row['factor']:.3g}" for row in penalised),
            ),
        ]

    def draw(self, rows: Sequence[Row]) -> Figure:
        """Draw the gradient over the layers, and the weights of the first seed."""
        widths = {"width_ratios": [1.5, 1, 1]}
        figure, (left, middle, right) = new_figure(self.title, 3, gridspec_kw=widths)
        left.set(
            title="Gradient of the critic's loss, per sample",
            xlabel=f"layer (0: the samples, {self.depth}: the logit)",
            ylabel="norm of the gradient by the layer's output",
            yscale="log",
        )
        colors = self._colors(rows)
        for row in rows:
            label = _once(left, _name(row))
            left.plot(row["gradients"], ".-", color=colors[row["bound"]], alpha=0.8, label=label)
        left.axhline(1.0, **ORACLE)
        middle.set(title="Weights, clipped", xlabel="weight / c", ylabel="share of the weights, %")
        right.set(title="Weights, penalised", xlabel="weight")
        for row in rows:
            panel = right if row["bound"] is None else middle
            scale = row["edge"] if row["bound"] is None else 1.0
            _draw_histogram(panel, row, scale, colors[row["bound"]])
        for panel in (left, middle):
            if panel.get_legend_handles_labels()[0]:
                panel.legend(fontsize="small")
        return figure

    def _model(self, generator: nn.Module, bound: float | None) -> AdversarialModule:
        critic = MLPDiscriminator(hidden=[self.width] * (self.depth - 1))
        still: Any = {"optimizer_g": lambda parameters: SGD(parameters, lr=0.0)}
        if bound is None:
            return WGANGP(
                generator,
                critic,
                gp_weight=self.gp_weight,
                optimizer_d=lambda p: GANAdam(p, lr=self.rate, beta1=0.0, beta2=0.9),
                **still,
            )
        return WGAN(
            generator,
            critic,
            weight_clip_val_d=bound,
            optimizer_d=lambda p: RMSprop(p, lr=self.rate),
            **still,
        )

    def _colors(self, rows: Sequence[Row]) -> dict[float | None, str]:
        bounds = sorted({row["bound"] for row in rows if row["bound"] is not None})
        return {None: "C0"} | {bound: f"C{i}" for i, bound in enumerate(bounds, start=1)}


class NoisyData(nn.Module):
    """Make data points with normal noise: a generator whose only weight is the noise's deviation.

    The first number of a latent chooses the point, the others are the noise.

    Args:
        points: The data, (M, D).
        std: Standard deviation of the noise.
    """

    points: Tensor

    def __init__(self, points: Tensor, std: float) -> None:
        super().__init__()
        self.latent_dim = 1 + points.shape[1]
        self.register_buffer("points", points)
        self.std = nn.Parameter(torch.tensor(std))

    def forward(self, z: Tensor) -> Tensor:
        """Map latents (N, 1 + D) to points (N, D)."""
        places = (torch.special.ndtr(z[:, 0]) * len(self.points)).long()
        samples: Tensor = self.points[places.clamp_max(len(self.points) - 1)] + self.std * z[:, 1:]
        return samples


def gradient_norms(model: AdversarialModule, real: Batch, fake: Batch) -> list[float]:
    """Measure the gradient of a critic's loss by what each linear layer returns.

    Args:
        model: Whose discriminator is a chain of linear layers and activations; it is turned into
            float64, in which a gradient may fall below what float32 can hold.
        real: Real samples.
        fake: As many generated ones.

    Returns:
        Root mean square over the samples of the gradient's norm for the samples themselves, and for
        each layer in order. The mean over the batch is not divided by, so that for the loss of a
        Wasserstein GAN it is that of each sample's logit: 1 for the last layer.
    """
    model.double()
    samples = [batch.samples.double().requires_grad_() for batch in (real, fake)]
    outputs: list[Tensor] = []
    layers = [layer for layer in model.discriminator.modules() if isinstance(layer, nn.Linear)]
    handles = [
        layer.register_forward_hook(lambda *args: outputs.append(args[2])) for layer in layers
    ]
    try:
        with model.rehearsal():
            terms = model.discriminator_loss(*map(Batch, samples))
    finally:
        for handle in handles:
            handle.remove()
    loss = reduce(add, terms.values())
    gradients = torch.autograd.grad(loss, [*samples, *outputs])
    size = len(real.samples)
    of_samples = torch.cat(gradients[:2])
    of_layers = (of_samples, *gradients[2:])
    return [size * torch.linalg.vector_norm(g).item() / math.sqrt(2 * size) for g in of_layers]


def factor_per_layer(gradients: Sequence[float]) -> float:
    """Return by what a gradient grows from one hidden layer to the one before, towards the samples.

    Args:
        gradients: Norms for the samples, for each hidden layer in order, and for the logit.

    Returns:
        From a line through the logarithms: 1 where they neither vanish nor explode.

    Example:
        >>> round(factor_per_layer([9.0, 8.0, 4.0, 2.0, 1.0]), 6)
        2.0
    """
    hidden = np.log(gradients[1:-1])
    return float(np.exp(-np.polyfit(np.arange(len(hidden)), hidden, 1)[0]))


def share_at(network: nn.Module, bound: float) -> float:
    """Return the share of a network's weights that a clipping to ``bound`` leaves at its ends."""
    return clipped_share(network, AT_BOUND * bound)


def _weights(network: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten().float() for parameter in network.parameters()])


def _is_steady(row: Row) -> bool:
    return bool(1 / STEADY < row["factor"] < STEADY)


def _by_bound(rows: Sequence[Row], say: Any) -> str:
    bounds = sorted({row["bound"] for row in rows})
    said = {c: _listed(say(row) for row in rows if row["bound"] == c) for c in bounds}
    return "; ".join(f"c = {bound:g}: {text}" for bound, text in said.items())


def _listed(texts: Any) -> str:
    return ", ".join(texts)


def _name(row: Row) -> str:
    return PENALTY if row["bound"] is None else f"clipping, c = {row['bound']:g}"


def _once(axes: Axes, label: str) -> str | None:
    return None if label in axes.get_legend_handles_labels()[1] else label


def _draw_histogram(axes: Axes, row: Row, edge: float, color: str) -> None:
    shares = 100 * np.array(row["histogram"])
    edges = np.linspace(-edge, edge, len(shares) + 1)
    label = None if row["bound"] is None else _once(axes, f"c = {row['bound']:g}")
    axes.stairs(shares, edges, color=color, label=label, linewidth=1.5)
