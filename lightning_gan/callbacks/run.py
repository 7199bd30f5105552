"""What callbacks ask a run for: its folder, its real samples, and what describes them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule, Trainer
from lightning.fabric.utilities.data import sized_len
from lightning.pytorch.utilities.model_helpers import is_overridden

from lightning_gan.extractors import Extractor, Points
from lightning_gan.metrics.real_samples import (
    LoaderOfSamples,
    RealSamples,
    SampleSet,
    SetOfSamples,
)


def run_folder(trainer: Trainer) -> Path:
    """Return the run's folder, for which all processes must ask together."""
    return Path(trainer.log_dir or trainer.default_root_dir)


def extractor_of(data: Any) -> Extractor | str:
    """Return what describes a data module's samples, unless something else is asked for."""
    name = getattr(data, "extractor", "inception")
    if name == "points" and hasattr(data, "centers"):
        return Points(data.centers, data.std or None)
    return str(name)


def first_of(loaders: Any) -> Any:
    """Return the first of what a run validates with; None of none, of empty ones and of a mapping.

    Args:
        loaders: A loader of any kind, also one without a length, a list of them, or a mapping,
            whose loaders have no order.
    """
    loader = next(iter(loaders), None) if isinstance(loaders, list | tuple) else loaders
    if loader is None or isinstance(loader, Mapping) or sized_len(loader) == 0:
        return None
    return loader


def real_samples(
    trainer: Trainer, count: int | None, batch_size: int, device: torch.device
) -> tuple[RealSamples, RealSamples | None]:
    """Return the training samples of a run, and held-out ones where there are any.

    Args:
        trainer: The run's, with its data set up.
        count: How many samples of either; None takes all.
        batch_size: Samples read at a time.
        device: Where processes exchange what they know.

    Raises:
        ValueError: If the run has no training samples, as a test with a loader alone.
    """
    data = getattr(trainer, "datamodule", None)
    ranks = (trainer.world_size, trainer.global_rank)
    train, held_out = getattr(data, "train_set", None), getattr(data, "test_set", None)
    if isinstance(train, SampleSet):
        own = SetOfSamples(train, count, batch_size, ranks)
        if not isinstance(held_out, SampleSet):
            return own, None
        return own, SetOfSamples(held_out, count, batch_size, ranks)
    loader: Any = trainer.train_dataloader
    others: Any = trainer.val_dataloaders
    sharded = loader is not None
    if loader is None and data is not None:  # as in a test: Lightning has not seen them
        loader = data.train_dataloader()
        if is_overridden("val_dataloader", data, LightningDataModule):
            others = data.val_dataloader()
    if loader is None:
        raise ValueError(
            "Expected the training data to compare with, got none. Give the Trainer a data module "
            "that has a 'train_dataloader'."
        )
    others = first_of(others)
    share = None if count is None else -(-count // trainer.world_size)
    each = (share, device, (1, 0) if sharded else ranks)
    held = None if others is None else LoaderOfSamples(others, *each)
    return LoaderOfSamples(loader, *each), held
