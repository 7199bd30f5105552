"""Run the trials of an experiment that are missing, and keep each as soon as it is made."""

import logging
import multiprocessing
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from itertools import permutations
from typing import NamedTuple

import torch

from lightning_gan.lab.experiment import Experiment, Row
from lightning_gan.lab.results import Results, as_json, is_of, plain, restored


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
        ValueError: If ``workers`` is below 1, the trials cannot be told from each other, or another
            command has written rows of other settings meanwhile.
    """
    if workers < 1:
        raise ValueError(f"Expected 'workers' to be at least 1, got {workers}.")
    results.trials = list(experiment.trials())
    _check_distinct(results.trials)
    missing = results.missing()
    if missing and results.command not in results.commands:
        results.commands.append(results.command)
    if missing:  # at once, so that a command with other settings learns of these before it trains
        results.take_up()
        results.write()
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
        as_json(row)  # must not fail where other rows would be lost
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


def _check_distinct(trials: Sequence[Row]) -> None:
    for one, other in permutations(trials, 2):
        if is_of(other, one):
            raise ValueError(
                f"Expected trials that differ in a value, got {name_of(one)} and {name_of(other)}."
            )
