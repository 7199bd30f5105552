"""Samples that fail, on purpose and by bad training, and what the metrics say of them."""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import combinations
from typing import Any

import torch
from lightning import seed_everything
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from torch import Tensor

from lightning_gan.data import GaussianMixture
from lightning_gan.functional import mixture_coverage
from lightning_gan.gans import GAN
from lightning_gan.lab.experiment import Experiment, Finding, Row
from lightning_gan.lab.failures_cases import CASES, MOMENTS, TRAININGS, WEAK, BadTraining, Ring
from lightning_gan.lab.figures import WIDTH, new_figure
from lightning_gan.lab.tables import markdown
from lightning_gan.lab.training import train
from lightning_gan.metrics import GenerationMetrics
from lightning_gan.metrics.reference import Reference
from lightning_gan.networks import MLPDiscriminator, MLPGenerator
from lightning_gan.training import GANAdam
from lightning_gan.training.arguments import check_bound

FIGURES = ("precision", "recall", "density", "coverage")
METRICS = ("fid", *FIGURES, "memorization")
SHOWN = 400  # points that a row keeps
REACH = 1.9  # of the pictures, in radii of the ring
COLUMNS = 7
HIGHEST = 1.2  # bar
ALIKE = 0.05  # difference up to which a figure does not tell two failures apart
BATCH_SIZE = 256
GOOD = 0.5  # share of samples of high quality of a run that did not fail
COLORS = {
    "healthy": "C2",
    "mode dropping": "C1",
    "manifold collapse": "C4",
    "within-mode collapse": "C5",
    "garbage": "C3",
    "imbalance": "C6",
    "memorisation": "C0",
}


