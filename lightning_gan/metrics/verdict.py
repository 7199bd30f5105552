"""Which failure the figures of generated samples show, in words.

What is low or high is taken from the user's own data: from what one part of the real samples
reaches against another. The failures differ in this, as ``benchmarks/verdict.py`` measures:

* Parts of the data that are left out lower recall and coverage alike, and nothing else.
* Too little variety within the modes lowers recall far more than coverage, and raises density.
  Samples that repeat each other do the first, as their balls are points.
* Samples off the data lower precision and density. All around the data they leave recall high,
  which their wide balls fool; beside it or between its modes they do not.
* Wrong frequencies lower coverage and leave recall.
* Copies of training samples look perfect to all four figures.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from lightning_gan.functional import expected_coverage
from lightning_gan.metrics.levels import Levels

SEVERE = 0.5  # from which severity on a failure is more than partial
VERDICTS = (
    "healthy",
    "mode dropping",
    "manifold collapse",
    "within-mode collapse",
    "garbage",
    "imbalance",
    "memorisation",
)
_K = 5  # of coverage
_FIGURES = ("precision", "recall", "density", "coverage")

# A figure is low below these shares of its level and below four standard deviations of it.
_LOW = {"precision": 0.9, "recall": 0.9, "density": 0.8, "coverage": 0.92}
_DEVIATIONS = 4
_DENSE = 1.5
_FAR = 0.6  # a figure is far below another one if it is below this share of it
_FEW_DIMENSIONS, _CROWDED = 4, 0.75
_REPEATED, _REPEATS = 0.1, 0.2
_UNREACHED = 0.1
_BESIDE, _FAR_BESIDE, _SCATTERED = 0.25, 0.05, 1.5
_DIVERGENCE = 0.05  # nats; shares are off by a third
_MISSING = 0.05
_COPIES, _NEARER, _COPIED = 0.25, 0.6, 0.8


class Evidence(NamedTuple):
    """Figures of generated samples, from which :func:`judge` tells their failure.

    Attributes:
        precision: Of the 3rd neighbour; see :class:`~lightning_gan.functional.ManifoldScores`.
        recall: Of the 3rd neighbour.
        density: Of the 5th neighbour.
        coverage: Of the 5th neighbour.
        spread: Of the 3rd neighbour; see :class:`~lightning_gan.functional.modes.Repetition`. NaN
            and infinity are not judged.
        copies: See :class:`~lightning_gan.functional.modes.Memorization`; None if unknown, as all
            that follows.
        memorization: The score.
        modes: See :class:`~lightning_gan.functional.modes.ClassCoverage`.
        mode_kl: Infinity is not judged.
        num_classes: Number of the data's classes, without which none is known to be missing.
        repeats: As ``spread``; without it repeated samples are seen once they are the majority.
        num_real: Number of real samples; by default that of the levels.
        num_fake: Number of generated samples; by default that of the levels.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    spread: float
    copies: float | None = None
    memorization: float | None = None
    modes: float | None = None
    mode_kl: float | None = None
    num_classes: int | None = None
    repeats: float | None = None
    num_real: int | None = None
    num_fake: int | None = None


class Verdict(NamedTuple):
    """What the figures say.

    Attributes:
        name: The worst failure: "mode dropping", "manifold collapse", "within-mode collapse",
            "garbage", "imbalance" or "memorisation"; or "healthy".
        also: Names of further failures, the worst first.
        sentence: The same in words, with the figures and their levels.
        severity: From 0, for healthy samples, to 1, where nothing is right; about the share of the
            samples, or of the data, that the failure concerns. Below a half the sentence says "in
            part".
    """

    name: str
    also: tuple[str, ...]
    sentence: str
    severity: float


def judge(evidence: Evidence, levels: Levels) -> Verdict:
    """Name the failure that the figures of generated samples show.

    The levels are first brought to the numbers of samples: coverage by its formula, precision and
    recall by their drift. Precision and recall are low below 0.9 of their levels, coverage below
    0.92, density below 0.8; with few samples further below, by four standard deviations.

    Args:
        evidence: Figures of the generated samples.
        levels: What real samples reach.

    Returns:
        Names and a sentence.

    Raises:
        ValueError: If precision, recall, density or coverage is not finite.

    Example:
        >>> levels = Levels(3000, 0.9, 0.89, 1.0, 0.97, 0.01, 0.01, 0.03, 0.01, -0.01, -0.1)
        >>> judge(Evidence(0.91, 0.43, 1.05, 0.49, spread=0.95), levels).name
        'mode dropping'
    """
    case = _Case(evidence, levels)
    # Copies are looked for in samples that are fine otherwise, or besides.
    found = sorted(case.findings(), key=lambda one: (one.name == "memorisation", one.kept))
    first, *others = found or [_Finding("healthy", 1.0, _FIGURES, "")]
    also = tuple(finding.name for finding in others)
    clauses = []
    if first.figures:
        reached = _listed(f"{case.levels[name]:.2f}" for name in first.figures)
        shown = _said(case.figures, first.figures)
        clauses.append(f"{shown}, where two parts of the real data reach {reached}")
    if fine := [name for name in case.fine if name not in first.figures]:
        likeness = "is like that" if len(fine) == 1 else "are like those"
        clauses.append(f"{_said(case.figures, fine)} {likeness} of real data")
    said = [f"{'; '.join(clauses)}."] if clauses else []
    said += [first.meaning] if first.meaning else []
    said += [f"Also {_listed(also)}."] if also else []
    severity = min(max(1.0 - first.kept, 0.0), 1.0)
    part = ", in part" if found and severity < SEVERE else ""
    return Verdict(first.name, also, f"{first.name}{part}: {' '.join(said)}", severity)


