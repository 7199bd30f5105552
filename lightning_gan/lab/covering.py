"""Which divergence covers all modes, and which seeks one: a Gaussian fitted to two."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from lightning import seed_everything
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.distributions import Categorical, MixtureSameFamily, Normal

from lightning_gan.data import GANDataModule
from lightning_gan.data.base import TensorSamples
from lightning_gan.gans import FGAN
from lightning_gan.lab.experiment import Experiment, Finding, Row
from lightning_gan.lab.figures import ORACLE, new_figure
from lightning_gan.lab.tables import markdown
from lightning_gan.lab.training import train
from lightning_gan.networks import MLPDiscriminator
from lightning_gan.training import GANAdam
from lightning_gan.training.arguments import check_bound, check_choice

POINTS = 100_000  # of the training set
STEPS, RATE = 2000, 0.02  # of the exact descent
CELLS, REACH = 2001, 8.0  # of the quadrature, and how many standard deviations it goes beyond
TOLERANCE = 0.2  # of the exact descent's end, in units of a mode's standard deviation

LogDensity = Callable[[Tensor], Tensor]
NAMES = {
    "kl": "KL, from the data",
    "reverse_kl": "reverse KL, to the data",
    "jensen_shannon": "Jensen-Shannon",
    "squared_hellinger": "squared Hellinger",
}


class Gaussian(nn.Module):
    """Generate points of a Gaussian on the line.

    Args:
        mean: Its mean.
        std: Its standard deviation.
    """

    latent_dim = 1

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.tensor(float(mean)))
        self.log_std = nn.Parameter(torch.tensor(math.log(std)))

    def forward(self, z: Tensor) -> Tensor:
        """Map latents (N, 1) to points (N, 1)."""
        return self.mean + self.log_std.exp() * z


class TwoModes(GANDataModule):
    """Points of a mixture on the line, drawn once.

    Args:
        mixture: Of what.
        batch_size: See :class:`~lightning_gan.data.GANDataModule`.
        seed: Likewise.
    """

    extractor = "points"

    def __init__(self, mixture: MixtureSameFamily, batch_size: int, seed: int) -> None:
        super().__init__(batch_size, seed=seed)
        self.mixture = mixture

    def load(self) -> None:
        """Draw the points."""
        points = self.mixture.sample((POINTS, 1))
        self.train_set = TensorSamples(points, torch.zeros(POINTS, dtype=torch.int64))


class Covering(Experiment):
    r"""One Gaussian fitted to a mixture of two, by f-GAN and by the divergence itself.

    :math:`\mathrm{KL}(p \| q)` is infinite where the model q has no mass but the data p have: its
    optimum has the mixture's mean and standard deviation. :math:`\mathrm{KL}(q \| p)` asks that q
    have no mass where p has none: its optimum sits on the larger mode. The generator's only
    parameters are mean and standard deviation, so that the divergence can also be descended
    exactly, by quadrature, from where f-GAN begins: between the modes. The Jensen-Shannon
    divergence has an optimum of either kind, of which a descent finds the nearer.

    Args:
        divergences: Which: ``"kl"``, ``"reverse_kl"``, ``"jensen_shannon"``,
            ``"squared_hellinger"``.
        share: Of the larger mode, in (0.5, 1).
        distance: Of either mode from 0; the larger is on the left.
        std: Standard deviation of either mode.
        start_std: Standard deviation of the generator at the start; its mean is 0.
        steps: Iterations of f-GAN.
        n_critic: Discriminator updates in each.
        rate_g: Learning rate of the generator's Adam.
        rate_d: Learning rate of the discriminator's.
        gradient_clip: Bound on the norm of both gradients.
        batch_size: Samples of each kind in an update.
        seeds: One run of f-GAN for each.

    Raises:
        ValueError: If a divergence is unknown, ``share`` out of range or another number not
            positive.

    Reference:
        Nowozin et al., "f-GAN: Training Generative Neural Samplers using Variational Divergence
        Minimization", NeurIPS 2016, https://arxiv.org/abs/1606.00709, section 2.5 and table 4;
        Goodfellow, "NIPS 2016 Tutorial: Generative Adversarial Networks",
        https://arxiv.org/abs/1701.00160, figure 14.
    """

    title = "One Gaussian fitted to two: KL covers, reverse KL seeks"
    choices = ("divergences", "seeds")

    def __init__(
        self,
        divergences: Sequence[str] = ("kl", "reverse_kl"),
        share: float = 0.75,
        distance: float = 1.5,
        std: float = 0.5,
        start_std: float = 1.0,
        steps: int = 1500,
        n_critic: int = 3,
        rate_g: float = 5e-3,
        rate_d: float = 2e-3,
        gradient_clip: float = 10.0,
        batch_size: int = 256,
        seeds: Sequence[int] = (0,),
    ) -> None:
        for divergence in divergences:
            check_choice("divergences", divergence, NAMES)
        if not 0.5 < share < 1:
            raise ValueError(f"Expected 'share' to be in (0.5, 1), got {share}.")
        numbers = {"distance": distance, "std": std, "start_std": start_std, "steps": steps}
        for name, number in {**numbers, "batch_size": batch_size}.items():
            check_bound(name, number)
        self.divergences = divergences
        self.share = share
        self.distance = distance
        self.std = std
        self.start_std = start_std
        self.steps = steps
        self.n_critic = n_critic
        self.rate_g = rate_g
        self.rate_d = rate_d
        self.gradient_clip = gradient_clip
        self.batch_size = batch_size
        self.seeds = seeds

    def trials(self) -> Iterator[Row]:
        """Yield an exact descent for each divergence, and the runs of f-GAN."""
        for divergence in self.divergences:
            yield {"by": "descent", "divergence": divergence}
        for divergence in self.divergences:
            for seed in self.seeds:
                yield {"by": "f-GAN", "divergence": divergence, "seed": seed}

    def measure(self, **trial: Any) -> Row:
        """Fit the Gaussian; return its mean, standard deviation and exact divergence."""
        exact = self._divergence(trial["divergence"])
        if trial["by"] == "descent":
            mean, std = _descend(exact, 0.0, self.start_std)
        else:
            mean, std = self._train(trial["divergence"], trial["seed"])
        place = torch.tensor([mean, math.log(std)], dtype=torch.float64)
        return {"mean": mean, "std": std, "value": exact(place).item()}

    def findings(self, rows: Sequence[Row]) -> list[Finding]:
        """Say which fits cover both modes, and whether f-GAN found them."""
        fits = {name: [r for r in rows if r["divergence"] == name] for name in NAMES}
        runs = [row for row in rows if row["by"] == "f-GAN"]
        errors = [
            (max(abs(row["mean"] - goal["mean"]), abs(row["std"] - goal["std"])) / self.std, row)
            for row in runs
            for goal in rows
            if goal["by"] == "descent" and goal["divergence"] == row["divergence"]
        ]
        worst = max((error for error, _ in errors), default=math.nan)
        whole = self._moments()
        return [
            Finding(
                "KL from the data covers both modes: the fit has the mixture's mean and spread.",
                self._all_near(fits["kl"], *whole),
                f"{_told(fits['kl'])}; mixture {whole[0]:.2f} ± {whole[1]:.2f}",
            ),
            Finding(
                "KL to the data seeks one: the fit is the larger mode.",
                self._all_near(fits["reverse_kl"], -self.distance, self.std),
                f"{_told(fits['reverse_kl'])}; larger mode {-self.distance:.2f} ± {self.std:.2f}",
            ),
            Finding(
                "f-GAN ends where exact descent of the divergence does.",
                worst < TOLERANCE if errors else None,
                f"largest distance {worst:.3f} of a mode's standard deviation over {len(errors)} "
                f"runs; bound {TOLERANCE}",
            ),
        ]

    def draw(self, rows: Sequence[Row]) -> Figure:
        """Draw the densities, a panel for each divergence."""
        shown = [name for name in NAMES if any(row["divergence"] == name for row in rows)]
        figure, panels = new_figure(self.title, max(len(shown), 1), sharey=True)
        reach = self.distance + 4 * self.std
        places = torch.linspace(-reach, reach, 400)
        data = self._mixture().log_prob(places).exp()
        for axes, name in zip(panels, shown, strict=False):
            axes.fill_between(places, data, color="0.85", label="data")
            for row in (row for row in rows if row["divergence"] == name):
                _draw_fit(axes, places, row)
            axes.set(title=NAMES[name], xlabel="x")
        panels[0].set(ylabel="density")
        entries = dict(zip(*reversed(panels[0].get_legend_handles_labels()), strict=True))
        figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=3)
        return figure

    def table(self, rows: Sequence[Row]) -> str:
        """Return the fits and their divergences."""
        lines = [["divergence", "by", "seed", "mean", "std", "divergence (nats)"]]
        for row in rows:
            fit = [f"{row['mean']:.3f}", f"{row['std']:.3f}", f"{row['value']:.4f}"]
            lines.append([NAMES[row["divergence"]], row["by"], row.get("seed", ""), *fit])
        return markdown(lines)

    def _train(self, divergence: Any, seed: int) -> tuple[float, float]:
        seed_everything(seed, verbose=False)
        generator = Gaussian(0.0, self.start_std)
        model = FGAN(
            generator,
            MLPDiscriminator((1,), hidden=(64, 64)),
            divergence=divergence,
            generator_objective="minimax",  # whose gradient is the divergence's own
            n_critic=self.n_critic,
            optimizer_g=lambda params: GANAdam(params, lr=self.rate_g),
            optimizer_d=lambda params: GANAdam(params, lr=self.rate_d),
            gradient_clip_val_g=self.gradient_clip,
            gradient_clip_val_d=self.gradient_clip,
        )
        train(model, TwoModes(self._mixture(), self.batch_size, seed), self.steps)
        return generator.mean.item(), generator.log_std.exp().item()

    def _mixture(self, dtype: torch.dtype = torch.float32) -> MixtureSameFamily:
        shares = torch.tensor([self.share, 1 - self.share], dtype=dtype)
        means = torch.tensor([-self.distance, self.distance], dtype=dtype)
        return MixtureSameFamily(Categorical(shares), Normal(means, self.std))

    def _moments(self) -> tuple[float, float]:
        """Return the mixture's mean and standard deviation."""
        apart = self.share * (1 - self.share) * (2 * self.distance) ** 2
        return self.distance * (1 - 2 * self.share), math.sqrt(self.std**2 + apart)

    def _all_near(self, fits: Sequence[Row], mean: float, std: float) -> bool | None:
        if not any(row["by"] == "f-GAN" for row in fits):
            return None
        bound = TOLERANCE * self.std
        return all(max(abs(r["mean"] - mean), abs(r["std"] - std)) < bound for r in fits)

    def _divergence(self, name: str) -> Callable[[Tensor], Tensor]:
        """Return the exact divergence as a function of the Gaussian's mean and log std."""
        data = self._mixture(torch.float64)

        def value(place: Tensor) -> Tensor:
            mean, std = place[0], place[1].exp()
            bounds = [-self.distance - REACH * self.std, self.distance + REACH * self.std]
            low = min(bounds[0], (mean - REACH * std).item())
            high = max(bounds[1], (mean + REACH * std).item())
            x = torch.linspace(low, high, CELLS, dtype=torch.float64)
            # Not Normal, which checks its arguments at each of thousands of steps.
            q = -0.5 * ((x - mean) / std).square() - place[1] - 0.5 * math.log(2 * math.pi)
            return torch.trapezoid(_integrand(name, data.log_prob(x), q), x)

        return value


