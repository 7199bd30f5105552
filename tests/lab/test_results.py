"""Files of results, to which several commands add."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_gan.lab.results import Results, plain, read_results, restored

TRIALS = [{"exponent": 1}, {"exponent": 2}, {"exponent": 3}]


def results_in(folder: Path, **settings: Any) -> Results:
    path = folder / "powers" / "results.json"
    return Results(path, "powers", "tests.Powers", "Powers", {"base": 2.0} | settings, "command")


def test_two_commands_keep_each_others_rows(tmp_path: Path) -> None:
    one, other = results_in(tmp_path), results_in(tmp_path)
    for number, results in enumerate((one, other)):
        results.read()
        results.trials = TRIALS
        results.commands = [f"command {number}"]
    one.add({"exponent": 1, "power": 2.0})
    other.add({"exponent": 2, "power": 4.0})
    other.add({"exponent": 3, "power": 8.0, "seconds": 1.0})
    one.add({"exponent": 3, "power": 8.0, "seconds": 2.0})  # the same trial again
    again = results_in(tmp_path)
    again.read()
    assert [row["power"] for row in again.rows] == [2.0, 4.0, 8.0]
    assert again.commands == ["command 0", "command 1"]


def test_a_trial_that_two_commands_make_has_one_row(tmp_path: Path) -> None:
    ahead, behind = results_in(tmp_path), results_in(tmp_path)
    ahead.trials = behind.trials = TRIALS
    for place in (0, 1, 2):
        ahead.add(TRIALS[place] | {"by": "ahead"})
        if place:
            behind.add(TRIALS[place - 1] | {"by": "behind"})
    assert [row["exponent"] for row in behind.rows] == [1, 2, 3]
    assert [row["by"] for row in behind.rows] == ["ahead"] * 3


def test_rows_of_other_settings_are_not_mixed_in(tmp_path: Path) -> None:
    one, other = results_in(tmp_path), results_in(tmp_path, base=3.0)
    one.add({"exponent": 1})
    with pytest.raises(ValueError, match=r"with base=2\.0 instead of 3\.0"):
        other.add({"exponent": 2})
    assert [row["exponent"] for row in read_results(one.path)["rows"]] == [1]


def test_what_is_only_shown_may_change(tmp_path: Path) -> None:
    results_in(tmp_path, note="old").add({"exponent": 1})
    changed = results_in(tmp_path, note="new")
    with pytest.raises(ValueError, match="no results of other settings"):
        changed.read()
    changed.shown = ("note",)
    changed.read()
    assert len(changed.rows) == 1


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"rows": [NaN'])
def test_damaged_files_are_refused(content: str, tmp_path: Path) -> None:
    results = results_in(tmp_path)
    results.path.parent.mkdir()
    results.path.write_text(content)
    with pytest.raises(ValueError, match=f"Expected '{results.path}' to be a file of results, got"):
        results.read()


def test_plain_values_come_back() -> None:
    value = {"a": [math.inf, {"b": -math.inf}], "c": "NaN", "d": None, "e": True}
    assert plain(torch.tensor([math.nan, 1.0])) == ["NaN", 1.0]
    back = restored(json.loads(json.dumps(plain(value), allow_nan=False)))
    assert math.isnan(back.pop("c"))
    del value["c"]
    assert back == value
