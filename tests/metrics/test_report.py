import csv
import json
import math
from pathlib import Path

import pytest

from lightning_gan.metrics import METRICS
from lightning_gan.metrics.report import Report, definition, note_of_absence, note_of_floor

FIGURES = {"fd/digits": 12.5, "score/digits_std": 0.25, "precision": 0.75}
PROTOCOL: dict[str, str | int] = {"real samples": 1617, "extractor": "digits"}


def report() -> Report:
    return Report(FIGURES, PROTOCOL, "garbage", "garbage: precision 0.75", ("A note.",))


def test_the_text_has_all_of_it() -> None:
    text = report().text()
    for part in ("fd/digits", "12.5", "k = 3", "1617", "A note.", "Verdict: garbage: pre"):
        assert part in text
    assert "Verdict" not in Report(FIGURES, PROTOCOL).text()


def test_csv_and_json_are_read_back(tmp_path: Path) -> None:
    assert report().write(tmp_path / "new", "table") == tmp_path / "new"
    lines = (tmp_path / "new" / "table.csv").read_text().splitlines()
    rows = {row[0]: row for row in csv.reader(lines)}
    assert {name: float(rows[name][1]) for name in FIGURES} == FIGURES
    assert rows["verdict"] == ["verdict", "garbage", "garbage: precision 0.75"]
    content = json.loads((tmp_path / "new" / "table.json").read_text())
    assert content["figures"] == FIGURES
    assert content["protocol"] == PROTOCOL
    assert content["verdict"] == "garbage"
    assert content["definitions"].keys() == FIGURES.keys()
    assert (tmp_path / "new" / "table.txt").read_text() == report().text() + "\n"


def test_small_figures_keep_their_digits() -> None:
    assert "0.00049612" in Report({"kid": 0.000496123}, PROTOCOL).text()


def test_json_is_json_where_a_figure_is_not_finite() -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    found = Report({"mode_kl": math.inf, "fid": 1.5}, PROTOCOL, notes=("A note.",))
    content = json.loads(found.json(), parse_constant=refuse)
    assert content["figures"] == {"mode_kl": None, "fid": 1.5}
    assert ["note", "", "A note."] in csv.reader(found.csv().splitlines())


@pytest.mark.parametrize(
    ("distance", "real", "said"),
    [
        (10.0, 500, "1,000 samples would be at a Fréchet distance of about 0.5 from 500 real ones"),
        (10.0, 500, "5 % of the measured 10;"),
        (0.4, 500, "no less than the measured 0.4;"),
        (0.4, 64, "With no more samples than the 64 features neither says much."),
    ],
)
def test_the_floor_in_words(distance: float, real: int, said: str) -> None:
    note = note_of_floor(distance, 0.5, real, 1000, 64)
    assert said in note
    assert ("features" in note) is (real == 64)


@pytest.mark.parametrize(
    ("figures", "absent"),
    [
        (["score/x", "score/x_std", "modes", "mode_kl", "memorization"], []),
        (["inception_score", "modes", "copies", "memorization"], []),
        (["fid", "precision"], ["memorization", "inception_score", "modes"]),
        (["score/x", "modes"], ["memorization"]),
    ],
)
def test_what_is_absent_in_words(figures: list[str], absent: list[str]) -> None:
    note = note_of_absence(METRICS, figures) or ""
    assert [metric for metric in METRICS if f"{metric} takes" in note] == absent
    assert note_of_absence(["fid"], figures) is None


def test_an_extractors_name_says_nothing_of_a_figure() -> None:
    assert definition("fd/of_std") == definition("fd/other") != definition("score/other_std")


def test_only_what_is_asked_for_is_written(tmp_path: Path) -> None:
    report().write(tmp_path, "table", kinds=("json",))
    assert [path.name for path in tmp_path.iterdir()] == ["table.json"]


@pytest.mark.parametrize("name", METRICS)
def test_each_metric_is_defined(name: str) -> None:
    assert definition(name)


@pytest.mark.parametrize("name", ["fd/x", "kd/x", "score/x", "score/x_std", "copies", "mode_kl"])
def test_each_figure_is_defined(name: str) -> None:
    assert definition(name)
