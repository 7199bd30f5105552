"""Published rows to compare with, and bars to reach."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lightning_gan.lab.judges import Count

_BAR = re.compile(r"(>=|<=)\s*(\d+(?:\.\d+)?)")


class Published(NamedTuple):
    """A row of a paper's table.

    Attributes:
        method: What the paper calls it.
        figures: Value of each figure, and its error or None.
        error: What the errors are, such as ``standard error``; empty where there are none.
        runs: Number of runs; None where the paper does not say.
        steps: Iterations; None likewise.
        batch_size: Samples an iteration; None likewise.
        source: Paper and table.
    """

    method: str
    figures: dict[str, tuple[float, float | None]]
    error: str = ""
    runs: int | None = None
    steps: int | None = None
    batch_size: int | None = None
    source: str = ""

    @property
    def images(self) -> int | None:
        """Samples seen in training; None where the paper does not say."""
        return (
            None if self.steps is None or self.batch_size is None else self.steps * self.batch_size
        )

    def budget(self) -> str:
        """Return the length of the training in words."""
        if self.steps is None:
            return "-"
        samples = "" if self.images is None else f", {self.images:,} samples"
        return f"{self.steps:,} steps{samples}"

    def number_of_runs(self) -> str:
        """Return how many runs there were, and what the errors over them are, in words."""
        return str(self.runs or "-") + (f" (± {self.error})" if self.error else "")

    def text(self, name: str) -> str:
        """Return a figure with its error; a dash where there is none."""
        value, error = self.figures.get(name, (None, None))
        if value is None:
            return "-"
        return f"{value:g}" + ("" if error is None else f" ± {error:g}")


class Bar(NamedTuple):
    """What a figure must reach.

    Attributes:
        figure: Its name.
        at_least: Whether it must not be below the value; else it must not be above it.
        value: The value.
    """

    figure: str
    at_least: bool
    value: float

    def reached(self, value: float | None) -> bool:
        """Tell whether a value reaches the bar; an undefined one does not."""
        if value is None:
            return False
        return value >= self.value if self.at_least else value <= self.value

    def text(self, label: str) -> str:
        """Return the bar in words."""
        return f"{label} {'>=' if self.at_least else '<='} {self.value:g}"


def published_rows(
    rows: Sequence[Mapping[str, Any]], counts: Mapping[str, Count]
) -> list[Published]:
    """Read rows as YAML holds them.

    Args:
        rows: Attributes of :class:`Published`, each figure as a number or as [number, error].
        counts: Figures that may occur.

    Raises:
        ValueError: If a row has another form.
    """
    read = []
    for row in rows:
        try:
            figures = {
                name: (float(value[0]), float(value[1]))
                if isinstance(value, list)
                else (value, None)
                for name, value in row["figures"].items()
            }
            read.append(Published(**{**row, "figures": figures}))
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            raise ValueError(
                f"Expected 'published' to hold {list(Published._fields)}, got {dict(row)}."
            ) from error
        _check_figures("published", figures, counts)
    return read


def read_bars(bars: Mapping[str, str], counts: Mapping[str, Count]) -> list[Bar]:
    """Read bars as YAML holds them, such as ``{modes: ">= 24.8"}``.

    Raises:
        ValueError: If one has another form.
    """
    _check_figures("bars", bars, counts)
    read = []
    for name, text in bars.items():
        match = _BAR.fullmatch(str(text).strip())
        if match is None:
            raise ValueError(f"Expected 'bars' such as '>= 24.8' or '<= 0.04', got {text!r}.")
        read.append(Bar(name, match[1] == ">=", float(match[2])))
    return read


def _check_figures(argument: str, names: Mapping[str, Any], counts: Mapping[str, Count]) -> None:
    if unknown := [name for name in names if name not in counts]:
        raise ValueError(
            f"Expected the figures of '{argument}' to be among {list(counts)}, got {unknown[0]!r}."
        )
