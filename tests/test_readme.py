"""The README's examples run, and its commands are those of the continuous integration."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_gan.gans import AdversarialModule
from tests.toys import flat, points, toy_networks, toy_trainer

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_python_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    example = next(block for block in BLOCKS if "trainer.fit" in block)
    quick = "Trainer(accelerator='cpu', enable_progress_bar=False, max_steps=1, "
    names: dict[str, Any] = {}
    exec(example.replace("Trainer(max_steps=2000, ", quick), names)
    assert names["images"].shape == (64, 1, 16, 16)


def test_variant_example(tmp_path: Path) -> None:
    example = next(block for block in BLOCKS if "class HingeGAN" in block)
    names: dict[str, Any] = {}
    exec(example, names)
    model = names["HingeGAN"](**toy_networks())
    assert isinstance(model, AdversarialModule)
    before = flat(model)
    toy_trainer(tmp_path).fit(model, points())
    assert not torch.equal(flat(model), before)


def test_the_second_command_is_what_ci_runs() -> None:
    command = next(line for line in README.splitlines() if ".venv-test/bin/pytest" in line)
    assert command in (ROOT / ".ci" / "run").read_text()


def test_named_files_exist() -> None:
    names = re.findall(r"configs/[a-z0-9_]+[/.][a-z0-9_.]+", README)
    assert len(names) > 4
    for name in names:
        assert (ROOT / name).is_file(), name
