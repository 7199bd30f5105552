"""Normalisation by name, for network constructors and their YAML."""

from typing import Literal

from torch import nn

Normalization = Literal["batch", "instance", "layer", "none"]


def normalization(kind: Normalization, channels: int) -> nn.Module:
    """Build a normalisation of feature maps.

    Args:
        kind: ``"batch"`` mixes the samples of a batch, so it is unfit for a discriminator under a
            gradient penalty; ``"instance"`` and ``"layer"`` treat every sample by itself.
        channels: Number of channels of the feature map.

    Returns:
        A module that maps (N, ``channels``, H, W) to the same shape.
    """
    match kind:
        case "batch":
            return nn.BatchNorm2d(channels)
        case "instance":
            return nn.InstanceNorm2d(channels, affine=True)
        case "layer":
            return nn.GroupNorm(1, channels)  # one group: mean and variance over C, H and W
        case "none":
            return nn.Identity()
