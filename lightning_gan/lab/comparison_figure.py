"""The picture of a comparison: every seed of every method, the papers' rows, samples, curves."""

import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from lightning_gan.data import GANDataModule
from lightning_gan.lab.figures import ORACLE, WIDTH
from lightning_gan.lab.judges import Count, Judge
from lightning_gan.lab.published import Bar, Published
from lightning_gan.lab.standings import Standing

_LINE = 0.23  # inches of a method
_BOTTOM = 3.1  # inches of samples and curves
_TITLE = 34  # characters beside each other over samples
_REAL: dict[str, Any] = ORACLE
OURS, BASELINE, OTHER, PAPER = "C0", "C3", "C2", "0.35"


def draw_comparison(
    title: str,
    standings: Sequence[Standing],
    judge: Judge,
    data: GANDataModule,
    baseline: str | None = None,
    published: Sequence[Published] = (),
    bars: Sequence[Bar] = (),
) -> Figure:
    """Draw a comparison.

    Args:
        title: Headline.
        standings: Methods.
        judge: What counted.
        data: What was learnt; it need not be loaded.
        baseline: Method that stands out.
        published: Rows of papers.
        bars: Bounds to reach.
    """
    ordered = sorted(standings, key=lambda one: one.rank(judge.counts))
    top = _LINE * (len(ordered) + len(published)) + 1.5
    figure = Figure(figsize=(WIDTH, top + _BOTTOM), dpi=100, layout="constrained")
    figure.suptitle(title)
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=[top, _BOTTOM])[:, 0]
    _draw_figures(upper, ordered, judge.counts, baseline, published, bars)
    told = _telling(ordered, baseline)
    curves = any(len(row["curve"]) > 1 for one in told for row in one.rows)
    panels = list(lower.subplots(1, len(told) + curves, squeeze=False).flat)
    for axes, one in zip(panels, told, strict=False):
        _draw_samples(axes, one, judge, data, _color(one, ordered, baseline))
    if curves:
        _draw_curves(panels[-1], told, ordered, judge.counts, baseline)
    return figure


def _draw_figures(
    figure: SubFigure,
    ordered: Sequence[Standing],
    counts: dict[str, Count],
    baseline: str | None,
    published: Sequence[Published],
    bars: Sequence[Bar],
) -> None:
    """Draw a panel for each figure, in which a method is a line and a seed a dot."""
    panels = list(figure.subplots(1, len(counts), sharey=True, squeeze=False).flat)
    several = len({one.steps for one in ordered}) > 1
    labels = [one.method + (f", {one.steps:,}" if several else "") for one in ordered]
    labels += [f"{row.method} (paper)" for row in published]
    for axes, (name, count) in zip(panels, counts.items(), strict=True):
        for place, one in enumerate(ordered):
            values, color = one.spread(name).values, _color(one, ordered, baseline)
            axes.plot(values, [place] * len(values), "o", color=color, ms=4, alpha=0.6, mew=0)
            if len(values) > 1:
                axes.plot(sum(values) / len(values), place, "|", color=color, ms=11, mew=2)
        for place, row in enumerate(published, start=len(ordered)):
            if name in row.figures:
                value, error = row.figures[name]
                axes.errorbar(value, place, xerr=error, fmt="D", color=PAPER, ms=4, capsize=2)
        _draw_lines(axes, name, count, ordered, bars)
        axes.set(xlabel=count.label, axisbelow=True)
        axes.grid(axis="y", color="0.92")
        if published:
            axes.axhline(len(ordered) - 0.5, color="0.7", linewidth=0.8)
    panels[0].set_yticks(range(len(labels)), labels, fontsize=8)
    panels[0].set_ylim(len(labels) - 0.4, -0.6)


def _draw_lines(
    axes: Axes, name: str, count: Count, ordered: Sequence[Standing], bars: Sequence[Bar]
) -> None:
    """Draw what real samples reach, and what is to be reached."""
    real = ordered[0].rows[0]["real"][name] if ordered else None
    lines = [("real", real, 2, _REAL)] if real is not None else []
    lines += [("bar", bar.value, -2, {"color": "C1"}) for bar in bars if bar.figure == name]
    for label, value, shift, style in lines:
        axes.axvline(value, **style)
        place: dict[str, Any] = {"xytext": (shift, 1), "ha": "left" if shift > 0 else "right"}
        axes.annotate(
            label,
            (value, 1),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            fontsize=7,
            color=style["color"],
            annotation_clip=False,
            **place,
        ).set_in_layout(False)
    if count.higher_is_better:
        axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
    else:
        axes.set_xscale("log")


def _telling(ordered: Sequence[Standing], baseline: str | None) -> list[Standing]:
    """Return the methods whose samples are shown: the baseline, the best and the worst."""
    plain = [one for one in ordered if one.method == baseline]
    return list({id(one): one for one in [*plain, *ordered[:1], *ordered[-1:]]}.values())


def _color(one: Standing, ordered: Sequence[Standing], baseline: str | None) -> str:
    if one.method == baseline:
        return BASELINE
    return OTHER if one is ordered[-1] and len(ordered) > 2 else OURS


def _draw_samples(axes: Axes, one: Standing, judge: Judge, data: GANDataModule, color: str) -> None:
    row = next((row for row in one.rows if "samples" in row), None)
    if row is None:  # they were left out of the file
        axes.set_axis_off()
        return
    which = "last" if one.judged == "last" else "average"
    judge.show(axes, row["samples"][which], data)
    name = textwrap.fill(one.method, _TITLE)
    axes.set_title(f"{name}\n{which} generator, seed {row['seed']}", fontsize=8, color=color)


def _draw_curves(
    axes: Axes,
    told: Sequence[Standing],
    ordered: Sequence[Standing],
    counts: dict[str, Count],
    baseline: str | None,
) -> None:
    """Draw the reverse divergence over the training, a line for each seed."""
    for one in told:
        which = "last" if one.judged == "last" else "average"
        color, label = _color(one, ordered, baseline), one.method
        for row in one.rows:
            points = [(p["step"], p[which]["reverse_kl"]) for p in row["curve"]]
            known = [point for point in points if point[1] is not None]
            axes.plot(*zip(*known, strict=True), color=color, linewidth=1.2, label=label)
            label = "_"
    axes.axhline(ordered[0].rows[0]["real"]["reverse_kl"], **_REAL)
    axes.set(yscale="log", xlabel="iterations", ylabel=counts["reverse_kl"].label)
    axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, 1.2), ncols=2)
