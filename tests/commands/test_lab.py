"""``lightning-gan lab``: experiments from the command line."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonargparse import ArgumentParser
from PIL import Image

from lightning_gan.commands import add_lab_arguments, lab
from lightning_gan.commands.lab import listing, parse
from lightning_gan.lab.catalog import entries, packaged

SATURATION = ["--seeds", "[]", "--logits", "[-6, 0]"]


def config_in(folder: Path, **init_args: Any) -> list[str]:
    """Write a file of the tests' own experiment; return the arguments that name it."""
    path = folder / "mine.yaml"
    path.write_text(
        f"class_path: tests.lab.test_runner.Powers\ninit_args: {json.dumps(init_args)}\n"
    )
    return ["--config", str(path), "--output_dir", str(folder)]


def content_of(folder: Path, name: str = "mine") -> Any:
    return json.loads((folder / name / "results.json").read_text())


def test_listing_fits_the_terminal() -> None:
    shown = listing(100)
    assert all(len(line) <= 100 for line in shown.splitlines())
    for entry in entries():
        assert f"\n{entry.name} " in shown
        assert entry.claim.split()[-1] in shown
    assert len(listing(60).splitlines()) > len(shown.splitlines())


def test_listing_imports_no_experiment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "lightning_gan.lab.saturation", raising=False)
    listing(80)
    add_lab_arguments(ArgumentParser())
    assert "lightning_gan.lab.saturation" not in sys.modules
    packaged("saturation").experiment_class()
    assert "lightning_gan.lab.saturation" in sys.modules


def test_words_of_the_command_line_arrive() -> None:
    parser = ArgumentParser()
    add_lab_arguments(parser)
    assert parser.parse_args([]).as_dict() == {"name": "list", "arguments": []}
    words = ["ring", "--seeds", "[0, 1]", "--plot", "--help"]
    assert parser.parse_args(words).as_dict() == {"name": "ring", "arguments": words[1:]}


def test_a_packaged_experiment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lab("saturation", [*SATURATION, "--output_dir", str(tmp_path)])
    said = capsys.readouterr().out
    folder = tmp_path / "saturation"
    assert "[2/2]" in said
    assert "\nholds         At a logit the gradient is -D" in said
    assert "\ncannot tell   Against a discriminator that wins" in said
    assert f"Rows in {folder / 'results.json'}\nFigure in {folder / 'saturation.png'}" in said
    with Image.open(folder / "saturation.png") as image:
        assert image.width == 1000
    content = content_of(tmp_path, "saturation")
    command = "lightning-gan lab saturation --logits '[-6.0,0.0]' --seeds '[]'"
    assert content["command"] == command
    assert content["settings"]["logits"] == [-6, 0]
    assert "seeds" not in content["settings"]
    assert [finding["holds"] for finding in content["findings"]] == [True, None, None]


def test_the_command_in_the_file_gives_the_same_rows(tmp_path: Path) -> None:
    config = config_in(tmp_path, base=2.0)
    lab("mine", [*config, "--exponents=[1, 2]", "--base", "-3.0"])
    first = content_of(tmp_path)
    words = shlex.split(first["command"])
    assert words[:3] == ["lightning-gan", "lab", "mine"]
    again = tmp_path / "again"
    lab("mine", [*words[3:], "--output_dir", str(again)])
    second = content_of(again)
    assert second["command"] == first["command"]
    assert [row["power"] for row in second["rows"]] == [-3.0, 9.0]
    assert second["settings"] == first["settings"] == {"base": -3.0}


def test_a_second_call_adds_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_in(tmp_path)
    lab("mine", [*config, "--exponents", "[1]"])
    lab("mine", [*config, "--exponents", "[3, 1, 2]"])
    assert "[2/2]" in capsys.readouterr().out
    content = content_of(tmp_path)
    assert [row["exponent"] for row in content["rows"]] == [3, 1, 2]
    words = [command.split()[-1] for command in content["command"].split(" && ")]
    assert words == ["'[1.0]'", "'[3.0,1.0,2.0]'"]
    lab("mine", [*config, "--exponents", "[2]"])  # there already
    assert content_of(tmp_path)["command"] == content["command"]


