"""The file of an experiment's trials, which several commands may add to."""

import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import lightning
import torch

from lightning_gan.lab.experiment import Finding, Row

# JSON has no numbers for these; a diverged run is a result all the same.
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass
class Results:
    """The trials of an experiment so far, and the file that keeps them.

    Attributes:
        path: The file.
        experiment: Name of the experiment.
        class_path: Where its class is imported from.
        title: Headline of its figure.
        settings: The constructor's arguments that decide what a trial is.
        command: Command line of this call.
        called: The same, but for the choice of trials; see
            :class:`~lightning_gan.lab.experiment.Experiment`.
        shown: Settings that may differ from those of the file, as they decide no trial.
        commands: Those by which the rows came about.
        trials: Those of this call, in the order of their rows.
        rows: Identity and measurement of each trial, and its ``seconds`` of CPU time.
        findings: What the rows show; empty until all trials were tried.
    """

    path: Path
    experiment: str
    class_path: str
    title: str
    settings: Row
    command: str = ""
    called: str = ""
    shown: tuple[str, ...] = ()
    commands: list[str] = field(default_factory=list)
    trials: list[Row] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def read(self) -> None:
        """Take up the rows and the commands of the file, if there is one.

        Raises:
            ValueError: If it is damaged, or its rows were made with other settings.
        """
        if not self.path.exists():
            return
        content = read_results(self.path)
        self._check(content)
        self.rows = [restored(row) for row in content["rows"]]
        self.commands = _commands(content)

    def missing(self) -> list[Row]:
        """Return the trials of which there is no row."""
        return [trial for trial in self.trials if self._row_of(trial) is None]

    def add(self, row: Row) -> None:
        """Keep a row, in the order of the trials, and write the file.

        Where another command has made the same trial meanwhile, its row stays.

        Raises:
            ValueError: If another command has written rows of other settings meanwhile.
        """
        self.findings = []
        self.take_up()
        if not any(self._row_of(trial) for trial in self.trials if is_of(row, trial)):
            self.rows.append(row)
            self.rows.sort(key=self._place)
        self.write()

    def take_up(self) -> None:
        """Keep what another command has added to the same file meanwhile.

        Raises:
            ValueError: If it has other settings.
        """
        if not self.path.exists():
            return
        content = read_results(self.path)
        self._check(content)
        known = {as_json(row) for row in self.rows}
        done = [trial for trial in self.trials if self._row_of(trial) is not None]
        for row in map(restored, content["rows"]):
            if as_json(row) not in known and not any(is_of(row, trial) for trial in done):
                self.rows.append(row)
        self.rows.sort(key=self._place)
        self.commands = [*dict.fromkeys([*_commands(content), *self.commands])]

    def _check(self, content: Mapping[str, Any]) -> None:
        """Refuse rows that were made with other settings."""
        mine = plain({"class_path": self.class_path, **self.settings})
        theirs = {"class_path": content["class_path"], **content["settings"]}
        differing = [name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name)]
        names = [name for name in differing if name not in self.shown]
        if names:
            differences = ", ".join(
                f"{name}={theirs.get(name)!r} instead of {mine.get(name)!r}" for name in names
            )
            raise ValueError(
                f"Expected 'output_dir' to hold no results of other settings, got {self.path} "
                f"with {differences}. Give another 'output_dir', or the same settings."
            )

    def _row_of(self, trial: Row) -> Row | None:
        return next((row for row in self.rows if is_of(row, trial)), None)

    def _place(self, row: Row) -> int:
        places = (i for i, trial in enumerate(self.trials) if is_of(row, trial))
        return next(places, len(self.trials))

    def write(self) -> None:
        """Write the file."""
        head = {
            "experiment": self.experiment,
            "class_path": self.class_path,
            "title": self.title,
            "command": " && ".join(self.commands),
            "called": self.called,
            "settings": self.settings,
            "versions": {
                "lightning_gan": importlib.metadata.version("lightning-gan"),
                "torch": torch.__version__,
                "lightning": lightning.__version__,
                "python": platform.python_version(),
            },
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
        lists = {"rows": self.rows, "findings": [f._asdict() for f in self.findings]}
        write_results(self.path, head | lists)


def read_results(path: Path) -> dict[str, Any]:
    """Read a file of results, as it is written.

    Raises:
        ValueError: If it cannot be read or is no such file.
    """
    needed = {"class_path", "settings", "rows", "command"}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"Expected '{path}' to be a file of results, got {error}.") from error
    if not isinstance(content, dict) or not needed <= content.keys():
        raise ValueError(f"Expected '{path}' to be a file of results, got other content.")
    return content


def write_results(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file of results, completely or not at all, a row a line."""
    lines = [
        f"{as_json(name)}: {_lines(value) if isinstance(value, list) else as_json(value)}"
        for name, value in content.items()
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _commands(content: Mapping[str, Any]) -> list[str]:
    return [command for command in content["command"].split(" && ") if command]


def plain(value: Any) -> Any:
    """Turn a value into what JSON holds: NaN and infinity into texts, tensors into lists.

    Example:
        >>> plain({"slope": (1.0, float("inf"), torch.tensor(2.0))})
        {'slope': [1.0, 'Infinity', 2.0]}
    """
    if hasattr(value, "tolist"):  # tensors, arrays and numpy's numbers
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def restored(value: Any) -> Any:
    """Turn the texts that :func:`plain` wrote into numbers again.

    Example:
        >>> restored(["-Infinity", "text", 1])
        [-inf, 'text', 1]
    """
    if isinstance(value, dict):
        return {key: restored(part) for key, part in value.items()}
    if isinstance(value, list):
        return [restored(part) for part in value]
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value


def is_of(row: Row, trial: Row) -> bool:
    """Tell whether a row is a trial's."""
    return all(key in row and row[key] == restored(plain(value)) for key, value in trial.items())


def as_json(value: Any) -> str:
    """Return a value as a line of a file of results."""
    return json.dumps(plain(value), ensure_ascii=False, allow_nan=False)


def _lines(values: Sequence[Any]) -> str:
    """Return a list with each of its values on a line."""
    return "[" + ",".join(f"\n  {as_json(value)}" for value in values) + "\n]"
