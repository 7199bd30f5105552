"""What several seeds of a method say together, and beside another method."""

import shlex
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Literal, NamedTuple

from lightning_gan.lab.experiment import Row
from lightning_gan.lab.judges import Count
from lightning_gan.lab.published import Bar
from lightning_gan.training.arguments import check_choice

Judged = Literal["average", "last", "best"]
JUDGED: tuple[Judged, ...] = ("average", "last", "best")
OTHERS = "others"  # methods that are not named
Outcome = Literal["better", "worse", "no difference", "cannot tell"]


class Spread(NamedTuple):
    """Mean and standard deviation of a figure over seeds.

    Attributes:
        values: Those that are defined.
        of: Number of seeds.
    """

    values: tuple[float, ...]
    of: int

    @property
    def complete(self) -> bool:
        """Whether the figure is defined for all seeds."""
        return len(self.values) == self.of

    @property
    def mean(self) -> float | None:
        """Mean of the defined values; None where none is."""
        return fmean(self.values) if self.values else None

    @property
    def std(self) -> float | None:
        """Standard deviation of the defined values; None of fewer than two."""
        return stdev(self.values) if len(self.values) > 1 else None

    def text(self, digits: int) -> str:
        """Return both in words, with the number of defined values where it is not all.

        Example:
            >>> Spread((1.0, 2.0), 3).text(1)
            '1.5 ± 0.7 (2 of 3)'
        """
        if self.mean is None:
            return "-"
        text = f"{self.mean:.{digits}f}" + ("" if self.std is None else f" ± {self.std:.{digits}f}")
        return text if self.complete else f"{text} ({len(self.values)} of {self.of})"


class Standing(NamedTuple):
    """The rows of one method with one number of steps.

    Attributes:
        method: Its name.
        steps: Iterations of the generator.
        judged: Which of the generators the headline figures are of.
        rows: One for each seed.
    """

    method: str
    steps: int
    judged: Judged
    rows: tuple[Row, ...]

    @property
    def seeds(self) -> list[int]:
        """The seeds, ascending."""
        return sorted(row["seed"] for row in self.rows)

    @property
    def images(self) -> int:
        """Real images that the discriminator was shown; fewer by a run that diverged."""
        return max(int(row["images"]) for row in self.rows)

    def budget(self) -> str:
        """Return the length of the training in words."""
        return f"{self.steps:,} steps, {self.images:,} samples"

    def spread(self, figure: str, which: Judged | None = None) -> Spread:
        """Return a figure of a generator; of the judged one by default."""
        found = [row[which or self.judged][figure] for row in self.rows]
        return Spread(tuple(value for value in found if value is not None), len(found))

    def rank(self, counts: Mapping[str, Count]) -> tuple[float, ...]:
        """Return what sorts standings, the best first; see :func:`rank`."""
        return rank({name: self.spread(name).mean for name in counts}, counts)

    def missed(self, bars: Sequence[Bar]) -> list[Bar]:
        """Return the bars that the means do not reach; a seed without the figure reaches none."""
        spreads = [self.spread(bar.figure) for bar in bars]
        return [
            bar
            for bar, spread in zip(bars, spreads, strict=True)
            if not (spread.complete and bar.reached(spread.mean))
        ]

    def outcome(self, base: "Standing", figure: str, count: Count) -> Outcome:
        """Tell whether a figure differs from that of another method by more than the seeds do.

        The difference of the means counts if it exceeds the larger of the two standard deviations.
        A method of which a seed has no such figure at all, as without any good sample, is worse
        than one of which all have it, whatever the means of the others.
        """
        own, other = self.spread(figure), base.spread(figure)
        if min(own.of, other.of) > 1 and own.complete != other.complete:
            return "better" if own.complete else "worse"
        if not own.complete or own.mean is None or own.std is None:
            return "cannot tell"
        if not other.complete or other.mean is None or other.std is None:
            return "cannot tell"
        gain = count.gain(own.mean, other.mean)
        if abs(gain) <= max(own.std, other.std):
            return "no difference"
        return "better" if gain > 0 else "worse"

    def alarms(self) -> str:
        """Say which alarms were raised, in how many of the runs, and when at first."""
        told = []
        for name in dict.fromkeys(alarm["name"] for row in self.rows for alarm in row["alarms"]):
            steps = [[a["step"] for a in row["alarms"] if a["name"] == name] for row in self.rows]
            first = [min(found) for found in steps if found]
            told.append(f"{name} ({len(first)} of {len(steps)}, from {min(first):,})")
        return ", ".join(told)

    def command(self, called: str) -> str:
        """Return the command line that makes the same rows.

        Args:
            called: That which asks for the experiment.
        """
        seeds = "[" + ",".join(map(str, self.seeds)) + "]"
        words = ["--only", self.method, "--seeds", seeds, "--steps", str(self.steps)]
        return f"{called} {shlex.join(words)}"


def rank(figures: Mapping[str, float | None], counts: Mapping[str, Count]) -> tuple[float, ...]:
    """Return what sorts rows, the best first: the figures one after the other.

    Args:
        figures: Those that are known; the others come last.
        counts: All of them, in their order.
    """
    known = {name: figures.get(name) for name in counts}
    return tuple(
        float("inf") if value is None else -value if counts[name].higher_is_better else value
        for name, value in known.items()
    )


def judged_of(judged: Judged | Mapping[str, Judged], method: str) -> Judged:
    """Return which generator a method's headline figures are of.

    Args:
        judged: The same for all, or by the methods' names, where ``others`` has the rest; the
            average, if it is not said.
        method: Its name.

    Raises:
        ValueError: If there is no such generator.

    Example:
        >>> judged_of({"plain": "last"}, "plain"), judged_of({"plain": "last"}, "R1")
        ('last', 'average')
    """
    named = {OTHERS: judged} if isinstance(judged, str) else judged
    which: Judged = named.get(method, named.get(OTHERS, "average"))
    check_choice("judged", which, JUDGED)
    return which


def standings(rows: Sequence[Row], judged: Mapping[str, Judged]) -> list[Standing]:
    """Group rows by method and number of steps, in their order.

    Args:
        rows: Trials.
        judged: For each method, which generator its headline figures are of; rows of others are
            left out.
    """
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        if row["method"] in judged:
            groups.setdefault((row["method"], row["steps"]), []).append(row)
    return [Standing(*key, judged[key[0]], tuple(group)) for key, group in groups.items()]


def beside(
    standing: Standing, all_of_them: Sequence[Standing], name: str | None
) -> Standing | None:
    """Return the standing of another method to compare with, of the nearest number of steps."""
    others = [one for one in all_of_them if one.method == name]
    if standing.method == name or not others:
        return None
    return min(others, key=lambda one: abs(one.steps - standing.steps))
