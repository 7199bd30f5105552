"""The measurements of a run, however long it is."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, overload

MOST = 1000  # measurements that are kept


class Measured(NamedTuple):
    """What one measurement found.

    Attributes:
        step: Number of generator iterations.
        figures: Values by name.
    """

    step: int
    figures: dict[str, float]


class History(Sequence[Measured]):
    """The measurements of a run: all of a short one, of a longer one every n-th and the newest.

    Args:
        kept: Those of a run that goes on.
        count: How many there were, with those that are not kept.
        stride: Of how many one is kept.
    """

    def __init__(self, kept: Iterable[Measured] = (), count: int = 0, stride: int = 1) -> None:
        self._kept = [*kept]
        self._count = count
        self._stride = stride

    @overload
    def __getitem__(self, index: int) -> Measured: ...
    @overload
    def __getitem__(self, index: slice) -> list[Measured]: ...
    def __getitem__(self, index: int | slice) -> Measured | list[Measured]:
        """Return one of those that are kept, or some."""
        return self._kept[index]

    def __len__(self) -> int:
        """Return how many are kept."""
        return len(self._kept)

    def add(self, one: Measured) -> None:
        """Take up a new one."""
        self._give_up_newest()
        self._kept.append(one)
        self._count += 1
        if len(self._kept) > MOST:
            self._stride *= 2
            self._kept = [*self._kept[:-1:2], one]

    def _give_up_newest(self) -> None:
        """Drop what was kept as the newest alone."""
        if self._count and (self._count - 1) % self._stride:
            self._kept.pop()

    def state_dict(self) -> dict[str, Any]:
        """Return all in plain data."""
        kept = [tuple(one) for one in self._kept]
        return {"kept": kept, "count": self._count, "stride": self._stride}

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> "History":
        """Return what :meth:`state_dict` was of."""
        kept = (Measured(*one) for one in state["kept"])
        return cls(kept, state["count"], state["stride"])