def test_plot_draws_from_the_file_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = config_in(tmp_path)
    lab("mine", [*config, "--base", "3.0"])
    written = (tmp_path / "mine" / "results.json").read_text()
    (tmp_path / "mine" / "mine.png").unlink()
    capsys.readouterr()
    lab("mine", [*config, "--plot"])  # with the base of the file
    said = capsys.readouterr().out
    assert said.startswith("Powers\n\nholds         Powers are powers.\n              3 of them\n")
    assert (tmp_path / "mine" / "mine.png").exists()
    assert (tmp_path / "mine" / "results.json").read_text() == written


def test_an_experiment_knows_how_it_is_called(tmp_path: Path) -> None:
    asked = ["--every_n_steps", "500", "--seeds", "[3]", "--steps", "7", "--only", "plain GAN"]
    assert parse("ring", asked).experiment.called == "lightning-gan lab ring --every_n_steps 500"
    config = config_in(tmp_path)
    lab("mine", [*config, "--base", "3.0"])
    called = content_of(tmp_path)["called"]
    assert called.endswith("mine.yaml --base 3.0")
    assert parse("mine", [*config, "--plot"]).experiment.called == called


def test_a_failed_trial_fails_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_in(tmp_path, failing=[1])
    with pytest.raises(SystemExit) as stop:
        lab("mine", config)
    assert str(stop.value) == "lightning-gan: error: 1 trials failed:\n  exponent=1"
    assert "2 of them" in capsys.readouterr().out
    assert len(content_of(tmp_path)["rows"]) == 2
    lab("mine", [*config, "--failing", "[]"])
    assert len(content_of(tmp_path)["rows"]) == 3


def test_an_interrupt_says_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        lab("mine", config_in(tmp_path, interrupted=1))
    assert stop.value.code == 130
    assert "the same command goes on from" in capsys.readouterr().out
    assert [row["exponent"] for row in content_of(tmp_path)["rows"]] == [0]


def test_other_settings_want_another_folder(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    lab("mine", [*config, "--exponents", "[1]"])
    with pytest.raises(ValueError, match=r"base=2.0 instead of 5.0\. Give another 'output_dir'"):
        lab("mine", [*config, "--base", "5.0"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers", "0"], "workers"),
        (["--bass", "1"], "bass"),
        (["--base", "high"], "base"),
        (["--failing", "7"], "failing"),
    ],
)
def test_wrong_arguments_are_named(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        lab("mine", [*config_in(tmp_path), *arguments])
    assert message in capsys.readouterr().err


def test_wrong_types_in_a_file_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        lab("mine", config_in(tmp_path, base="high"))
    assert "base" in capsys.readouterr().err


def test_help_tells_the_experiments_arguments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        lab("mine", [*config_in(tmp_path), "--help"])
    said = capsys.readouterr().out
    assert "lightning-gan lab mine" in said
    assert "--base BASE" in said
    assert "What is raised." in said


def test_refusals_in_words(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'name' to be one of \[.*\], got 'x'"):
        lab("x")
    with pytest.raises(ValueError, match=r"'base' to be non-zero, got 0\.0"):
        lab("mine", [*config_in(tmp_path), "--base", "0"])
    with pytest.raises(ValueError, match=r"'init_args' to be among \['base', .* got 'bass'"):
        lab("mine", config_in(tmp_path, bass=1))
    with pytest.raises(ValueError, match="to be a file of results, got"):
        lab("mine", [*config_in(tmp_path), "--plot"])
    with pytest.raises(ValueError, match="to hold trials, got none"):
        lab("mine", config_in(tmp_path, exponents=[]))
