"""How the figures of a run went."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from lightning_gan.callbacks.pictures import drawn
from lightning_gan.metrics import VERDICTS

SCORES = ("precision", "recall", "density", "coverage")
COLORS = dict(zip(VERDICTS, ("C2", "C3", "C4", "C1", "C5", "C6", "C9"), strict=True))


class Evaluated(NamedTuple):
    """What one evaluation found.

    Attributes:
        step: Number of generator iterations.
        figures: Values by name.
        verdict: Its name, or None.
        severity: That of the verdict, from 0 to 1, or None.
    """

    step: int
    figures: dict[str, float]
    verdict: str | None
    severity: float | None = None

    @property
    def distance(self) -> tuple[str, float] | None:
        """Name and value of the Fréchet distance, where it was measured."""
        named = [item for item in self.figures.items() if item[0].startswith(("fid", "fd/"))]
        return named[0] if named else None


def draw_curves(history: Sequence[Evaluated]) -> Tensor:
    """Draw the Fréchet distance and the scores of the samples' manifold over a run.

    Args:
        history: The evaluations in their order, at least one.

    Returns:
        (3, 700, 800) uint8. The colours behind the curves are the verdicts.
    """
    figure = Figure(figsize=(8, 7), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    above, below = figure.subplots(2, sharex=True)
    steps = [one.step for one in history]
    distances = [(one.step, one.distance) for one in history if one.distance is not None]
    if distances:
        values = [value for _, (_, value) in distances]
        above.plot([step for step, _ in distances], values, "k.-")
        above.set(ylabel=distances[-1][1][0])
        if min(values) > 0:
            above.set_yscale("log")
    for name in SCORES:
        if all(name in one.figures for one in history):
            below.plot(steps, [one.figures[name] for one in history], ".-", label=name)
    below.set(xlabel="generator iterations", ylabel="share; density: mean count / k", ylim=(0, 1.5))
    _shade(above, history, named=True)
    _shade(below, history, named=False)
    if above.get_legend_handles_labels()[1] + below.get_legend_handles_labels()[1]:
        figure.legend(loc="outside upper center", ncols=4, fontsize="small")
    return drawn(canvas)


def _shade(axes: Axes, history: Sequence[Evaluated], named: bool) -> None:
    """Colour the time around each evaluation by its verdict."""
    steps = [one.step for one in history]
    edges = [steps[0], *((a + b) / 2 for a, b in pairwise(steps)), steps[-1]]
    unnamed = set(COLORS) if named else set()
    for one, (start, end) in zip(history, pairwise(edges), strict=True):
        if one.verdict is not None:
            label = one.verdict if one.verdict in unnamed else None
            axes.axvspan(start, end, color=COLORS[one.verdict], alpha=0.2, lw=0, label=label)
            unnamed.discard(one.verdict)
