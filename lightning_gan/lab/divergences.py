"""Jensen-Shannon against Wasserstein, for two distributions that separate."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from lightning_gan.functional import Divergence
from lightning_gan.gans import FGAN, GAN, WGAN, WGANGP, AdversarialModule
from lightning_gan.lab.experiment import Experiment, Finding, Row
from lightning_gan.lab.figures import ORACLE, new_figure
from lightning_gan.lab.saturation import discriminator_updates
from lightning_gan.lab.tables import markdown
from lightning_gan.layers import evaluating, spectral_normalize
from lightning_gan.networks import MLPDiscriminator
from lightning_gan.training import GANAdam
from lightning_gan.training.arguments import check_bound, check_choice
from lightning_gan.training.batch import Batch

SAMPLES = 10_000  # on which the trained discriminator is judged
TOLERANCE = 0.1  # of ln 2, of 2 and of the distance: what counts as reached
_ORACLE_LINES: dict[str, Any] = {"colors": "0.35", "linestyles": "--", "linewidths": 1.2}
_RIGHT: dict[str, Any] = {"horizontalalignment": "right", "fontsize": "small"}
FLAT, STEEP = 0.05, 0.8  # slopes of the generator's loss: none, and nearly 1


class Line(nn.Module):
    """Generate points of the vertical segment {x} x [0, 1]; x is the only parameter."""

    latent_dim = 1

    def __init__(self, x: float) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.tensor(float(x)))

    def forward(self, z: Tensor) -> Tensor:
        """Map latents (N, 1), normal as they are, to points (N, 2)."""
        return torch.cat([self.x.expand_as(z), torch.special.ndtr(z)], dim=1)


@dataclass(frozen=True)
class _Method:
    """What estimates a divergence.

    Attributes:
        label: Its name.
        color: In the figure.
        build: Makes the model.
        value: The divergence as a function of the discriminator's loss.
        exact: The divergence at a distance above 0.
        marker: In the figure.
    """

    label: str
    color: str
    build: Callable[..., AdversarialModule]
    value: Callable[[float], float]
    exact: Callable[[float], float]
    marker: str


def _spectral_critic(generator: nn.Module, discriminator: nn.Module, **options: Any) -> WGAN:
    return WGAN(generator, spectral_normalize(discriminator), weight_clip_val_d=None, **options)


def _fgan(divergence: Divergence) -> Callable[..., AdversarialModule]:
    return partial(FGAN, divergence=divergence, generator_objective="minimax")


METHODS: dict[str, _Method] = {
    "gan": _Method(
        "Jensen-Shannon, by GAN",
        "C0",
        partial(GAN, generator_objective="minimax"),
        lambda loss: math.log(2) - loss / 2,
        lambda distance: math.log(2),
        "o",
    ),
    "fgan_jensen_shannon": _Method(
        "Jensen-Shannon, by f-GAN",
        "C9",
        _fgan("jensen_shannon"),
        lambda loss: -loss / 2,  # the f-divergence of that name is twice the usual one
        lambda distance: math.log(2),
        "x",
    ),
    "fgan_squared_hellinger": _Method(
        "squared Hellinger, by f-GAN",
        "C4",
        _fgan("squared_hellinger"),
        lambda loss: -loss,
        lambda distance: 2.0,
        "s",
    ),
    "wgan_gp": _Method(
        "Wasserstein, by WGAN-GP",
        "C1",
        WGANGP,
        lambda loss: -loss,
        lambda distance: distance,
        "^",
    ),
    "wgan_sn": _Method(
        "Wasserstein, by spectral normalisation",
        "C3",
        _spectral_critic,
        lambda loss: -loss,
        lambda distance: distance,
        "v",
    ),
}


class Divergences(Experiment):
    r"""What discriminators measure between parallel segments, and what the generator gets of it.

    Real points are uniform on {0} x [0, 1], generated ones on {x} x [0, 1]. For every x but 0 the
    Jensen-Shannon divergence is :math:`\log 2` and the squared Hellinger distance 2, whose
    derivatives by x vanish; Wasserstein's distance is :math:`|x|`. Each discriminator is trained
    against a generator that stays where it is, and judged on other samples.

    Args:
        distances: Values of x.
        methods: Which discriminators: ``"gan"``, ``"fgan_jensen_shannon"``,
            ``"fgan_squared_hellinger"``, ``"wgan_gp"``, ``"wgan_sn"``, a critic of Wasserstein's
            distance with spectral normalisation.
        steps: Updates of the discriminator.
        rate: Learning rate of its Adam.
        batch_size: Samples of each kind.
        hidden: Widths of its hidden layers.
        seeds: One discriminator each.

    Raises:
        ValueError: If a method is unknown, or a number is not positive.

    Reference:
        Arjovsky et al., "Wasserstein GAN", ICML 2017, https://arxiv.org/abs/1701.07875, example 1
        and figure 1.
    """

    title = "Two segments that separate: Jensen-Shannon jumps, Wasserstein's distance grows"
    choices = ("distances", "methods", "seeds")

    def __init__(
        self,
        distances: Sequence[float] = (0.0, 0.5, 1.0),
        methods: Sequence[str] = ("gan", "wgan_gp"),
        steps: int = 2000,
        rate: float = 2e-3,
        batch_size: int = 256,
        hidden: Sequence[int] = (64, 64),
        seeds: Sequence[int] = (0,),
    ) -> None:
        for method in methods:
            check_choice("methods", method, METHODS)
        for name, number in {"steps": steps, "rate": rate, "batch_size": batch_size}.items():
            check_bound(name, number)
        self.distances = distances
        self.methods = methods
        self.steps = steps
        self.rate = rate
        self.batch_size = batch_size
        self.hidden = hidden
        self.seeds = seeds

    def trials(self) -> Iterator[Row]:
        """Yield a trial for each discriminator."""
        for method in self.methods:
            for distance in self.distances:
                for seed in self.seeds:
                    yield {"method": method, "distance": distance, "seed": seed}

    def measure(self, **trial: Any) -> Row:
        """Train a discriminator; return its estimate and the derivative of the generator's loss."""
        method = METHODS[trial["method"]]
        torch.manual_seed(trial["seed"])
        model = method.build(
            Line(trial["distance"]),
            MLPDiscriminator(hidden=self.hidden),
            optimizer_d=lambda params: GANAdam(params, lr=self.rate, beta1=0.0, beta2=0.9),
        )
        for _ in discriminator_updates(model, lambda: _real(self.batch_size), self.steps):
            pass
        with evaluating(model.discriminator), model.rehearsal():
            fake, real = model.generate(SAMPLES), Batch(_real(SAMPLES))
            [loss] = model.generator_loss(real, fake).values()
            (gradient,) = torch.autograd.grad(loss, [cast(Line, model.generator).x])
            with torch.no_grad():
                [loss] = model.discriminator_loss(real, fake.map(Tensor.detach)).values()
        return {"estimate": method.value(loss.item()), "gradient": gradient.item()}

    def findings(self, rows: Sequence[Row]) -> list[Finding]:
        """Compare the estimates and their derivatives with the closed forms."""
        apart = [row for row in rows if row["distance"] != 0]
        flat = [row for row in apart if not row["method"].startswith("wgan")]
        linear = [row for row in apart if row["method"].startswith("wgan")]
        together = [row for row in rows if row["distance"] == 0]
        return [
            _finding(
                f"However far apart, the Jensen-Shannon divergence is ln 2 and the squared "
                f"Hellinger distance 2, up to {TOLERANCE:.0%}.",
                flat,
                _error,
                TOLERANCE,
                "relative error",
            ),
            _finding(
                "They leave the generator without a gradient.",
                flat,
                lambda row: abs(row["gradient"]),
                FLAT,
                "derivative of the minimax loss",
            ),
            _finding(
                f"Wasserstein's distance is the distance, up to {TOLERANCE:.0%}.",
                linear,
                _error,
                TOLERANCE,
                "relative error",
            ),
            _finding(
                "It pulls the generator to the data, wherever it is, with a slope near 1.",
                linear,
                lambda row: abs(row["gradient"] - math.copysign(1, row["distance"])),
                1 - STEEP,
                "difference of the derivative from 1, or from -1 on the left,",
            ),
            _finding(
                "Where the two coincide, every estimate is 0.",
                together,
                lambda row: abs(row["estimate"]),
                FLAT,
                "estimate",
            ),
        ]

    def draw(self, rows: Sequence[Row]) -> Figure:
        """Draw estimates and derivatives over the distance, beside the closed forms."""
        figure, (left, right) = new_figure(self.title, 2, height=4.8)
        place = "position x of the generated segment; the real one is at 0"
        left.set(title="Divergence (nats) or distance", xlabel=place, ylabel="estimate")
        right.set(
            title="Derivative of the generator's loss by x", xlabel=place, ylabel="derivative"
        )
        reach = max((abs(row["distance"]) for row in rows), default=1.0)
        left.hlines([math.log(2), 2], -reach, reach, **_ORACLE_LINES)
        left.plot([-reach, 0, reach], [reach, 0, reach], **ORACLE, label="closed form")
        left.plot([0, 0], [math.log(2), 2], "o", markeredgecolor="0.35", color="white", zorder=3)
        right.hlines(0, -reach, reach, **_ORACLE_LINES)
        right.step([-reach, 0, reach], [-1, -1, 1], **ORACLE)
        for name, method in METHODS.items():
            mine = [row for row in rows if row["method"] == name]
            options: dict[str, Any] = {
                "color": method.color,
                "marker": method.marker,
                "linestyle": "none",
            }
            places = [row["distance"] for row in mine]
            label = method.label if mine else None
            left.plot(places, [row["estimate"] for row in mine], **options, label=label)
            right.plot(places, [row["gradient"] for row in mine], **options)
        left.text(0.8 * reach, 2.03, "2", **_RIGHT)
        left.text(0.8 * reach, math.log(2) + 0.03, "ln 2", **_RIGHT)
        figure.legend(loc="outside lower center", ncols=3, fontsize="small")
        return figure

    def table(self, rows: Sequence[Row]) -> str:
        """Return estimate and derivative of each trial."""
        lines = [["method", "x", "seed", "estimate", "closed form", "derivative"]]
        for row in rows:
            found = [f"{x:.3f}" for x in (row["estimate"], _exact(row), row["gradient"])]
            lines.append([METHODS[row["method"]].label, row["distance"], row["seed"], *found])
        return markdown(lines)


def _real(n: int) -> Tensor:
    return torch.stack([torch.zeros(n), torch.rand(n)], dim=1)


def _exact(row: Row) -> float:
    return METHODS[row["method"]].exact(abs(row["distance"])) if row["distance"] else 0.0


def _error(row: Row) -> float:
    """Return the estimate's relative error."""
    exact = _exact(row)
    return float(abs(row["estimate"] - exact) / exact)


def _finding(
    claim: str, rows: Sequence[Row], error: Callable[[Row], float], bound: float, what: str
) -> Finding:
    """Say whether the largest of some errors stays below a bound."""
    if not rows:
        return Finding(claim, None, "no trials")
    worst = max(rows, key=error)
    evidence = (
        f"largest {what} {error(worst):.3g} ({METHODS[worst['method']].label}, "
        f"x = {worst['distance']}) over {len(rows)} trials; bound {bound:.2g}"
    )
    return Finding(claim, error(worst) < bound, evidence)
