"""Small networks, data and trainers for tests."""

from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule, Trainer
from torch import Tensor, nn
from torch.optim import SGD
from torch.utils.data import DataLoader

import lightning_gan
from lightning_gan.gans import AdversarialModule
from lightning_gan.networks import (
    DCGANDiscriminator,
    DCGANGenerator,
    MLPDiscriminator,
    MLPGenerator,
)

VARIANTS: dict[str, type[AdversarialModule]] = {
    name: variant
    for name in lightning_gan.__all__
    if isinstance(variant := getattr(lightning_gan, name), type)
    and issubclass(variant, AdversarialModule)
}


def toy_networks(num_classes: int | None = None) -> dict[str, Any]:
    """Return a pair for points."""
    return {
        "generator": MLPGenerator(hidden=(16,), num_classes=num_classes),
        "discriminator": MLPDiscriminator(hidden=(16,), num_classes=num_classes),
    }


def image_networks(norm: Any = "layer", num_classes: int | None = None) -> dict[str, Any]:
    """Return a convolutional pair for (1, 8, 8) images; the generator has batch normalisation."""
    sizes: Any = {"image_size": 8, "image_channels": 1, "base_channels": 4}
    return {
        "generator": DCGANGenerator(latent_dim=4, num_classes=num_classes, **sizes),
        "discriminator": DCGANDiscriminator(norm=norm, num_classes=num_classes, **sizes),
    }


class ToyData(LightningDataModule):
    """The given batches, in order; every rank its own."""

    def __init__(self, *batches: Any) -> None:
        super().__init__()
        self.batches = list(batches)

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.batches, batch_size=None)  # type: ignore[arg-type]


def points(n: int = 20, batches: int = 4) -> ToyData:
    """Return batches of n points."""
    generator = torch.Generator().manual_seed(1)
    return ToyData(*torch.randn(batches, n, 2, generator=generator))


def images(n: int = 10, batches: int = 4) -> ToyData:
    """Return batches of n images (1, 8, 8) in [-1, 1]."""
    generator = torch.Generator().manual_seed(1)
    return ToyData(*(torch.rand(batches, n, 1, 8, 8, generator=generator) * 2 - 1))


def toy_trainer(folder: Path | str, **options: Any) -> Trainer:
    """Return a quiet trainer on one CPU process."""
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "max_steps": 2,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": folder,
    }
    return Trainer(**defaults | options)


def sgd(parameters: Any) -> SGD:
    """Return an optimiser that does not amplify rounding, as Adam does near zero gradients."""
    return SGD(parameters, lr=0.05)


def flat(module: nn.Module) -> Tensor:
    """Return all weights as one vector, detached."""
    return torch.cat([p.detach().flatten() for p in module.parameters()]).clone()