def _integrand(name: str, p: Tensor, q: Tensor) -> Tensor:
    """Return what is integrated, of the logarithms of two densities."""
    match name:
        case "kl":
            return p.exp() * (p - q)
        case "reverse_kl":
            return q.exp() * (q - p)
        case "squared_hellinger":
            return ((p / 2).exp() - (q / 2).exp()).square()
    middle = torch.logaddexp(p, q) - math.log(2)
    return (p.exp() * (p - middle) + q.exp() * (q - middle)) / 2


def _descend(exact: Callable[[Tensor], Tensor], mean: float, std: float) -> tuple[float, float]:
    """Go down an exact divergence from a Gaussian, in small steps as f-GAN does."""
    place = torch.tensor([mean, math.log(std)], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([place], lr=RATE)
    for _ in range(STEPS):
        optimizer.zero_grad()
        exact(place).backward()
        optimizer.step()
    return place[0].item(), place[1].exp().item()


def _told(fits: Sequence[Row]) -> str:
    return ", ".join(f"{row['by']} {row['mean']:.2f} ± {row['std']:.2f}" for row in fits)


def _draw_fit(axes: Axes, places: Tensor, row: Row) -> None:
    density = Normal(row["mean"], row["std"]).log_prob(places).exp()
    if row["by"] == "descent":
        axes.plot(places, density, **ORACLE, label="exact descent of the divergence", zorder=3)
    else:
        label = "f-GAN, one line a seed"
        axes.plot(places, density, color="C0", linewidth=4, alpha=0.4, label=label)
