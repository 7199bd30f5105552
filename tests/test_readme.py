"""The README's examples run, and its commands are those of the continuous integration."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import LightningModule
from torch import nn

from lightning_gan.cli import main
from lightning_gan.gans import AdversarialModule
from lightning_gan.layers import mixing_layers
from tests.toys import VARIANTS, ToyData, flat, points, toy_networks, toy_trainer

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
YAML_BLOCKS = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)


def test_python_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    example = next(block for block in BLOCKS if "trainer.fit(" in block)
    quick = "Trainer(accelerator='cpu', enable_progress_bar=False, max_steps=1, "
    names: dict[str, Any] = {}
    exec(example.replace("Trainer(max_steps=2000, ", quick), names)
    assert names["images"].shape == (64, 1, 16, 16)


def test_metrics_example(capsys: pytest.CaptureFixture[str]) -> None:
    example = next(block for block in BLOCKS if "GenerationMetrics(" in block)
    exec(example, {})
    coverage, verdict = capsys.readouterr().out.splitlines()
    assert 0.2 < float(coverage.split("(")[1].split(",")[0]) < 0.5
    assert verdict == example.splitlines()[-1].split("# ")[1]


def test_variant_example(tmp_path: Path) -> None:
    example = next(block for block in BLOCKS if "class MyHingeGAN" in block)
    names: dict[str, Any] = {}
    exec(example, names)
    model = names["MyHingeGAN"](**toy_networks())
    assert isinstance(model, AdversarialModule)
    before = flat(model)
    toy_trainer(tmp_path).fit(model, points())
    assert not torch.equal(flat(model), before)


class Autoencoder(LightningModule):
    """The user's own, as the example finds it."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(1, 4, 4, stride=4)
        self.decoder = nn.Sequential(nn.ConvTranspose2d(4, 1, 4, stride=4), nn.Tanh())


def test_autoencoder_example(tmp_path: Path) -> None:
    example = next(block for block in BLOCKS if "class SharpAutoencoder" in block)
    assert len(example.split("class ")[1].splitlines()) <= 30
    names: dict[str, Any] = {"Autoencoder": Autoencoder}
    exec(example, names)
    model = names["SharpAutoencoder"]()
    parts = [model.encoder, model.decoder, model.discriminator]
    before = [flat(part) for part in parts]
    batches = torch.rand(4, 10, 1, 16, 16) * 2 - 1
    trainer = toy_trainer(tmp_path, max_steps=4)
    trainer.fit(model, ToyData(*batches))
    for part, old in zip(parts, before, strict=True):
        assert flat(part).isfinite().all()
        assert not torch.equal(flat(part), old)


def test_yaml_example(tmp_path: Path) -> None:
    example = next(block for block in YAML_BLOCKS if "spectral_normalize" in block)
    path = tmp_path / "config.yaml"
    path.write_text(example)
    short = ["--trainer.max_steps=1", "--trainer.accelerator=cpu", "--data.batch_size=4"]
    quiet = ["--trainer.enable_progress_bar=false", f"--trainer.logger.save_dir={tmp_path}"]
    main(["fit", f"--config={path}", "--data=Digits", "--data.image_size=16", *short, *quiet])
    model = AdversarialModule.load_from_checkpoint(tmp_path / "version_0/checkpoints/last.ckpt")
    assert type(model).__name__ == "HingeGAN"
    assert len(mixing_layers(model.discriminator)) == 1
    assert model.replay is not None


def test_growing_yaml_example(tmp_path: Path) -> None:
    example = next(block for block in YAML_BLOCKS if "ProgressiveGrowing" in block)
    path = tmp_path / "config.yaml"
    path.write_text(re.sub(r"(\d+)_000", r"\1", example).replace("fmap_base: 512", "fmap_base: 32"))
    gray = [f"--model.{net}.image_channels=1" for net in ("generator", "discriminator")]
    short = ["--trainer.max_steps=25", "--trainer.accelerator=cpu", *gray]
    quiet = ["--trainer.enable_progress_bar=false", f"--trainer.logger.save_dir={tmp_path}"]
    main(["fit", f"--config={path}", "--data=Digits", "--data.image_size=32", *short, *quiet])
    model = AdversarialModule.load_from_checkpoint(tmp_path / "version_0/checkpoints/last.ckpt")
    assert model.sample(1).shape == (1, 1, 32, 32)
    assert (tmp_path / "version_0/samples/film.gif").is_file()


def test_growing_network_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    example = next(block for block in BLOCKS if "class MyGenerator" in block)
    quick = "Trainer(accelerator='cpu', enable_progress_bar=False, logger=False, max_steps=7, "
    names: dict[str, Any] = {}
    exec(example.replace("Trainer(max_steps=1000, ", quick).replace("10_000", "64"), names)
    assert names["model"].images_seen == 7 * 64
    assert names["model"].sample(2).shape == (2, 1, 32, 32)


def test_every_variant_has_a_row() -> None:
    rows = {row.split("`")[1] for row in README.splitlines() if row.startswith("| `")}
    assert VARIANTS.keys() <= rows


def test_the_second_command_is_what_ci_runs() -> None:
    command = next(line for line in README.splitlines() if ".venv-test/bin/pytest" in line)
    assert command in (ROOT / ".ci" / "run").read_text()


def test_named_files_exist() -> None:
    names = re.findall(r"configs/[a-z0-9_]+[/.][a-z0-9_.]+", README)
    for folders, file in re.findall(r"configs/{([a-z0-9,]+)}/([a-z_]+\.yaml)", README):
        names += [f"configs/{folder}/{file}" for folder in folders.split(",")]
    assert len(names) > 50
    for name in names:
        assert (ROOT / name).is_file(), name
