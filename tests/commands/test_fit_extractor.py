"""``lightning-gan fit-extractor``: a classifier of the user's data."""

from pathlib import Path

import pytest
import torch

from lightning_gan.cli import main
from lightning_gan.commands import fit_extractor
from lightning_gan.data import Digits
from lightning_gan.extractors import DomainClassifier

DIGITS = ["fit-extractor", "--data", "Digits", "--data.image_size", "9", "--epochs", "1"]


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new" / "nines.pt"
    main([*DIGITS, "--output", str(path)])
    classifier = DomainClassifier.load(path)
    said = capsys.readouterr().out
    assert f"{classifier.accuracy:.2%} of the held-out images" in said
    assert f"'nines' ({classifier.digest()[:8]}) in {path}" in said
    assert classifier.name == "nines"
    assert classifier.image_size == (9, 9)
    assert torch.tensor(classifier.accuracy) > 0.3
    # From Python the same, and an extractor is replaced.
    fit_extractor(Digits(9), path, epochs=1, name="other")
    assert DomainClassifier.load(path).digest() == classifier.digest()
    assert DomainClassifier.load(path).name == "other"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "Digits", "--data.image_size", "5"], "'image_size' to be at least 8, got 5."),
        (["--data", "Digits", "--epochs", "0"], "'epochs' to be at least 1, got 0."),
        (["--data", "GaussianMixture"], "'data' to be images"),
        (["--data", "MNIST", "--data.root", "/absent", "--data.download", "false"], "'root' ="),
    ],
)
def test_refusals_are_one_message(arguments: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["fit-extractor", "--output", str(tmp_path / "x.pt"), *arguments])
    assert str(stop.value).startswith(f"lightning-gan: error: Expected {message}")
    assert not (tmp_path / "x.pt").exists()


def test_other_files_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_text("precious")
    for path in (tmp_path / "last.ckpt", tmp_path):
        with pytest.raises(
            SystemExit, match=f"'output' to be a new file or an extractor, .*{path}"
        ):
            main([*DIGITS, "--output", str(path)])
    assert (tmp_path / "last.ckpt").read_text() == "precious"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "Digits"], "output"),
        (["--output", "x.pt"], "data"),
        (["--data", "Digits", "--data.image_sise", "8", "--output", "x.pt"], "image_sise"),
    ],
)
def test_missing_and_misspelt_arguments_are_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["fit-extractor", *arguments])
    assert message in capsys.readouterr().err
