"""Modules smaller than a network."""

from lightning_gan.layers.attention import SelfAttention, attention_maps
from lightning_gan.layers.bottleneck import Bottleneck
from lightning_gan.layers.conditioning import (
    ConditionalBatchNorm2d,
    ConditionalSequential,
    VectorBatchNorm2d,
    append_labels,
    apply,
)
from lightning_gan.layers.equalized import equalize_learning_rate, redraw_equalized
from lightning_gan.layers.lipschitz import (
    empirical_slope,
    layer_norms,
    lipschitz_bound,
    lipschitz_normalize,
)
from lightning_gan.layers.maxout import Maxout
from lightning_gan.layers.minibatch import MinibatchDiscrimination, MinibatchStdDev
from lightning_gan.layers.mixing import mixing_layers
from lightning_gan.layers.modes import evaluating
from lightning_gan.layers.noise import MultiplicativeNoise, add_noise
from lightning_gan.layers.normalization import Normalization, PixelNorm, normalization
from lightning_gan.layers.pooling import SumPool
from lightning_gan.layers.resampling import SmoothDownsample, SmoothUpsample
from lightning_gan.layers.residual import DownBlock, LipschitzDownBlock, UpBlock
from lightning_gan.layers.spectral import spectral_normalize
from lightning_gan.layers.standing import standing_statistics

__all__ = [
    "Bottleneck",
    "ConditionalBatchNorm2d",
    "ConditionalSequential",
    "DownBlock",
    "LipschitzDownBlock",
    "Maxout",
    "MinibatchDiscrimination",
    "MinibatchStdDev",
    "MultiplicativeNoise",
    "Normalization",
    "PixelNorm",
    "SelfAttention",
    "SmoothDownsample",
    "SmoothUpsample",
    "SumPool",
    "UpBlock",
    "VectorBatchNorm2d",
    "add_noise",
    "append_labels",
    "apply",
    "attention_maps",
    "empirical_slope",
    "equalize_learning_rate",
    "evaluating",
    "layer_norms",
    "lipschitz_bound",
    "lipschitz_normalize",
    "mixing_layers",
    "normalization",
    "redraw_equalized",
    "spectral_normalize",
    "standing_statistics",
]
