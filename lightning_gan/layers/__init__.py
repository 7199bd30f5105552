"""Modules smaller than a network."""

from lightning_gan.layers.conditioning import append_labels
from lightning_gan.layers.mixing import mixing_layers
from lightning_gan.layers.normalization import Normalization, normalization
from lightning_gan.layers.residual import DownBlock, UpBlock

__all__ = [
    "DownBlock",
    "Normalization",
    "UpBlock",
    "append_labels",
    "mixing_layers",
    "normalization",
]
