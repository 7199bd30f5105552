"""The parts of training that every variant shares, each usable alone."""

from lightning_gan.training.ada import ADA, AugmentationPipeline
from lightning_gan.training.augmentation import Augmentation, InstanceNoise
from lightning_gan.training.batch import Batch
from lightning_gan.training.checkpoint_io import (
    DurableCheckpointIO,
    read_checkpoint,
    resolve_checkpoint,
    verify_checkpoint,
)
from lightning_gan.training.consensus import ConsensusOptimization
from lightning_gan.training.diffaugment import DiffAugment
from lightning_gan.training.optimizers import GANAdam, OptimisticAdam, OptimisticSGD
from lightning_gan.training.penalties import R1, R2, DRAGANPenalty, Drift, GradientPenalty
from lightning_gan.training.penalty import Game, LogitPenalty, Penalty, Terms
from lightning_gan.training.regularizers import (
    ConsistencyRegularization,
    FeatureMatching,
    LatentConsistency,
    LatentDiversity,
    LeCam,
    OrthogonalRegularization,
)
from lightning_gan.training.replay import ExperienceReplay
from lightning_gan.training.schedules import (
    CosineSchedule,
    GeometricSchedule,
    LinearSchedule,
    Schedule,
)
from lightning_gan.training.sealed_file import CheckpointError
from lightning_gan.training.unrolling import unroll

__all__ = [
    "ADA",
    "R1",
    "R2",
    "Augmentation",
    "AugmentationPipeline",
    "Batch",
    "CheckpointError",
    "ConsensusOptimization",
    "ConsistencyRegularization",
    "CosineSchedule",
    "DRAGANPenalty",
    "DiffAugment",
    "Drift",
    "DurableCheckpointIO",
    "ExperienceReplay",
    "FeatureMatching",
    "GANAdam",
    "Game",
    "GeometricSchedule",
    "GradientPenalty",
    "InstanceNoise",
    "LatentConsistency",
    "LatentDiversity",
    "LeCam",
    "LinearSchedule",
    "LogitPenalty",
    "OptimisticAdam",
    "OptimisticSGD",
    "OrthogonalRegularization",
    "Penalty",
    "Schedule",
    "Terms",
    "read_checkpoint",
    "resolve_checkpoint",
    "unroll",
    "verify_checkpoint",
]
