"""The convolutional pair of DCGAN at any power-of-two size."""

from itertools import pairwise

from torch import nn

from lightning_gan.layers import Normalization, normalization
from lightning_gan.networks.base import Discriminator, Generator, check_positive, image_shape

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
        num_classes: Number of classes of a conditional generator.

    Raises:
        ValueError: If the image size is none of those above.

    Example:
        >>> import torch
        >>> DCGANGenerator(image_size=(8, 16), image_channels=3)(torch.zeros(2, 100)).shape
        torch.Size([2, 3, 8, 16])

    Reference:
        Radford et al., "Unsupervised Representation Learning with Deep Convolutional GANs",
        ICLR 2016, https://arxiv.org/abs/1511.06434, figure 1 (``image_size=64``,
        ``base_channels=128``).
    """

    def __init__(
        self,
        latent_dim: int = 100,
        image_size: int | tuple[int, int] = 32,
        image_channels: int = 3,
        base_channels: int = 64,
        max_channels: int = 1024,
        num_classes: int | None = None,
    ) -> None:
        shape = image_shape(image_size, image_channels)
        super().__init__(latent_dim, shape, num_classes)
        widths = _widths(shape, base_channels, max_channels)[::-1]
        self.layers = nn.Sequential(
            nn.Unflatten(1, (self.latent_channels, 1, 1)),
            nn.ConvTranspose2d(self.latent_channels, widths[0], _smallest_map(shape), bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        )
        for wide, narrow in pairwise(widths):
            self.layers.extend(
                [
                    nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1, bias=False),
                    nn.BatchNorm2d(narrow),
                    nn.ReLU(),
                ]
            )
        self.layers.append(nn.ConvTranspose2d(widths[-1], shape[0], 4, stride=2, padding=1))
        self.layers.append(nn.Tanh())
        self.apply(_initialize)


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
        num_classes: Number of classes of a conditional discriminator.

    Raises:
        ValueError: If the image size is none of those above.

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
        num_classes: int | None = None,
    ) -> None:
        shape = image_shape(image_size, image_channels)
        super().__init__(shape, num_classes)
        widths = _widths(shape, base_channels, max_channels)
        self.layers = nn.Sequential(
            nn.Conv2d(self.channels, widths[0], 4, stride=2, padding=1), nn.LeakyReLU(0.2)
        )
        for narrow, wide in pairwise(widths):
            self.layers.extend(
                [
                    nn.Conv2d(narrow, wide, 4, stride=2, padding=1, bias=norm == "none"),
                    normalization(norm, wide),
                    nn.LeakyReLU(0.2),
                ]
            )
        self.layers.append(nn.Conv2d(widths[-1], 1, _smallest_map(shape)))
        self.apply(_initialize)


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


def _initialize(module: nn.Module) -> None:
    """Draw weights from N(0, 0.02), as in section 4 of the paper."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, std=0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, mean=1.0, std=0.02)
