"""What a run wants of Lightning and torch that neither does by itself."""

import os
import warnings

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.strategies import Strategy
from torch import nn

from lightning_gan.training.checkpoint_io import DurableCheckpointIO


def prepare_runtime(strategy: Strategy, networks: nn.Module, *, fallback: bool) -> None:
    """Make checkpoints durable, lay out convolutions for speed, and silence what is meant here.

    Args:
        strategy: The strategy of the run; a checkpoint plugin of the user's own is left in place.
        networks: Their convolutions become channels-last, in place.
        fallback: Whether an older checkpoint may stand in for a damaged one.
    """
    if type(strategy.checkpoint_io) is TorchCheckpointIO:
        strategy.checkpoint_io = DurableCheckpointIO(fallback)
    for module in networks.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.to(memory_format=torch.channels_last)  # convolves up to 1.3 times as fast
    if strategy.root_device.type == "cpu":
        # Lightning's setting, for forking. On a CPU it makes each step of Adam look for GPUs.
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
    # Weights are saved after the step, batches are checked whoever loads them, and what is logged
    # are means over iterations, which need not be of one epoch.
    warnings.filterwarnings("ignore", "Using ModelCheckpoint with manual optimization")
    warnings.filterwarnings("ignore", "You have overridden `on_before_batch_transfer`")
    warnings.filterwarnings("ignore", "The number of training batches .* logging interval")
    warnings.filterwarnings("ignore", ".*LeafSpec")  # Lightning's own use of what is deprecated


def silence_jsonargparse() -> None:
    """Silence deprecations in Lightning's own use of jsonargparse, which no user can mend."""
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
