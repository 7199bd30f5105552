"""The growing pair of ProGAN, for images from 4x4 to any power of two."""

from itertools import pairwise

from torch import Tensor, nn

from lightning_gan.functional import enlarge, shrink
from lightning_gan.layers import (
    MinibatchStdDev,
    PixelNorm,
    equalize_learning_rate,
    redraw_equalized,
)
from lightning_gan.networks.base import (
    Discriminator,
    DiscriminatorConditioning,
    Generator,
    check_positive,
)
from lightning_gan.networks.growing import Growing


class ProGANGenerator(Growing, Generator):
    r"""Grow a latent to 4x4 and double that, block by block, as far as the network has grown.

    Every side but 4 has a block: nearest-neighbour upsampling, then two 3x3 convolutions, each
    before LeakyReLU(0.2) and a pixel norm. The latent is normalised like a pixel. For each side a
    1x1 convolution makes an image; only that of the current one is in use, and while it fades in
    that of the side below:

    .. math:: (1 - \alpha)\,\mathrm{enlarge}(\mathrm{rgb}_{r/2}(h)) + \alpha\,
        \mathrm{rgb}_r(\mathrm{block}_r(h))

    The learning rate of all weights is equalised. Images are not bounded in training, as in the
    paper; in evaluation mode they are clipped to [-1, 1], as whatever is sampled has to be.

    Args:
        latent_dim: Length of a latent.
        image_size: Side of the images that it grows to, a power of 2 and at least 4.
        image_channels: Channels of the image.
        fmap_base: Maps of side s have ``2 * fmap_base / s`` channels,
        fmap_max: but no more than this.
        num_classes: Number of classes of a conditional generator. They are appended to the latent.

    Raises:
        ValueError: If the image size is no power of 2, or a number too small.

    Example:
        >>> import torch
        >>> generator = ProGANGenerator(fmap_base=64, fmap_max=8)
        >>> generator.grow(8, alpha=0.5)
        >>> generator(torch.zeros(2, 512)).shape
        torch.Size([2, 3, 8, 8])

    Reference:
        Karras et al., "Progressive Growing of GANs", ICLR 2018,
        https://arxiv.org/abs/1710.10196, table 2. With ``image_size=1024`` it has 23.1 million
        weights. The authors have ``fmap_base=4096``, ``fmap_max=128`` and ``latent_dim=128`` for
        CIFAR-10.
    """

    def __init__(
        self,
        latent_dim: int = 512,
        image_size: int = 32,
        image_channels: int = 3,
        fmap_base: int = 8192,
        fmap_max: int = 512,
        num_classes: int | None = None,
    ) -> None:
        sides = _sides(image_size)
        shape = (image_channels, image_size, image_size)
        super().__init__(sides, latent_dim, shape, num_classes)
        widths = [_width(side, fmap_base, fmap_max) for side in sides]
        start = nn.ConvTranspose2d(self.latent_channels, widths[0], 4)
        first = (*_normalized(start), *_normalized(_conv(widths[0], widths[0])))
        self.blocks = nn.ModuleList([nn.Sequential(PixelNorm(), *first)])
        for before, width in pairwise(widths):
            self.blocks.append(
                nn.Sequential(
                    nn.Upsample(scale_factor=2),
                    *_normalized(_conv(before, width)),
                    *_normalized(_conv(width, width)),
                )
            )
        self.to_image = nn.ModuleList([nn.Conv2d(width, image_channels, 1) for width in widths])
        equalize_learning_rate(self.to_image, gain=1.0)
        equalize_learning_rate(self)

    def layers(self, z: Tensor) -> Tensor:  # type: ignore[override]
        """Map latents with what was appended to them to images."""
        stage = self.resolutions.index(self.resolution)
        h = z[:, :, None, None]
        for i in range(stage):
            h = self.blocks[i](h)
        images: Tensor = self.to_image[stage](self.blocks[stage](h))
        if self.fading:
            images = self.fade(enlarge(self.to_image[stage - 1](h), self.resolution), images)
        return images if self.training else images.clamp(-1, 1)

    def initialize(self, part: nn.Module | None = None) -> None:
        """Draw weights anew, of unit variance; see :meth:`Generator.initialize`."""
        redraw_equalized(self if part is None else part)


