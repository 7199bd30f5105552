"""Alarms over the measurements of a training, each raised once."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from string import Formatter
from typing import Any, NamedTuple

from lightning_gan.diagnostics.signs import ALARMS, THRESHOLDS, Figures

EARLY = 5  # measurements, the largest of which is a figure's early level
RECENT = 20  # measurements over which a figure may swing; a half of them is enough
_WITH_EARLY_LEVEL = ("g_grad_norm", "slope_max")


class _Known(dict[str, float]):
    """Figures of which those that were not measured are NaN, which no bound is compared with."""

    def __missing__(self, name: str) -> float:
        return math.nan


class Raised(NamedTuple):
    """An alarm that was raised.

    Attributes:
        name: The alarm's.
        step: Generator iterations when it was raised.
        since: Generator iterations at the first measurement in a row that shows the sign.
        sentence: What is wrong, and what to try.
    """

    name: str
    step: int
    since: int
    sentence: str


@dataclass
class _State:
    """How an alarm stands."""

    streak: int = 0  # measurements in a row that show the sign
    quiet: int = 0  # that do not, while the alarm is raised
    since: int = 0  # generator iterations at the first of the streak
    raised: bool = False


@dataclass
class Alarms:
    """Raises each alarm once, over the measurements of a training.

    An alarm is raised when its sign has been there for ``patience`` measurements in a row. It stays
    raised, in silence, until the sign has been away for as many, after which it may be raised anew.

    Args:
        thresholds: Bounds by their name in ``THRESHOLDS`` that differ from those.
        patience: Measurements in a row for all alarms; None leaves each its own.
        grace: Measurements at the start, and after :meth:`clear`, whose signs do not count, as an
            untrained generator's samples are alike and an untrained discriminator is easily beaten.

    Raises:
        ValueError: If a threshold is unknown or not finite, ``patience`` below 1 or ``grace``
            negative.

    Example:
        >>> alarms = Alarms(patience=2, grace=0)
        >>> figures = {"diversity": 0.01, "duplicates": 0.9}
        >>> alarms.update(50, figures)
        []
        >>> [alarm.name for alarm in alarms.update(100, figures)]
        ['samples collapse']
        >>> alarms.update(150, figures)
        []
    """

    thresholds: Mapping[str, float] = field(default_factory=dict)
    patience: int | None = None
    grace: int = EARLY

    def __post_init__(self) -> None:
        for name, value in self.thresholds.items():
            if name not in THRESHOLDS or not math.isfinite(value):
                raise ValueError(
                    f"Expected 'thresholds' to be finite numbers under some of the names "
                    f"{list(THRESHOLDS)}, got {name}={value}."
                )
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"Expected 'patience' to be at least 1, got {self.patience}.")
        if self.grace < 0:
            raise ValueError(f"Expected 'grace' to be non-negative, got {self.grace}.")
        self._bounds = {name: bound.value for name, bound in THRESHOLDS.items()}
        self._bounds.update(self.thresholds)
        self.reset()

    @property
    def active(self) -> dict[str, bool]:
        """Whether each alarm is raised."""
        return {name: state.raised for name, state in self._states.items()}

    @property
    def settled(self) -> bool:
        """Whether the grace is over."""
        return self._grace_left == 0

    def suspects(self, names: Iterable[str]) -> bool:
        """Tell whether the sign of one of the alarms is there, raised or not."""
        return any(self._states[n].streak > 0 or self._states[n].raised for n in names)

    def patience_of(self, name: str) -> int:
        """Return after how many measurements in a row an alarm is raised."""
        [alarm] = [alarm for alarm in ALARMS if alarm.name == name]
        return self.patience or alarm.patience

    def update(self, step: int, figures: Figures) -> list[Raised]:
        """Look at a measurement.

        Args:
            step: Generator iterations before it.
            figures: Values by name. Those that are missing or NaN were not measured, and alarms
                that need them stay as they are.

        Returns:
            The alarms that this measurement raises.
        """
        known = self._in_context(step, figures)
        if not self.settled:
            self._grace_left -= 1
            return []
        raised = []
        for alarm in ALARMS:
            if all(math.isnan(known[name]) for name in alarm.figures):
                continue
            state = self._states[alarm.name]
            holds = alarm.holds(known, self._bounds)
            if self._advance(state, self.patience_of(alarm.name), step, holds):
                lasting = step - state.since
                said = known | {"lasting": f"for {lasting:,} iterations" if lasting else "by now"}
                raised.append(Raised(alarm.name, step, state.since, _filled(alarm.sentence, said)))
        return raised

    def reset(self) -> None:
        """Forget everything, as before a new training."""
        self._early: dict[str, list[float]] = {name: [] for name in _WITH_EARLY_LEVEL}
        self.clear()

    def clear(self) -> None:
        """Forget all signs, as after a step back, and grant grace anew; keep early levels."""
        self._grace_left = self.grace
        self._states = {alarm.name: _State() for alarm in ALARMS}
        self._accuracies: list[tuple[int, float]] = []  # generator iterations before each

    def state_dict(self) -> dict[str, Any]:
        """Return all that later measurements depend on, in plain data."""
        states = {name: vars(state).copy() for name, state in self._states.items()}
        early = {name: list(values) for name, values in self._early.items()}
        return {
            "grace_left": self._grace_left,
            "early": early,
            "accuracies": list(self._accuracies),
            "states": states,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what was seen before."""
        self._grace_left = state_dict["grace_left"]
        self._early = {name: list(values) for name, values in state_dict["early"].items()}
        self._accuracies = [(step, accuracy) for step, accuracy in state_dict["accuracies"]]
        saved = state_dict["states"]
        self._states = {name: _State(**saved.get(name, {})) for name in self._states}

    def _in_context(self, step: int, figures: Figures) -> _Known:
        """Return the figures, some also beside what they were before."""
        known = _Known(figures)
        for name, early in self._early.items():
            value = known[name]
            if len(early) < EARLY and math.isfinite(value):
                early.append(value)
            level = max(early, default=math.nan)
            known[f"{name}/level"] = level
            known[f"{name}/early"] = value / level if level > 0 else math.nan
        if self.settled and math.isfinite(known["accuracy"]):
            self._accuracies = [*self._accuracies, (step, known["accuracy"])][-RECENT:]
        if len(self._accuracies) >= RECENT // 2:
            known.update(self._swing())
        return known

    def _swing(self) -> dict[str, float]:
        """Return between what the recent accuracies lie, and how often they cross over."""
        course = [accuracy for _, accuracy in self._accuracies]
        _, low, *_, high, _ = sorted(course)  # a single one is no swing
        bounds = self._bounds["swing_low"], self._bounds["swing_high"]
        sides = [value >= bounds[1] for value in course if not bounds[0] < value < bounds[1]]
        return {
            "accuracy/least": low,
            "accuracy/largest": high,
            "accuracy/turns": sum(a != b for a, b in pairwise(sides)),
            "accuracy/window": self._accuracies[-1][0] - self._accuracies[0][0],
        }

    @staticmethod
    def _advance(state: _State, patience: int, step: int, holds: bool) -> bool:
        """Count a measurement, and tell whether it raises the alarm."""
        if holds:
            state.since = state.since if state.streak else step
            state.streak, state.quiet = state.streak + 1, 0
            rises = not state.raised and state.streak >= patience
            state.raised = state.raised or rises
            return rises
        state.streak, state.quiet = 0, state.quiet + 1
        if state.quiet >= patience:
            state.raised = False
        return False


def _filled(sentence: str, values: Mapping[str, Any]) -> str:
    """Return a sentence with its figures, a question mark for what was not measured."""
    parts = []
    for text, name, form, _ in Formatter().parse(sentence):
        parts.append(text)
        if name is not None:
            value = values.get(name, math.nan)
            unknown = isinstance(value, float) and math.isnan(value)
            parts.append("?" if unknown else format(value, form or ""))
    return "".join(parts)