class _Finding(NamedTuple):
    """A failure, what share it leaves intact, and which figures show it."""

    name: str
    kept: float
    figures: Sequence[str]
    meaning: str


class _Case:
    """Figures beside their levels."""

    def __init__(self, evidence: Evidence, levels: Levels) -> None:
        self.evidence = evidence
        self.figures = {name: getattr(evidence, name) for name in (*_FIGURES, "spread")}
        for name in _FIGURES:
            if not math.isfinite(self.figures[name]):
                raise ValueError(f"Expected '{name}' to be finite, got {self.figures[name]}.")
        self.levels, chance = _levels_for(evidence, levels)
        self.ratio = {name: self.figures[name] / level for name, level in self.levels.items()}
        self.low = {n for n in _FIGURES if self.ratio[n] < min(_LOW[n], 1 - chance[n])}
        self.dense = self.ratio["density"] > max(_DENSE, 1 + chance["density"])
        apart = {*self.low, "density"} if self.dense else self.low
        self.fine = [name for name in _FIGURES if name not in apart]
        self.off = bool(self.low & {"precision", "density"})
        self.repeated = self.figures["spread"] < _REPEATED or (evidence.repeats or 0.0) > _REPEATS
        self.reached = _reached(self.ratio["coverage"], *_sizes(evidence, levels))
        self.rare = "coverage" in self.low and _is_far_below(self.reached, self.ratio["recall"])
        self.narrow = self.dense or self._is_narrow(levels)

    def _is_narrow(self, levels: Levels) -> bool:
        # In few dimensions narrow modes lose coverage, too, but their samples are closer together
        # than those of as much data would be.
        few = levels.radius_drift < -1 / _FEW_DIMENSIONS
        crowded = self.ratio["spread"] < _CROWDED * self.reached**-levels.radius_drift
        unlike = _is_far_below(self.ratio["recall"], self.reached)
        missed = self.rare or (self.off and self.reached < _UNREACHED)
        return "recall" in self.low and not missed and (unlike or (few and crowded))

    def findings(self) -> Iterator[_Finding]:
        """Yield the failures."""
        precision, recall, density, _ = (self.ratio[name] for name in _FIGURES)
        spread = self.ratio["spread"]
        beside = (
            self.low >= {"precision", "recall", "density"}
            and precision < 0.5
            and recall < (_BESIDE if not spread > _SCATTERED else _FAR_BESIDE)
        )
        if beside:
            meaning = "Most samples lie beside the data or between its modes."
            yield _Finding("manifold collapse", precision, _FIGURES[:3], meaning)
        if self.repeated or self.narrow:
            yield self._too_alike()
        if self.off and not beside and not (self.repeated and precision > 0.5):
            shown = [name for name in ("precision", "density") if name in self.low]
            share = f"About {100 * (1 - precision):.0f} %" if "precision" in self.low else "Some"
            meaning = f"{share} of the samples lie off the data."
            yield _Finding("garbage", min(precision, density), shown, meaning)
        if not beside:
            yield from self._left_out()
        if self.repeated or not self.narrow:
            yield from self._copied()

    def _too_alike(self) -> _Finding:
        name = "within-mode collapse"
        shown = ["recall"] if "recall" in self.low else []
        shown += ["density"] if self.dense else []
        share, spread = self.evidence.repeats, self.ratio["spread"]
        if self.repeated:
            who = "The samples" if share is None else f"{100 * share:.0f} % of the samples"
            return _Finding(name, 1 - (share or 1.0), shown, f"{who} repeat each other.")
        severity = min(self.ratio["recall"], 1 / self.ratio["density"] if self.dense else 1.0)
        apart = f": {spread:.2f} times as far apart as real ones" if math.isfinite(spread) else ""
        return _Finding(name, severity, shown, f"Within the modes samples are too alike{apart}.")

    def _left_out(self) -> Iterator[_Finding]:
        """Yield what is missing or, if nothing is, what is rare."""
        recall, reached = self.ratio["recall"], self.reached
        shown = [name for name in ("recall", "coverage") if name in self.low]
        rare = self.rare and not self.off and not self.narrow
        kept, missing = (recall + reached) / 2, bool(shown) and not rare
        if self.narrow or self.figures["spread"] < _REPEATED:
            kept, rare = self.ratio["coverage"], False
            missing = kept < _UNREACHED
        elif self.off:
            kept, missing = recall, "recall" in self.low
        if missing:
            meaning = f"About {100 * (1 - kept):.0f} % of the data has no sample near it."
            yield _Finding("mode dropping", kept, shown, meaning)
        elif rare:
            meaning = "All of the data is reached, parts of it too seldom."
            yield _Finding("imbalance", reached, shown, meaning)
        elif self.ratio["precision"] > 0.5:  # else a classifier has nothing to say
            yield from self._of_classes()

    def _of_classes(self) -> Iterator[_Finding]:
        modes, kl, number = self.evidence.modes, self.evidence.mode_kl, self.evidence.num_classes
        if kl is None or not math.isfinite(kl) or kl < self._divergence_by_chance():
            return
        if modes is not None and number is not None and modes <= (1 - _MISSING) * number:
            meaning = f"{modes:.0f} of {number} classes occur."
            yield _Finding("mode dropping", modes / number, (), meaning)
        else:
            meaning = f"The shares of the classes differ from the real ones by {kl:.2f} nats."
            yield _Finding("imbalance", math.exp(-kl), (), meaning)

    def _divergence_by_chance(self) -> float:
        number, samples = self.evidence.num_classes, self.evidence.num_fake
        if number is None or samples is None:
            return _DIVERGENCE
        freedom = number - 1  # of the chi-squared distribution of 2 M KL
        return max(_DIVERGENCE, (freedom + _DEVIATIONS * math.sqrt(2 * freedom)) / (2 * samples))

    def _copied(self) -> Iterator[_Finding]:
        copies, nearer = self.evidence.copies, self.evidence.memorization
        if copies is None or nearer is None:
            return
        shared = copies >= _COPIES and nearer >= _NEARER and not self.dense
        if shared or (nearer >= _COPIED and not self.low and not self.repeated):
            meaning = (
                f"But {100 * copies:.0f} % of the samples are nearer to the training set than 99 % "
                f"of held-out ones; the chance to be nearer is {nearer:.2f} instead of 0.50."
            )
            yield _Finding("memorisation", 1.0 - copies, (), meaning)


