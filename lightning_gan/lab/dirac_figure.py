"""The figure of the Dirac-GAN: trajectories beside eigenvalues."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lightning_gan.lab.experiment import Row
from lightning_gan.lab.figures import WIDTH

# Trials that are drawn, with their titles.
TELLING = {
    ("GAN", "plain", "simultaneous"): "GAN",
    ("NSGAN", "plain", "simultaneous"): "non-saturating GAN",
    ("WGAN-GP", "penalty 0.35", "simultaneous"): "WGAN-GP",
    ("GAN", "R1 0.3", "simultaneous"): "GAN, R1",
    ("GAN", "instance noise 0.7", "simultaneous"): "GAN, instance noise",
    ("GAN", "consensus 1", "simultaneous"): "GAN, consensus",
    ("WGAN", "optimistic SGD", "simultaneous"): "WGAN, optimistic",
    ("WGAN", "extragradient", "extragradient"): "WGAN, extragradient",
    ("WGAN", "lookahead 5, 0.5", "simultaneous"): "WGAN, lookahead",
}
# Eigenvalues that are named, and where: the methods, and the place of the words.
NAMED = {
    ("GAN", "plain"): ("GAN, NSGAN", (0.05, 0.53)),
    ("GAN", "extragradient"): ("GAN optimistic,\nextragradient,\nlookahead", (0.05, 0.33)),
    ("WGAN", "plain"): ("WGAN, clipped", (0.05, 1.03)),
    ("WGAN", "extragradient"): ("WGAN optimistic,\nextragradient,\nlookahead", (0.05, 0.83)),
    ("GAN", "R1 0.3"): ("GAN, R1 or R2", (-0.6, 0.66)),
    ("GAN", "instance noise 0.7"): ("GAN, instance noise", (-0.53, 0.76)),
    ("GAN", "consensus 1"): ("GAN, consensus", (-0.72, 0.56)),
    ("GAN", "unrolled 5"): ("GAN, unrolled", (-0.72, 0.46)),
    ("R3GAN", "R1 + R2 0.3"): ("R3GAN", (-0.62, 0.36)),
    ("GAN", "R1 1"): ("GAN, stronger R1", (-0.56, 0.07)),
    ("WGAN", "zero-centred penalty 0.15"): ("WGAN, zero-centred penalty", (-0.75, 1.09)),
    ("WGAN", "consensus 1"): ("WGAN, consensus", (-1.05, 0.9)),
    ("WGAN", "unrolled 5"): ("WGAN, unrolled", (-1.09, 0.07)),
}
COLORS = {True: "C0", False: "C3"}  # of what converges and what does not
SIZES = {True: 7, False: 13}  # of their dots: some lie on each other
WORDS = {True: "converges", False: "does not"}
REACH = 2.3  # of theta and psi that is drawn


def draw_dirac(title: str, rows: Sequence[Row]) -> Figure:
    """Draw the trajectories of telling methods and the eigenvalues of all.

    Args:
        title: Headline.
        rows: Trials of the experiment; those that are missing leave their panel empty.
    """
    figure = Figure(figsize=(WIDTH, 5.8), dpi=100, layout="constrained")
    figure.suptitle(title)
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(1.1, 1)).flat
    panels = left.subplots(3, 3, sharex=True, sharey=True)
    left.supxlabel(r"generated point $\theta$; the data is at 0", fontsize="medium")
    left.supylabel(r"slope $\psi$ of the discriminator", fontsize="medium")
    found = {(row["losses"], row["method"], row["updates"]): row for row in rows}
    for axes, (place, name) in zip(panels.flat, TELLING.items(), strict=True):
        axes.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), aspect="equal")
        axes.set_title(name, fontsize="small")
        axes.axhline(0, color="0.85", linewidth=0.8, zorder=0)
        axes.axvline(0, color="0.85", linewidth=0.8, zorder=0)
        if place in found:
            _draw_trajectory(axes, found[place])
    _draw_eigenvalues(right.subplots(), rows)
    figure.legend(handles=_keys(), loc="outside lower center", ncols=4, fontsize="small")
    return figure


def _draw_trajectory(axes: Axes, row: Row) -> None:
    theta, psi = zip(*row["trajectory"], strict=True)
    axes.plot(theta, psi, color=COLORS[row["converges"]], linewidth=0.9)
    axes.plot(theta[0], psi[0], "ko", markersize=4)


def _draw_eigenvalues(axes: Axes, rows: Sequence[Row]) -> None:
    axes.set(
        xlabel="real part: growth per unit of rate x iterations",
        ylabel="imaginary part: rotation, radians per unit",
        xlim=(-1.13, 0.52),
        ylim=(-0.05, 1.2),
    )
    axes.set_title("Eigenvalues at the equilibrium, without mirror images", fontsize="medium")
    axes.axvspan(0, 1, color="0.94", zorder=0)
    axes.axvline(0, color="0.3", linewidth=1.2, zorder=1)
    named = set()
    for row in rows:
        if row["theory"] is None:
            continue
        place, converges = (row["losses"], row["method"]), row["converges"]
        color, size = COLORS[converges], SIZES[converges]
        top = _top(row["eigenvalues"])
        axes.plot(*top, "o", color=color, markersize=size, zorder=3 if converges else 2)
        axes.plot(*_top(row["theory"]), "wx", markersize=5, zorder=4)
        if place in NAMED and place not in named:
            words, at = NAMED[place]
            _name(axes, words, top, at, color)
            named.add(place)


def _top(pair: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the one of a conjugate pair that lies above."""
    real, imaginary = max(pair, key=lambda value: value[1])
    return real, imaginary


def _name(
    axes: Axes, words: str, at: tuple[float, float], where: tuple[float, float], color: str
) -> None:
    line = None if where[0] > 0 else {"arrowstyle": "-", "color": "0.6", "linewidth": 0.7}
    axes.annotate(words, at, where, color=color, fontsize="small", arrowprops=line)


def _keys() -> list[Line2D]:
    """Return what the colours and marks of all panels mean."""
    return [
        *(
            Line2D([], [], color=COLORS[it], marker="o", markersize=SIZES[it] - 1, label=WORDS[it])
            for it in (True, False)
        ),
        Line2D([], [], color="0.4", marker="x", linestyle="none", label="eigenvalue by theory"),
        Line2D([], [], color="k", marker="o", linestyle="none", markersize=4, label="start"),
    ]
