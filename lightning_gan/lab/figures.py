"""What the experiments' figures share, so that they look alike."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lightning_gan.callbacks.pictures import drawn, save_picture

WIDTH = 10.0  # inches: 1000 pixels
# How a closed form is drawn.
ORACLE: dict[str, Any] = {"color": "0.35", "linestyle": "--", "linewidth": 1.2}


def new_figure(
    title: str, columns: int = 1, rows: int = 1, height: float = 4.2, **options: Any
) -> tuple[Figure, list[Axes]]:
    """Make a titled figure of 1000 pixels' width.

    Args:
        title: Headline.
        columns: Number of panels beside each other.
        rows: Number of panels above each other.
        height: Of the whole, in inches of 100 pixels.
        **options: Of matplotlib's ``Figure.subplots``, such as ``sharey``.

    Returns:
        The figure and its panels, row by row.
    """
    figure = Figure(figsize=(WIDTH, height), dpi=100, layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, list(panels.flat)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG file, making its folder if need be."""
    save_picture(drawn(FigureCanvasAgg(figure)), path)
