"""Every committed configuration is parsed, built and stepped once."""

from pathlib import Path

import pytest
import torch

from lightning_gan.cli import main
from lightning_gan.data import (
    CIFAR10,
    MNIST,
    GANDataModule,
    ImageFolder,
    StackedMNIST,
    TensorSamples,
)
from lightning_gan.gans import AdversarialModule
from tests.toys import VARIANTS, config_of

CONFIGS = sorted((Path(__file__).parents[1] / "configs").rglob("*.yaml"))
SHAPES = {
    "mnist": (1, 32),
    "cifar10": (3, 32),
    "stacked_mnist": (3, 32),
    "folder64": (3, 64),
    "folder128": (3, 128),
}


def _names(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("dataset", ["digits", "ring", "mnist"])
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_has_a_configuration(variant: type[AdversarialModule], dataset: str) -> None:
    assert config_of(variant, dataset).is_file()


@pytest.mark.parametrize("path", CONFIGS, ids=_names)
def test_configuration_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = path.parent.name
    if dataset in SHAPES:  # needs files; random bytes of the same shape stand in
        channels, side = SHAPES[dataset]
        samples = TensorSamples(
            torch.randint(256, (128, channels, side, side), dtype=torch.uint8),
            torch.arange(128) % 10,
        )

        def load(data: GANDataModule) -> None:
            data.train_set = data.test_set = samples

        for source in (MNIST, CIFAR10, StackedMNIST, ImageFolder):
            monkeypatch.setattr(source, "prepare_data", lambda _: None)
            monkeypatch.setattr(source, "load", load)
    text = path.read_text()
    narrowing = {"ResNet": "base_channels=8", "BigGAN": "base_channels=8", "R3GAN": "width=8"}
    narrow = [
        f"--model.{network}.{how}"
        for network in ("generator", "discriminator")
        for family, how in narrowing.items()
        if f"networks.{family}{network.capitalize()}" in text
    ]
    monkeypatch.chdir(tmp_path)
    main(
        [
            "fit",
            f"--config={path}",
            "--trainer.fast_dev_run=true",
            "--trainer.accelerator=cpu",
            "--trainer.enable_progress_bar=false",
            f"--data.batch_size={2 if dataset == 'folder128' else 16}",
            *narrow,
        ]
    )
    first = path.read_text().splitlines()
    assert f"# lightning-gan fit --config configs/{_names(path)}.yaml" in first