class ProGANDiscriminator(Growing, Discriminator):
    r"""Halve an image down to 4x4, block by block, from the side that the network has grown to.

    The generator's mirror image: for each side a 1x1 convolution reads an image, and a block of two
    3x3 convolutions, each before LeakyReLU(0.2), ends in average pooling. While a side fades in,
    what its block makes is mixed with what is read of the shrunken image:

    .. math:: (1 - \alpha)\,\mathrm{read}_{r/2}(\mathrm{shrink}(x)) + \alpha\,
        \mathrm{block}_r(\mathrm{read}_r(x))

    At 4x4 the deviation within groups of samples is appended. The learning rate of all weights is
    equalised, but for the vectors of classes that are projected on.

    Args:
        image_size: Side of the images that it grows to, a power of 2 and at least 4.
        image_channels: Channels of the image.
        fmap_base: Maps of side s have ``2 * fmap_base / s`` channels,
        fmap_max: but no more than this.
        num_classes: Number of classes of a conditional discriminator.
        conditioning: How the labels enter: ``"concat"`` as channels of the images,
            ``"projection"`` through the head.
        num_outputs: Logits per sample.
        group_size: Samples whose deviation is appended; see
            :class:`~lightning_gan.layers.MinibatchStdDev`. Under ddp they are of one process.

    Raises:
        ValueError: If the image size is no power of 2, a number too small, or an option does not
            fit.

    Example:
        >>> import torch
        >>> discriminator = ProGANDiscriminator(fmap_base=64, fmap_max=8)
        >>> discriminator.grow(8, alpha=0.5)
        >>> discriminator(torch.zeros(2, 3, 8, 8)).shape
        torch.Size([2])

    Reference:
        Karras et al., "Progressive Growing of GANs", ICLR 2018,
        https://arxiv.org/abs/1710.10196, table 2.
    """

    def __init__(
        self,
        image_size: int = 32,
        image_channels: int = 3,
        fmap_base: int = 8192,
        fmap_max: int = 512,
        num_classes: int | None = None,
        conditioning: DiscriminatorConditioning = "concat",
        num_outputs: int = 1,
        group_size: int = 4,
    ) -> None:
        sides = _sides(image_size)
        shape = (image_channels, image_size, image_size)
        super().__init__(sides, shape, num_classes, conditioning, num_outputs)
        narrow, *widths = [_width(side, fmap_base, fmap_max) for side in (2, *sides)]
        self.from_image = nn.ModuleList(
            [_activated(nn.Conv2d(self.channels, width, 1)) for width in widths]
        )
        last = nn.Sequential(
            MinibatchStdDev(group_size),
            *_activated(_conv(widths[0] + 1, widths[0])),
            *_activated(nn.Conv2d(widths[0], narrow, 4)),
            nn.Flatten(),
        )
        self.blocks = nn.ModuleList([last])
        for after, width in pairwise(widths):
            convolutions = (*_activated(_conv(width, width)), *_activated(_conv(width, after)))
            self.blocks.append(nn.Sequential(*convolutions, nn.AvgPool2d(2)))
        self.head = self.build_head(narrow)
        equalize_learning_rate(self.head, gain=1.0)
        equalize_learning_rate(self)

    def layers(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Map images with what was appended to them to features (N, F)."""
        stage = self.resolutions.index(self.resolution)
        h: Tensor = self.blocks[stage](self.from_image[stage](x))
        if self.fading:
            h = self.fade(self.from_image[stage - 1](shrink(x, self.resolution // 2)), h)
        for i in reversed(range(stage)):
            h = self.blocks[i](h)
        return h


def _sides(image_size: int) -> tuple[int, ...]:
    """Return 4, 8, ... up to the image's side."""
    if image_size < 4 or image_size & (image_size - 1):
        raise ValueError(
            f"Expected 'image_size' to be a power of 2 and at least 4, got {image_size}."
        )
    return tuple(2**i for i in range(2, image_size.bit_length()))


def _width(side: int, fmap_base: int, fmap_max: int) -> int:
    """Return the channels of maps of a side."""
    check_positive("fmap_max", fmap_max)
    width = min(2 * fmap_base // side, fmap_max)
    if width < 1:
        raise ValueError(
            f"Expected 'fmap_base' to leave a channel to maps of {side}x{side}, got {fmap_base}."
        )
    return width


def _conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


def _activated(layer: nn.Module) -> nn.Sequential:
    return nn.Sequential(layer, nn.LeakyReLU(0.2))


def _normalized(layer: nn.Module) -> nn.Sequential:
    return nn.Sequential(layer, nn.LeakyReLU(0.2), PixelNorm())
