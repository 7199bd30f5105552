import csv
import json
from pathlib import Path

import pytest

from lightning_gan.metrics import METRICS
from lightning_gan.metrics.report import Report, definition

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


def test_only_what_is_asked_for_is_written(tmp_path: Path) -> None:
    report().write(tmp_path, "table", kinds=("json",))
    assert [path.name for path in tmp_path.iterdir()] == ["table.json"]


@pytest.mark.parametrize("name", METRICS)
def test_each_metric_is_defined(name: str) -> None:
    assert definition(name)


@pytest.mark.parametrize("name", ["fd/x", "kd/x", "score/x", "score/x_std", "copies", "mode_kl"])
def test_each_figure_is_defined(name: str) -> None:
    assert definition(name)