class Failures(Experiment):
    """Samples that fail in known ways, and those of GANs that fail by themselves.

    The data is the ring of eight Gaussians. Failures of which the name is known are made on
    purpose; beside them stand plain GANs, badly trained, whose modes are counted. All are measured
    by :class:`~lightning_gan.metrics.GenerationMetrics`, which knows nothing of modes.

    Two failures have the mean and the covariance of the data itself: every other mode alone, and
    one cloud of normal noise. Their Fréchet distance is 0.

    Args:
        seeds: Runs of each case.
        std: Standard deviation of a mode, on a ring of radius 1.
        num_samples: Real and generated samples; a quarter as many are held out.

    Raises:
        ValueError: If a number is not positive.

    Reference:
        Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash
        Equilibrium", NeurIPS 2017, https://arxiv.org/abs/1706.08500 (Fréchet distance);
        Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models",
        NeurIPS 2019, https://arxiv.org/abs/1904.06991; Naeem et al., "Reliable Fidelity and
        Diversity Metrics for Generative Models", ICML 2020, https://arxiv.org/abs/2002.09797.
    """

    title = (
        "What failed? The Fréchet distance (FD) does not say; precision, recall, density, "
        "coverage and memorisation do"
    )
    choices = ("seeds",)

    def __init__(
        self, seeds: Sequence[int] = (0,), std: float = 0.05, num_samples: int = 2000
    ) -> None:
        check_bound("std", std)
        check_bound("num_samples", num_samples)
        self.seeds = seeds
        self.std = std
        self.num_samples = num_samples

    def trials(self) -> Iterator[Row]:
        """Yield each failure and each GAN with each seed."""
        for case in (*CASES, *TRAININGS):
            for seed in self.seeds:
                yield {"case": case, "seed": seed}

    def measure(self, **trial: Any) -> Row:
        """Make samples and compare them with real ones."""
        case, seed = trial["case"], trial["seed"]
        seed_everything(seed, verbose=False)
        data = GaussianMixture("ring", self.std, batch_size=BATCH_SIZE)
        data.setup("fit")
        assert data.test_set is not None
        order = torch.randperm(len(data.train_set))[: self.num_samples]
        real, held_out = data.train_set.samples[order], data.test_set.samples
        if case in CASES:
            make, _ = CASES[case]
            random = torch.Generator().manual_seed(seed)
            fake = make(Ring(data.centers, data.std, real, random))
        else:
            fake = self._samples_of_gan(TRAININGS[case], data)
        reference = Reference.measure(real, held_out[: self.num_samples // 4])
        metrics = GenerationMetrics("points", METRICS, reference)
        metrics.update(fake, real=False)
        figures = {name: value.item() for name, value in metrics.compute().items()}
        assert metrics.verdict is not None
        counted = mixture_coverage(fake, data.centers, data.std)
        return {
            "distance": figures.pop("fd/points"),
            **figures,
            "verdict": metrics.verdict.name,
            "also": metrics.verdict.also,
            "sentence": metrics.verdict.sentence,
            "modes": counted.modes.item(),
            "high_quality": counted.high_quality.item(),
            "points": [[round(x, 3) for x in point] for point in fake[:SHOWN].tolist()],
        }

    def findings(self, rows: Sequence[Row]) -> list[Finding]:
        """Count right names, and what single figures would have confused."""
        made = [row for row in rows if row["case"] in CASES]
        trained = [row for row in rows if row["case"] in TRAININGS]
        return [
            _of_names(
                "The verdict names the failures made on purpose, and calls the data healthy.",
                [row for row in made if row["case"] not in WEAK],
            ),
            _of_names(
                "It notices a weak failure in the plane, modes 1.5 times too wide.",
                [row for row in made if row["case"] in WEAK],
            ),
            _of_moments(made),
            *(_of_figure(figure, made) for figure in FIGURES),
            _of_gans(trained),
        ]

    def draw(self, rows: Sequence[Row]) -> Figure:
        """Draw the samples of each case's first seed over their figures."""
        first = {row["case"]: row for row in reversed(rows)}
        cases = [case for case in (*CASES, *TRAININGS) if case in first]
        bands = max(1, math.ceil(len(cases) / COLUMNS))
        heights = {"gridspec_kw": {"height_ratios": [1.0, 0.75] * bands}}
        figure, panels = new_figure(self.title, COLUMNS, 2 * bands, 0.3 * WIDTH * bands, **heights)
        for place in range(COLUMNS * bands):
            band, column = divmod(place, COLUMNS)
            above = panels[2 * band * COLUMNS + column]
            below = panels[(2 * band + 1) * COLUMNS + column]
            if place < len(cases):
                self._draw_points(above, first[cases[place]])
                _draw_figures(below, first[cases[place]], column == 0)
            else:
                above.axis("off")
                below.axis("off")
        return figure

    def table(self, rows: Sequence[Row]) -> str:
        """List the figures of each case, as means over the seeds, and all names it got."""
        lines = [["samples", "FD", "P", "R", "D", "C", "nearer", "verdicts"]]
        for case, found in _by_case(rows).items():
            means = [_mean(found, name) for name in ("distance", *FIGURES, "memorization")]
            names = [row["verdict"] for row in found]
            said = ", ".join(f"{name} {names.count(name)}" for name in dict.fromkeys(names))
            lines.append([case, f"{means[0]:.4f}", *(f"{mean:.2f}" for mean in means[1:]), said])
        return markdown(lines)

    def _samples_of_gan(self, recipe: BadTraining, data: GaussianMixture) -> Tensor:
        model = GAN(
            MLPGenerator(),
            MLPDiscriminator(),
            optimizer_g=partial(GANAdam, lr=recipe.rate_g, beta1=recipe.beta1),
            optimizer_d=partial(GANAdam, lr=1e-3, beta1=recipe.beta1),
        )
        train(model, data, recipe.steps)
        return model.sample(self.num_samples)

    def _draw_points(self, axes: Axes, row: Row) -> None:
        for angle in torch.arange(8) * (math.pi / 4):
            center = (angle.cos().item(), angle.sin().item())
            axes.add_patch(Circle(center, 3 * self.std, color="0.8", linewidth=0))
        x, y = zip(*row["points"], strict=True)
        axes.scatter(x, y, s=2, color="C0", linewidths=0)
        limits = (-REACH, REACH)
        axes.set(xlim=limits, ylim=limits, aspect="equal", xticks=[], yticks=[])
        color = COLORS.get(row["verdict"], "black")
        axes.set_title(row["verdict"], color=color, fontsize=8, fontweight="bold")
        axes.set_xlabel(row["case"].replace(", ", ",\n"), fontsize=8)


def _draw_figures(axes: Axes, row: Row, labelled: bool) -> None:
    names = (*FIGURES, "memorization")
    heights = [min(row[name], HIGHEST) for name in names]
    axes.bar(range(5), heights, color=COLORS.get(row["verdict"], "black"))
    axes.set(xticks=range(5), ylim=(0, HIGHEST), yticks=[0, 0.5, 1])
    axes.set_xticklabels([name[0].upper() for name in names], fontsize=8)
    axes.tick_params(labelleft=labelled, labelsize=8)
    axes.set_title(f"FD {row['distance']:.2g}", fontsize=8)


def _of_names(claim: str, rows: Sequence[Row]) -> Finding:
    wrong = [row for row in rows if row["verdict"] != CASES[row["case"]][1]]
    evidence = f"{len(rows) - len(wrong)} of {len(rows)}"
    evidence += "".join(
        f"; {row['case']} (seed {row['seed']}): {row['verdict']}" for row in wrong[:5]
    )
    return Finding(claim, not wrong if rows else None, evidence)


def _of_moments(rows: Sequence[Row]) -> Finding:
    found = {case: of for case, of in _by_case(rows).items() if case in MOMENTS}
    spread = [row["distance"] for of in found.values() for row in of]
    said = [
        f"{case} {_mean(of, 'distance'):.4f} ({of[0]['verdict']})" for case, of in found.items()
    ]
    names = [{row["verdict"] for row in of} for of in found.values()]
    apart = all(not one & other for one, other in combinations(names, 2))
    return Finding(
        "A Fréchet distance near 0 belongs to the data, to half of its modes and to noise alike.",
        max(spread) < ALIKE and apart if len(found) == len(MOMENTS) else None,
        "; ".join(said) or "no such trials",
    )


def _of_figure(figure: str, rows: Sequence[Row]) -> Finding:
    """Say which two cases of different names a figure brings closest together."""
    means = {case: _mean(of, figure) for case, of in _by_case(rows).items()}
    pairs = [
        (abs(means[one] - means[other]), one, other)
        for one, other in combinations(means, 2)
        if CASES[one][1] != CASES[other][1]
    ]
    confused = [pair for pair in pairs if pair[0] < ALIKE]
    claim = f"{figure.capitalize()} alone confuses failures."
    if not pairs:
        return Finding(claim, None, "no pairs")
    _, one, other = min(pairs)
    evidence = (
        f"{len(confused)} of {len(pairs)} pairs of different names lie within {ALIKE:g}, such as "
        f"{one} ({means[one]:.2f}) and {other} ({means[other]:.2f})"
    )
    return Finding(claim, bool(confused), evidence)


def _of_gans(rows: Sequence[Row]) -> Finding:
    def failed(row: Row) -> bool:
        return bool(row["modes"] < 8 or row["high_quality"] < GOOD)

    right = [row for row in rows if (row["verdict"] != "healthy") == failed(row)]
    said = []
    for case, of in _by_case(rows).items():
        runs = ", ".join(f"{row['modes']:.0f} modes {row['verdict']}" for row in of)
        said.append(f"{case}: {runs}")
    return Finding(
        "Of trained GANs it calls those unhealthy that miss modes or make few samples near one.",
        len(right) == len(rows) if rows else None,
        "; ".join([f"{len(right)} of {len(rows)}", *said]),
    )


def _by_case(rows: Sequence[Row]) -> dict[str, list[Row]]:
    cases = dict.fromkeys(row["case"] for row in rows)
    return {case: [row for row in rows if row["case"] == case] for case in cases}


def _mean(rows: Sequence[Row], name: str) -> float:
    return math.fsum(row[name] for row in rows) / len(rows)
