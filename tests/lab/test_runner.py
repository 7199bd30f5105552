"""The runner of experiments, on one whose trials are counted."""

import json
import math
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure

from lightning_gan.lab import Experiment, Finding, Row, runner
from lightning_gan.lab.results import plain, read_results
from lightning_gan.lab.runner import run_missing
from tests.lab.test_results import results_in


class Powers(Experiment):
    """Powers of a base; some trials raise, some numbers are not finite.

    Args:
        base: What is raised.
        exponents: To what.
        failing: Exponents that raise an error.
        interrupted: Exponent at which the keyboard interrupts.
    """

    title = "Powers"
    choices = ("exponents", "failing", "interrupted")

    def __init__(
        self,
        base: float = 2.0,
        exponents: Sequence[float] = (0, 1, 2),
        failing: Sequence[float] = (),
        interrupted: float | None = None,
    ) -> None:
        if base == 0:
            raise ValueError(f"Expected 'base' to be non-zero, got {base}.")
        self.base = base
        self.exponents = exponents
        self.failing = failing
        self.interrupted = interrupted
        self.made: list[float] = []

    def trials(self) -> Iterator[Row]:
        for exponent in self.exponents:
            yield {"exponent": exponent}

    def measure(self, **trial: Any) -> Row:
        exponent = trial["exponent"]
        self.made.append(exponent)
        time.sleep(0.02 * (3 - exponent) if exponent < 3 else 0)  # so that the last arrive first
        if exponent in self.failing:
            raise RuntimeError(f"no power {exponent}")
        if exponent == self.interrupted:
            raise KeyboardInterrupt
        odd = {"nan": math.nan, "bounds": [-math.inf, (math.inf, 1)], "tensor": torch.ones(2)}
        return {"power": self.base**exponent, "threads": torch.get_num_threads(), **odd}

    def findings(self, rows: Sequence[Row]) -> list[Finding]:
        fine = all(row["power"] == self.base ** row["exponent"] for row in rows)
        return [Finding("Powers are powers.", fine, f"{len(rows)} of them")]

    def draw(self, rows: Sequence[Row]) -> Figure:
        return Figure(figsize=(1, 1))


class Clashing(Powers):
    """Measures under a name of the identity."""

    def measure(self, **trial: Any) -> Row:
        return {"exponent": 1}


def quiet(_: str) -> None:
    pass


def test_rows_survive_the_file(tmp_path: Path) -> None:
    results = results_in(tmp_path)
    assert run_missing(Powers(), results, say=quiet) == []
    read = results_in(tmp_path)
    read.read()
    assert [row["power"] for row in read.rows] == [1.0, 2.0, 4.0]
    row = read.rows[1]
    assert row.keys() == {"exponent", "power", "threads", "nan", "bounds", "tensor", "seconds"}
    assert math.isnan(row["nan"])
    assert row["bounds"] == [-math.inf, [math.inf, 1]]
    assert row["tensor"] == [1.0, 1.0]
    assert row["threads"] == 1
    assert 0 <= row["seconds"] < 1  # of the CPU: sleep costs none
    content = json.loads(results.path.read_text(), parse_constant=lambda _: pytest.fail("no JSON"))
    assert content["versions"]["torch"] == torch.__version__
    assert content["settings"] == {"base": 2.0}
    assert [path.name for path in results.path.parent.iterdir()] == ["results.json"]


def test_only_what_is_missing_is_made_and_put_in_order(tmp_path: Path) -> None:
    run_missing(Powers(exponents=[5, 1]), results_in(tmp_path), say=quiet)
    results = results_in(tmp_path)
    results.read()
    more = Powers(exponents=[0, 1, 2])
    run_missing(more, results, say=quiet)
    assert more.made == [0, 2]
    assert [row["exponent"] for row in results.rows] == [0, 1, 2, 5]  # what was not asked for last
    again = Powers(exponents=[0, 1, 2])
    run_missing(again, results, say=quiet)
    assert again.made == []


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    run_missing(Powers(), results_in(tmp_path, rate=math.inf), say=quiet)
    results_in(tmp_path, rate=math.inf).read()
    with pytest.raises(ValueError, match=r"with base=2.0 instead of 3.0, rate='Infinity' .* None"):
        results_in(tmp_path, rate=None, base=3.0).read()
    other = results_in(tmp_path, rate=math.inf)
    other.class_path = "tests.Other"
    with pytest.raises(ValueError, match=r"class_path='tests.Powers' instead of 'tests.Other'"):
        other.read()


