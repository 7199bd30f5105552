"""The parts of training that every variant shares, each usable alone."""

from lightning_gan.training.augmentation import Augmentation, InstanceNoise
from lightning_gan.training.batch import Batch
from lightning_gan.training.checkpoint_io import (
    DurableCheckpointIO,
    read_checkpoint,
    resolve_checkpoint,
    verify_checkpoint,
)
from lightning_gan.training.optimizers import GANAdam
from lightning_gan.training.penalties import DRAGAN, R1, R2, Drift, GradientPenalty, Penalty
from lightning_gan.training.replay import ExperienceReplay
from lightning_gan.training.sealed_file import CheckpointError

__all__ = [
    "DRAGAN",
    "R1",
    "R2",
    "Augmentation",
    "Batch",
    "CheckpointError",
    "Drift",
    "DurableCheckpointIO",
    "ExperienceReplay",
    "GANAdam",
    "GradientPenalty",
    "InstanceNoise",
    "Penalty",
    "read_checkpoint",
    "resolve_checkpoint",
    "verify_checkpoint",
]
