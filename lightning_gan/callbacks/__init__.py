"""Callbacks, one a file; they know a model only through the interface of ``gans.base``."""

from lightning_gan.callbacks.checkpoint import BestCheckpoint, GANCheckpoint
from lightning_gan.callbacks.collapse_guard import CollapseGuard
from lightning_gan.callbacks.diagnostics import Diagnostics
from lightning_gan.callbacks.ema import GeneratorEMA
from lightning_gan.callbacks.evaluation import Evaluation
from lightning_gan.callbacks.lookahead import LookaheadMinimax
from lightning_gan.callbacks.progressive_growing import ProgressiveGrowing
from lightning_gan.callbacks.sample_grid import SampleGrid

__all__ = [
    "BestCheckpoint",
    "CollapseGuard",
    "Diagnostics",
    "Evaluation",
    "GANCheckpoint",
    "GeneratorEMA",
    "LookaheadMinimax",
    "ProgressiveGrowing",
    "SampleGrid",
]
