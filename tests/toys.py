"""Small networks, data and trainers for tests."""

from collections.abc import Callable
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
    MixtureGenerator,
    MLPDiscriminator,
    MLPGenerator,
)

VARIANTS: dict[str, type[AdversarialModule]] = {
    name: variant
    for name in lightning_gan.__all__
    if isinstance(variant := getattr(lightning_gan, name), type)
    and issubclass(variant, AdversarialModule)
}


NUM_CLASSES, NUM_GENERATORS = 10, 3


def toy_networks(num_classes: int | None = None, **discriminator: Any) -> dict[str, Any]:
    """Return a pair for points; other arguments are the discriminator's, before ``num_classes``."""
    options: Any = {"num_classes": num_classes} | discriminator.pop("instead", {})
    return {
        "generator": MLPGenerator(hidden=(16,), num_classes=num_classes),
        "discriminator": MLPDiscriminator(hidden=(16,), **options, **discriminator),
    }


def image_networks(
    num_classes: int | None = None, norm: Any = "layer", **discriminator: Any
) -> dict[str, Any]:
    """Return a convolutional pair for (1, 8, 8) images; the generator has batch normalisation."""
    sizes: Any = {"image_size": 8, "image_channels": 1, "base_channels": 4}
    options: Any = {"num_classes": num_classes} | discriminator.pop("instead", {})
    return {
        "generator": DCGANGenerator(latent_dim=4, num_classes=num_classes, **sizes),
        "discriminator": DCGANDiscriminator(norm=norm, **sizes, **options, **discriminator),
    }


Pair = Callable[..., dict[str, Any]]


def _auxiliary(pair: Pair) -> dict[str, Any]:
    return pair(NUM_CLASSES, instead={"num_classes": None}, num_outputs=1 + NUM_CLASSES)


def mixture_networks(pair: Pair, num_classes: int | None = None) -> dict[str, Any]:
    """Return a mixture of generators and a discriminator that tells them apart."""
    networks = pair(num_classes, num_outputs=1 + NUM_GENERATORS)
    return networks | {"generator": MixtureGenerator(networks["generator"], NUM_GENERATORS)}


# What a variant may ask of its networks, simplest first.
KITS: list[Callable[[Pair], dict[str, Any]]] = [
    lambda pair: pair(),
    mixture_networks,
    lambda pair: pair(NUM_CLASSES),
    _auxiliary,
    lambda pair: pair(NUM_CLASSES, conditioning="projection"),
    lambda pair: mixture_networks(pair, NUM_CLASSES),
]


def networks_for(
    variant: type[AdversarialModule], pair: Pair = toy_networks, conditional: bool = False
) -> dict[str, Any]:
    """Return the simplest networks that a variant accepts, so that none has to be listed."""
    refusals = []
    for kit in KITS:
        if conditional and kit(pair)["generator"].num_classes is None:
            continue
        try:
            variant(**kit(pair))
        except ValueError as error:
            refusals.append(str(error))
        else:
            return kit(pair)
    raise AssertionError(f"{variant.__name__} accepts no networks: {refusals}")


class ToyData(LightningDataModule):
    """The given batches, in order; every rank its own."""

    def __init__(self, *batches: Any) -> None:
        super().__init__()
        self.batches = list(batches)

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.batches, batch_size=None)  # type: ignore[arg-type]


class ValidatedData(ToyData):
    """The same batches held out, too."""

    def val_dataloader(self) -> DataLoader[Any]:
        return self.train_dataloader()


def points(n: int = 20, batches: int = 4) -> ToyData:
    """Return batches of n points."""
    generator = torch.Generator().manual_seed(1)
    return ToyData(*torch.randn(batches, n, 2, generator=generator))


def images(n: int = 10, batches: int = 4) -> ToyData:
    """Return batches of n images (1, 8, 8) in [-1, 1]."""
    generator = torch.Generator().manual_seed(1)
    return ToyData(*(torch.rand(batches, n, 1, 8, 8, generator=generator) * 2 - 1))


def labelled(data: ToyData) -> ToyData:
    """Return the batches with classes."""
    return ToyData(*((batch, torch.arange(len(batch)) % NUM_CLASSES) for batch in data.batches))


def config_of(variant: type[AdversarialModule], dataset: str) -> Path:
    """Return the committed configuration that trains a variant with its defaults' name."""
    folder = Path(__file__).parents[1] / "configs" / dataset
    [path] = [
        path
        for path in sorted(folder.glob("*.yaml"))
        if f"class_path: lightning_gan.{variant.__name__}\n" in path.read_text()
        and path.stem.replace("_", "") == variant.__name__.lower()
    ]
    return path


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


def assert_same(actual: Any, expected: Any, place: str = "") -> None:
    """Compare parts of checkpoints bit by bit."""
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys(), place
        for key, value in expected.items():
            assert_same(actual[key], value, f"{place}[{key!r}]")
    elif isinstance(expected, list | tuple):
        assert len(actual) == len(expected), place
        for i, (a, e) in enumerate(zip(actual, expected, strict=True)):
            assert_same(a, e, f"{place}[{i}]")
    elif isinstance(expected, Tensor):
        torch.testing.assert_close(actual, expected, rtol=0, atol=0, msg=lambda m: f"{place}: {m}")
    else:
        assert actual == expected, place
