"""Every committed configuration is parsed, built and stepped once.

Those of the variants for the ring are so in ``test_cli.py``.
"""

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
    "folder256": (3, 256),
    "folder1024": (3, 1024),
}


STEPPED = [
    path for path in CONFIGS if path not in {config_of(v, "ring") for v in VARIANTS.values()}
]


def _names(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("dataset", ["digits", "ring", "mnist"])
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_has_a_configuration(variant: type[AdversarialModule], dataset: str) -> None:
    assert config_of(variant, dataset).is_file()


@pytest.mark.parametrize("path", CONFIGS, ids=_names)
def test_configuration_begins_with_its_command(path: Path) -> None:
    first = path.read_text().splitlines()
    assert f"# lightning-gan fit --config configs/{_names(path)}.yaml" in first


@pytest.mark.parametrize("path", STEPPED, ids=_names)
def test_configuration_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = path.parent.name
    channels, side = SHAPES.get(dataset, (1, 32))
    if dataset in SHAPES:  # needs files; random bytes of the same shape stand in
        count = 128 if side <= 128 else 4
        samples = TensorSamples(
            torch.randint(256, (count, channels, side, side), dtype=torch.uint8),
            torch.arange(count) % 10,
        )

        def load(data: GANDataModule) -> None:
            data.train_set = data.test_set = samples

        for source in (MNIST, CIFAR10, StackedMNIST, ImageFolder):
            monkeypatch.setattr(source, "prepare_data", lambda _: None)
            monkeypatch.setattr(source, "load", load)
    text = path.read_text()
    narrowing = {
        "ResNet": "base_channels=8",
        "BigGAN": "base_channels=8",
        "R3GAN": "width=8",
        "ProGAN": "fmap_max=2",
    }
    narrow = [
        f"--model.{network}.{how}"
        for network in ("generator", "discriminator")
        for family, how in narrowing.items()
        if f"networks.{family}{network.capitalize()}" in text
    ]
    steps = 1
    if "ProgressiveGrowing" in text:  # one step below the last resolution, two at it
        schedule = {"start_resolution": side // 2, "batch_size": 1}
        schedule |= {"stable_images": 1, "fade_images": 1}
        narrow += [f"--trainer.callbacks.{name}={value}" for name, value in schedule.items()]
        steps = 3
    monkeypatch.chdir(tmp_path)
    main(
        [
            "fit",
            f"--config={path}",
            f"--trainer.fast_dev_run={steps}",
            "--trainer.accelerator=cpu",
            "--trainer.enable_progress_bar=false",
            "--samples.num_samples=1",
            "--samples.fps=0",
            f"--data.batch_size={2 if side > 64 else 16}",
            *narrow,
        ]
    )
