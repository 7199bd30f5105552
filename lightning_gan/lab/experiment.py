"""What an experiment is: a claim, trials that try it, what they show, and a picture of it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from matplotlib.figure import Figure

Row = dict[str, Any]  # numbers, texts, lists: what JSON holds


class Finding(NamedTuple):
    """What the trials say of one claim.

    Attributes:
        claim: A sentence that can be true or false.
        holds: Whether it held here; None where the trials so far cannot tell.
        evidence: The figures on which that rests, in words.
    """

    claim: str
    holds: bool | None
    evidence: str


class Experiment(ABC):
    """One of the articles' claims as something to run, see and trust.

    A subclass's constructor takes what may be varied, from a YAML file; it keeps every argument
    under its own name. The work is cut into trials, each a row of the results: a run that was
    interrupted goes on with the trials that are missing, and several processes share them out.

    Attributes:
        title: Headline of the figure.
        choices: Names of the constructor's arguments that choose among trials without changing any
            of them, such as seeds: more can be added to the same results later.
        shown: Names of those that decide on nothing but how results are shown.
        called: Command line that asks for this experiment with its settings, but for a choice of
            trials; empty where it was not built from one.
    """

    title: str
    choices: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()
    called: str = ""

    @abstractmethod
    def trials(self) -> Iterator[Row]:
        """Yield what tells each trial from the others, such as its method and seed."""

    @abstractmethod
    def measure(self, **trial: Any) -> Row:
        """Make one trial and return what it found; the same twice."""

    @abstractmethod
    def findings(self, rows: Sequence[Row]) -> list[Finding]:
        """Say what the trials so far, identity and measurement in one row each, show."""

    @abstractmethod
    def draw(self, rows: Sequence[Row]) -> Figure:
        """Draw the trials so far, with titles and units."""

    def table(self, rows: Sequence[Row]) -> str:
        """Return the trials so far as Markdown; empty where the findings say all."""
        return ""