def _sizes(evidence: Evidence, levels: Levels) -> tuple[int, int]:
    return evidence.num_real or levels.size, evidence.num_fake or levels.size


def _levels_for(evidence: Evidence, levels: Levels) -> tuple[dict[str, float], dict[str, float]]:
    """Return the levels for these numbers of samples, and by what shares chance moves them."""
    size, (real, fake) = levels.size, _sizes(evidence, levels)
    covered = expected_coverage(real, fake, _K) / expected_coverage(size, size, _K)
    expected = {
        "precision": min(levels.precision + levels.drift * math.log(real / size), 1.0),
        "recall": min(levels.recall + levels.drift * math.log(fake / size), 1.0),
        "density": levels.density,
        "coverage": min(levels.coverage * covered, 1.0),
    }
    chance = {}
    for name, level in expected.items():
        level = expected[name] = max(level, 1e-6)
        counting = max(level - level**2, 0.0) * (1 / real + 1 / fake)  # 0 for density, no share
        splits = getattr(levels, f"{name}_std") ** 2 * max(size / min(real, fake), 1.0)
        # With few samples in a mode the drift is no straight line.
        bent = 0.25 / size if name in ("precision", "recall") else 0.0
        chance[name] = _DEVIATIONS * math.sqrt(max(counting, splits) + bent) / level
    return expected | {"spread": math.exp(levels.radius_drift * math.log(fake / real))}, chance


def _reached(covered: float, num_real: int, num_fake: int) -> float:
    """Return the share of the data to which all samples must go for a coverage so much lower.

    Samples on a part of the data cover that part the better, the fewer they are.
    """
    target = covered * expected_coverage(num_real, num_fake, _K)
    low, high = _K, num_real
    while covered < 1 and high - low > 1:
        middle = (low + high) // 2
        part = middle / num_real * expected_coverage(middle, num_fake, _K)
        low, high = (middle, high) if part < target else (low, middle)
    return max(high / num_real if high > _K + 1 else covered, 1e-6) if covered < 1 else covered


def _is_far_below(first: float, second: float) -> bool:
    """Tell whether of two shares the first is the low one, and not both."""
    return first < _FAR * second or 1 - second < 0.5 * (1 - first)


def _said(figures: Mapping[str, float], names: Iterable[str]) -> str:
    return _listed(f"{name} {figures[name]:.2f}" for name in names)


def _listed(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
