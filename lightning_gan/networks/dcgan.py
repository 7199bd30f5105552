"""The convolutional pair of DCGAN at any power-of-two size."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from lightning_gan.layers import ConditionalSequential, Normalization, SelfAttention, normalization
from lightning_gan.networks.base import (
    Discriminator,
    DiscriminatorConditioning,
    Generator,
    GeneratorConditioning,
    check_attention,
    check_positive,
    image_shape,
)
from lightning_gan.networks.heads import Minibatch

SMALLEST_SIDE = 4


class DCGANGenerator(Generator):
    """Upsample a 4x4 map to an image with strided transposed convolutions.

    Args:
        latent_dim: Length of a latent.
        image_size: Side of the image, or (H, W): the shorter side a power of two of at least 8,
            the longer one a multiple of it.
        image_channels: Channels of the image.
        base_channels: Channels of the last hidden map. They double with every halving of the
            resolution, up to ``max_channels``.
        max_channels: Bound on the channels of any map.
        norm: Normalisation of all maps but the image. ``"batch"`` as in the paper.
        attention: Shorter sides (4, 8, ... up to half the image's) of the maps on which
            self-attention follows.
        num_classes: Number of classes of a conditional generator.
        conditioning: How the labels enter: ``"concat"`` as channels of the latents, ``"norm"``
            through batch normalisation with scales and shifts of each class.

    Raises:
        ValueError: If the image size is none of those above, or if an option does not fit.

    Example:
        >>> import torch
        >>> DCGANGenerator(image_size=(8, 16), image_channels=3)(torch.zeros(2, 100)).shape
        torch.Size([2, 3, 8, 16])

    Reference:
        Radford et al., "Unsupervised Representation Learning with Deep Convolutional GANs",
        ICLR 2016, https://arxiv.org/abs/1511.06434, figure 1 (``image_size=64``,
        ``base_channels=128``); Zhang et al., "Self-Attention Generative Adversarial Networks",
        ICML 2019, https://arxiv.org/abs/1805.08318.
    """

    def __init__(
        self,
        latent_dim: int = 100,
        image_size: int | tuple[int, int] = 32,
        image_channels: int = 3,
        base_channels: int = 64,
        max_channels: int = 1024,
        norm: Normalization = "batch",
        attention: Sequence[int] = (),
        num_classes: int | None = None,
        conditioning: GeneratorConditioning = "concat",
    ) -> None:
        shape = image_shape(image_size, image_channels)
        super().__init__(latent_dim, shape, num_classes, conditioning)
        widths = _widths(shape, base_channels, max_channels)[::-1]
        sides = [SMALLEST_SIDE * 2**i for i in range(len(widths))]
        check_attention(attention, sides)
        classes = num_classes if conditioning == "norm" else None
        bias = needs_bias(norm)
        first = nn.ConvTranspose2d(self.latent_channels, widths[0], _smallest_map(shape), bias=bias)
        others = [
            nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1, bias=bias)
            for wide, narrow in pairwise(widths)
        ]
        self.layers = ConditionalSequential(nn.Unflatten(1, (self.latent_channels, 1, 1)))
        for side, width, layer in zip(sides, widths, [first, *others], strict=True):
            self.layers.extend([layer, normalization(norm, width, classes), nn.ReLU()])
            if side in attention:
                self.layers.append(SelfAttention(width))
        self.layers.append(nn.ConvTranspose2d(widths[-1], shape[0], 4, stride=2, padding=1))
        self.layers.append(nn.Tanh())
        self.apply(draw_weights)

    def initialize(self, part: nn.Module | None = None) -> None:
        """Draw weights anew, as in section 4 of the paper; see :meth:`Generator.initialize`."""
        super().initialize(part)
        (self if part is None else part).apply(draw_weights)


class DCGANDiscriminator(Discriminator):
    """Downsample an image to a 4x4 map, and that to a logit, with strided convolutions.

    Args:
        image_size: Side of the image, or (H, W): the shorter side a power of two of at least 8,
            the longer one a multiple of it.
        image_channels: Channels of the image.
        base_channels: Channels of the first map. They double with every halving of the
            resolution, up to ``max_channels``.
        max_channels: Bound on the channels of any map.
        norm: Normalisation of all maps but the first. ``"batch"`` as in the paper; a gradient
            penalty needs another one.
        attention: Shorter sides (half the image's down to 4) of the maps on which self-attention
            follows.
        num_classes: Number of classes of a conditional discriminator.
        conditioning: How the labels enter: ``"concat"`` as channels of the images,
            ``"projection"`` through the head.
        num_outputs: Logits per sample.
        minibatch: Layer in front of the head that looks across the batch.

    Raises:
        ValueError: If the image size is none of those above, or if an option does not fit.

    Reference:
        Radford et al., "Unsupervised Representation Learning with Deep Convolutional GANs",
        ICLR 2016, https://arxiv.org/abs/1511.06434.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] = 32,
        image_channels: int = 3,
        base_channels: int = 64,
        max_channels: int = 1024,
        norm: Normalization = "batch",
        attention: Sequence[int] = (),
        num_classes: int | None = None,
        conditioning: DiscriminatorConditioning = "concat",
        num_outputs: int = 1,
        minibatch: Minibatch = "none",
    ) -> None:
        shape = image_shape(image_size, image_channels)
        super().__init__(shape, num_classes, conditioning, num_outputs, minibatch)
        widths = _widths(shape, base_channels, max_channels)
        sides = [min(shape[1:]) // 2 ** (i + 1) for i in range(len(widths))]
        check_attention(attention, sides)
        self.layers = nn.Sequential()
        for side, (narrow, wide) in zip(sides, pairwise([self.channels, *widths]), strict=True):
            first = side == sides[0]
            bias = first or needs_bias(norm)
            self.layers.append(nn.Conv2d(narrow, wide, 4, stride=2, padding=1, bias=bias))
            if not first:
                self.layers.append(normalization(norm, wide))
            self.layers.append(nn.LeakyReLU(0.2))
            if side in attention:
                self.layers.append(SelfAttention(wide))
        self.layers.append(nn.Flatten())
        self.head = self.build_head(widths[-1] * math.prod(_smallest_map(shape)))
        self.apply(draw_weights)


def needs_bias(norm: Normalization) -> bool:
    """Tell whether a convolution needs a bias because the normalisation after it has no shift."""
    return norm in ("pixel", "none")


def draw_weights(module: nn.Module) -> None:
    """Draw one layer's weights from N(0, 0.02), as in section 4 of the paper."""
    match module:
        case nn.Conv2d() | nn.ConvTranspose2d() | nn.Linear() | nn.Embedding():
            nn.init.normal_(module.weight, std=0.02)
        case nn.BatchNorm2d(affine=True):
            nn.init.normal_(module.weight, mean=1.0, std=0.02)


def _smallest_map(shape: tuple[int, int, int]) -> tuple[int, int]:
    """Return (H, W) of the map whose shorter side is 4."""
    _, height, width = shape
    scale = min(height, width) // SMALLEST_SIDE
    return height // scale, width // scale


def _widths(shape: tuple[int, int, int], base: int, bound: int) -> list[int]:
    """Return the channels of the hidden maps, from the finest to the 4x4 one."""
    check_positive("base_channels", base)
    check_positive("max_channels", bound)
    _, height, width = shape
    short, long = sorted((height, width))
    if short < 2 * SMALLEST_SIDE or short & (short - 1) or long % short:
        raise ValueError(
            "Expected 'image_size' to have a power of two of at least 8 as its shorter side and a "
            f"multiple of it as its longer side, got {(height, width)}."
        )
    halvings = (short // SMALLEST_SIDE).bit_length() - 1
    return [min(base * 2**i, bound) for i in range(halvings)]
