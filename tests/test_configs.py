"""Every committed configuration is parsed, built and stepped once."""

from pathlib import Path

import pytest
import torch

from lightning_gan.cli import main
from lightning_gan.data import CIFAR10, MNIST, TensorSamples
from lightning_gan.gans import AdversarialModule
from tests.toys import VARIANTS, config_of

CONFIGS = sorted((Path(__file__).parents[1] / "configs").rglob("*.yaml"))
SIDES = {"mnist": (1, 32), "cifar10": (3, 32)}


def _names(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("dataset", ["digits", "ring", "mnist"])
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_has_a_configuration(variant: type[AdversarialModule], dataset: str) -> None:
    assert config_of(variant, dataset).is_file()


@pytest.mark.parametrize("path", CONFIGS, ids=_names)
def test_configuration_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = path.parent.name
    if dataset in SIDES:  # needs a download; random bytes of the same shape stand in
        channels, side = SIDES[dataset]
        samples = TensorSamples(
            torch.randint(256, (128, channels, side, side), dtype=torch.uint8),
            torch.arange(128) % 10,
        )

        def load(data: MNIST | CIFAR10) -> None:
            data.train_set = data.test_set = samples

        for source in (MNIST, CIFAR10):
            monkeypatch.setattr(source, "prepare_data", lambda _: None)
            monkeypatch.setattr(source, "load", load)
    widths = [f"--model.{network}.base_channels=8" for network in ("generator", "discriminator")]
    narrow = widths if "ResNet" in path.read_text() else []
    monkeypatch.chdir(tmp_path)
    main(
        [
            "fit",
            f"--config={path}",
            "--trainer.fast_dev_run=true",
            "--trainer.accelerator=cpu",
            "--trainer.enable_progress_bar=false",
            "--data.batch_size=16",
            *narrow,
        ]
    )
    first = path.read_text().splitlines()
    assert f"# lightning-gan fit --config configs/{_names(path)}.yaml" in first