def test_other_settings_are_refused_before_the_first_trial(tmp_path: Path) -> None:
    one, other = results_in(tmp_path), results_in(tmp_path, base=3.0)
    for results in (one, other):
        results.read()
    run_missing(Powers(failing=[0, 1, 2]), one, say=quiet)
    late = Powers(3.0)
    with pytest.raises(ValueError, match=r"with base=2\.0 instead of 3\.0"):
        run_missing(late, other, say=quiet)
    assert late.made == []


def test_a_failing_trial_does_not_lose_the_others(tmp_path: Path) -> None:
    results, said = results_in(tmp_path), list[str]()
    [failure] = run_missing(Powers(failing=[1]), results, say=said.append)
    assert failure.trial == {"exponent": 1}
    assert failure.error == "RuntimeError: no power 1"
    assert [row["exponent"] for row in read_results(results.path)["rows"]] == [0, 2]
    assert said[1].startswith("[2/3] FAILED  exponent=1: RuntimeError: no power 1\nTraceback")
    assert "in measure" in said[1]


def test_an_interrupt_keeps_what_was_made(tmp_path: Path) -> None:
    results = results_in(tmp_path)
    threads = torch.get_num_threads()
    with pytest.raises(KeyboardInterrupt):
        run_missing(Powers(interrupted=1), results, say=quiet)
    assert [row["exponent"] for row in read_results(results.path)["rows"]] == [0]
    assert torch.get_num_threads() == threads


def test_measurements_must_not_hide_the_identity(tmp_path: Path) -> None:
    [failure] = run_missing(Clashing(exponents=[1]), results_in(tmp_path), say=quiet)
    assert failure.error == (
        "ValueError: Expected 'measure' to return other names than ['exponent']."
    )


@pytest.mark.parametrize(
    ("experiment", "workers", "message"),
    [
        (Powers(), 0, "'workers' to be at least 1, got 0."),
        (Powers(exponents=[1, 2, 1]), 1, "differ in a value, got exponent=1 and exponent=1."),
    ],
)
def test_refusals(experiment: Powers, workers: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        run_missing(experiment, results_in(tmp_path), workers, quiet)


class _Threads(ThreadPoolExecutor):
    """Stands in for processes, each of which would import torch first."""

    def __init__(self, workers: int, context: Any, initializer: Any) -> None:
        assert context.get_start_method() == "spawn"
        super().__init__(workers)


def test_workers_put_the_rows_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "ProcessPoolExecutor", _Threads)
    results, said = results_in(tmp_path), list[str]()
    [failure] = run_missing(Powers(exponents=[0, 1, 2, 3], failing=[1]), results, 4, said.append)
    assert failure.trial == {"exponent": 1}
    assert [line.split()[-1] for line in said if "FAILED" not in line] == [
        f"exponent={exponent}" for exponent in (3, 2, 0)
    ]
    rows = read_results(results.path)["rows"]
    assert [row["exponent"] for row in rows] == [0, 2, 3]


@pytest.mark.slow
def test_processes_find_the_same(tmp_path: Path) -> None:
    here, elsewhere = results_in(tmp_path / "here"), results_in(tmp_path / "elsewhere")
    run_missing(Powers(), here, say=quiet)
    [failure] = run_missing(Powers(failing=[2]), elsewhere, 2, quiet)
    assert failure.error == "RuntimeError: no power 2"
    run_missing(Powers(), elsewhere, 2, quiet)
    for results in (here, elsewhere):
        for row in results.rows:
            del row["seconds"]
    assert plain(elsewhere.rows) == plain(here.rows)
    assert multiprocessing.active_children() == []
