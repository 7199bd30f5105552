"""The figure of the critics' slopes: norms of kernels, steepest slopes, slopes during training."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_gan.lab.experiment import Row
from lightning_gan.lab.figures import ORACLE, new_figure

NAMES = {"none": "nothing", "spectral": "spectral norm", "exact": "operator norm"}
COLORS = {"none": "C3", "spectral": "C1", "exact": "C0"}
# Critics whose steepest slope is drawn, with the closed form of their bound.
BARS = {
    ("wasserstein", "plain"): ("chain of\nlayers", 1.0),
    ("wasserstein", "mean"): ("mean of\nbranches", 1.0),
    ("none", "mean"): ("mean of\nidentities", 1.0),
    ("wasserstein", "sum"): ("sum of\nbranches", 2.0),
    ("none", "sum"): ("sum of\nidentities", 2.0),
}


def draw_slopes(title: str, rows: Sequence[Row], largest_norm: float) -> Figure:
    """Draw norms of the kernels, the steepest slopes, and slopes during training.

    Args:
        title: Headline.
        rows: Of :class:`~lightning_gan.lab.lipschitz.Lipschitz`.
        largest_norm: Of a convolution whose kernel has a matrix of norm 1.
    """
    widths = {"width_ratios": [0.8, 1.5, 1.2]}
    figure, (left, middle, right) = new_figure(title, 3, height=4.4, gridspec_kw=widths)
    plain = [row for row in rows if row["critic"] == "plain"]
    _draw_norms(left, [row for row in plain if row["normalization"] != "none"], largest_norm)
    _draw_bars(middle, [row for row in rows if row["normalization"] == "exact"])
    _draw_training(right, [row for row in plain if row["loss"] == "wasserstein"])
    return figure


def _draw_norms(axes: Axes, rows: Sequence[Row], largest: float) -> None:
    axes.set(
        title="A convolution's norm",
        xlabel="its weight is divided by",
        ylabel="norm as a linear map, after training",
        xlim=(-0.5, 1.5),
        ylim=(0, 1.15 * largest),
        xticks=[0, 1],
    )
    axes.set_xticklabels(["spectral\nnorm", "operator\nnorm"])
    for row in rows:
        place = ["spectral", "exact"].index(row["normalization"])
        count = len(row["norms"])
        places = [place + 0.2 * (i - (count - 1) / 2) for i in range(count)]
        axes.plot(places, row["norms"], "o", color=COLORS[row["normalization"]], alpha=0.5)
    for limit, said in ((1.0, "1"), (largest, f"the most, {largest:g}")):
        axes.axhline(limit, zorder=0, **ORACLE)
        axes.text(1.45, limit + 0.04, said, ha="right", color="0.35", fontsize="small")


def _draw_bars(axes: Axes, rows: Sequence[Row]) -> None:
    axes.set(
        title="Steepest slope, with operator norms",
        ylabel="slope of the critic",
        ylim=(0, 2.3),
    )
    names: list[str] = []
    for (loss, critic), (name, bound) in BARS.items():
        found = [row for row in rows if (row["loss"], row["critic"]) == (loss, critic)]
        if not found:
            continue
        place, slope = len(names), max(row["slope"] for row in found)
        axes.bar(place, slope, color="C0" if bound == 1.0 else "C3", width=0.65)
        axes.plot([place - 0.42, place + 0.42], [bound, bound], color="black", linewidth=2)
        axes.text(place, slope - 0.1, f"{slope:.2f}", ha="center", color="white")
        names.append(name)
    axes.set_xticks(range(len(names)), names, fontsize="small")
    axes.text(-0.42, 1.04, "bound: black", fontsize="small")
    for limit in (1.0, 2.0):
        axes.axhline(limit, zorder=0, **ORACLE)


def _draw_training(axes: Axes, rows: Sequence[Row]) -> None:
    axes.set(
        title="Slope in training",
        xlabel="iterations, of 5 updates each",
        ylabel="largest slope at 64 digits",
        yscale="log",
    )
    named = set()
    for row in rows:
        name = row["normalization"]
        label = None if name in named else NAMES[name]
        axes.plot(row["steps"], row["slopes"], color=COLORS[name], label=label)
        named.add(name)
    axes.axhline(1.0, **ORACLE)
    if named:
        axes.legend(
            title="weights divided by",
            loc="center right",
            bbox_to_anchor=(1.0, 0.66),
            fontsize="small",
            title_fontsize="small",
        )
