"""The parts of training that every variant shares, each usable alone."""

from lightning_gan.training.checkpoint_io import (
    DurableCheckpointIO,
    read_checkpoint,
    resolve_checkpoint,
    verify_checkpoint,
)
from lightning_gan.training.optimizers import GANAdam
from lightning_gan.training.penalties import R1, R2, GradientPenalty, Penalty
from lightning_gan.training.sealed_file import CheckpointError

__all__ = [
    "R1",
    "R2",
    "CheckpointError",
    "DurableCheckpointIO",
    "GANAdam",
    "GradientPenalty",
    "Penalty",
    "read_checkpoint",
    "resolve_checkpoint",
    "verify_checkpoint",
]
