"""Run the trials of an experiment that are missing, and keep each as soon as it is made."""

import importlib.metadata
import json
import logging
import math
import multiprocessing
import os
import platform
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import torch

from lightning_gan.lab.experiment import Experiment, Finding, Row

# JSON has no numbers for these; a diverged run is a result all the same.
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Failure(NamedTuple):
    """A trial that raised.

    Attributes:
        trial: Its identity.
        error: What it raised, in a line.
        trace: Where, in many.
    """

    trial: Row
    error: str
    trace: str


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
        self.rows = [restored(row) for row in content["rows"]]
        self.commands = _commands(content)

    def missing(self) -> list[Row]:
        """Return the trials of which there is no row."""
        return [trial for trial in self.trials if self._row_of(trial) is None]

    def add(self, row: Row) -> None:
        """Keep a row, in the order of the trials, and write the file."""
        self.rows.append(row)
        self.findings = []
        self.take_up()
        self.write()

    def take_up(self) -> None:
        """Keep what another command has added to the same file meanwhile."""
        if not self.path.exists():
            return
        content = read_results(self.path)
        known = {_json(row) for row in self.rows}
        done = [trial for trial in self.trials if self._row_of(trial) is not None]
        for row in map(restored, content["rows"]):
            if _json(row) not in known and not any(_is_of(row, trial) for trial in done):
                self.rows.append(row)
        self.rows.sort(key=self._place)
        self.commands = [*dict.fromkeys([*_commands(content), *self.commands])]

    def _row_of(self, trial: Row) -> Row | None:
        return next((row for row in self.rows if _is_of(row, trial)), None)

    def _place(self, row: Row) -> int:
        places = (i for i, trial in enumerate(self.trials) if _is_of(row, trial))
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
    parts = [
        f"{_json(name)}: " + (f"[{_lines(value)}\n]" if isinstance(value, list) else _json(value))
        for name, value in content.items()
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")
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


def run_missing(
    experiment: Experiment,
    results: Results,
    workers: int = 1,
    say: Callable[[str], None] = print,
) -> list[Failure]:
    """Make the trials of which there is no row, and write the file after each.

    A trial has one thread of the CPU, so that it comes out the same in any number of processes.

    Args:
        experiment: What is tried.
        results: What is there already; rows are added.
        workers: Processes that share the trials; a single one is this process.
        say: Is told of every trial.

    Returns:
        The trials that raised; the others are not held up by them.

    Raises:
        ValueError: If ``workers`` is below 1, or the trials cannot be told from each other.
    """
    if workers < 1:
        raise ValueError(f"Expected 'workers' to be at least 1, got {workers}.")
    results.trials = list(experiment.trials())
    _check_distinct(results.trials)
    missing = results.missing()
    if missing and results.command not in results.commands:
        results.commands.append(results.command)
    attempts = _attempts_here if min(workers, len(missing)) < 2 else _attempts_elsewhere
    failures = []
    for done, outcome in enumerate(attempts(experiment, missing, workers), start=1):
        place = f"[{done}/{len(missing)}]"
        if isinstance(outcome, Failure):
            failures.append(outcome)
            told = f"{place} FAILED  {name_of(outcome.trial)}: {outcome.error}\n{outcome.trace}"
            say(told.rstrip("\n"))
        else:
            trial, row = outcome
            results.add(row)
            say(f"{place} {row['seconds']:.1f} s  {name_of(trial)}")
    return failures


def name_of(trial: Row) -> str:
    """Return a trial's identity in words.

    Example:
        >>> name_of({"method": "gan", "seed": 0})
        'method=gan seed=0'
    """
    return " ".join(f"{key}={value}" for key, value in trial.items())


Outcome = tuple[Row, Row] | Failure  # identity and row


def attempt(experiment: Experiment, trial: Row) -> Outcome:
    """Make one trial; what it raises is returned."""
    begun = time.process_time()
    try:
        measured = plain(experiment.measure(**trial))
        taken = measured.keys() & {*trial, "seconds"}
        if taken:
            raise ValueError(f"Expected 'measure' to return other names than {sorted(taken)}.")
        seconds = round(time.process_time() - begun, 3)
        row: Row = restored(plain(trial) | measured | {"seconds": seconds})
        _json(row)  # must not fail where other rows would be lost
    except Exception as error:  # whatever it is, the other trials go on
        return Failure(trial, f"{type(error).__name__}: {error}", traceback.format_exc())
    return trial, row


def _attempts_here(
    experiment: Experiment, trials: Sequence[Row], workers: int
) -> Iterator[Outcome]:
    for trial in trials:
        with _one_quiet_thread():
            outcome = attempt(experiment, trial)
        yield outcome


def _attempts_elsewhere(
    experiment: Experiment, trials: Sequence[Row], workers: int
) -> Iterator[Outcome]:
    """Yield the trials' outcomes as they arrive from other processes."""
    others = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(
        min(workers, len(trials)), multiprocessing.get_context("spawn"), initializer=_prepare
    )
    try:
        futures: dict[Future[Outcome], Row] = {
            executor.submit(attempt, experiment, trial): trial for trial in trials
        }
        for future in as_completed(futures):
            error = future.exception()
            if error is None:
                yield future.result()
            else:  # the process itself ended, for want of memory perhaps
                yield Failure(futures[future], f"{type(error).__name__}: {error}", "")
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    executor.shutdown()


def _prepare() -> None:
    """Set up a process for trials; an interrupt from the keyboard is its parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)


@contextmanager
def _one_quiet_thread() -> Iterator[None]:
    """Compute on one thread, without Lightning's remarks on each run."""
    logger = logging.getLogger("lightning.pytorch")
    threads, level = torch.get_num_threads(), logger.level
    torch.set_num_threads(1)
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        logger.setLevel(level)


def _is_of(row: Row, trial: Row) -> bool:
    return all(key in row and row[key] == restored(plain(value)) for key, value in trial.items())


def _check_distinct(trials: Sequence[Row]) -> None:
    for one, other in permutations(trials, 2):
        if _is_of(other, one):
            raise ValueError(
                f"Expected trials that differ in a value, got {name_of(one)} and {name_of(other)}."
            )


def _json(value: Any) -> str:
    return json.dumps(plain(value), ensure_ascii=False, allow_nan=False)


def _lines(values: Sequence[Any]) -> str:
    return ",".join(f"\n  {_json(value)}" for value in values)
