"""A training within a trial, without a word or a file."""

import tempfile
import warnings
from collections.abc import Sequence
from typing import Any

from lightning import Callback, LightningDataModule, Trainer
from lightning.fabric.utilities.warnings import PossibleUserWarning

from lightning_gan.gans import AdversarialModule


def train(
    model: AdversarialModule,
    data: LightningDataModule | Any,
    steps: int,
    callbacks: Sequence[Callback] = (),
    **options: Any,
) -> None:
    """Train a model, and leave nothing behind but its weights.

    Args:
        model: Whose networks are trained; its random numbers are those of ``seed_everything``.
        data: On what; a data module or a loader.
        steps: Iterations of the generator.
        callbacks: Whatever looks on.
        **options: Of the Trainer, such as ``precision``.
    """
    shared: dict[str, Any] = {"accelerator": "cpu", "devices": 1, "limit_val_batches": 0}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", PossibleUserWarning)  # advice on workers and intervals
        warnings.filterwarnings("ignore", "After [0-9,]+ generator iterations")  # alarms: a result
        Trainer(
            max_steps=steps,
            callbacks=list(callbacks),
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
            **shared | options,
        ).fit(model, data)
