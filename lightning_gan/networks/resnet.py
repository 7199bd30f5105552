"""The residual pair of WGAN-GP and SNGAN at 32, 64 and 128."""

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from lightning_gan.layers import DownBlock, Normalization, UpBlock
from lightning_gan.networks.base import Discriminator, Generator, check_positive

# Channels of the maps from 4x4 to full size, as multiples of the generator's base channels.
_GENERATOR_WIDTHS = {
    32: (1, 1, 1, 1),
    64: (16, 8, 4, 2, 1),
    128: (16, 16, 8, 4, 2, 1),
}
# Per block of the discriminator: channels as a multiple of its base, and whether it halves the map.
_DISCRIMINATOR_BLOCKS = {
    32: ((1, True), (1, True), (1, False), (1, False)),
    64: ((1, True), (2, True), (4, True), (8, True), (16, True)),
    128: ((1, True), (2, True), (4, True), (8, True), (16, True), (16, False)),
}


class ResNetGenerator(Generator):
    """Grow a 4x4 map to an image with residual blocks.

    Args:
        latent_dim: Length of a latent.
        image_size: Side of the image.
        image_channels: Channels of the image.
        base_channels: Channels of the last map. None takes the papers' 256 at 32x32 (where all
            maps are equally wide) and 64 above.
        num_classes: Number of classes of a conditional generator.

    Example:
        >>> import torch
        >>> ResNetGenerator(base_channels=8)(torch.zeros(2, 128)).shape
        torch.Size([2, 3, 32, 32])

    Reference:
        Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017,
        https://arxiv.org/abs/1704.00028, appendix F; Miyato et al., "Spectral Normalization for
        GANs", ICLR 2018, https://arxiv.org/abs/1802.05957, appendix B.4.
    """

    def __init__(
        self,
        latent_dim: int = 128,
        image_size: Literal[32, 64, 128] = 32,
        image_channels: int = 3,
        base_channels: int | None = None,
        num_classes: int | None = None,
    ) -> None:
        _check_size(image_size)
        super().__init__(latent_dim, (image_channels, image_size, image_size), num_classes)
        base = _base(base_channels, 256 if image_size == 32 else 64)
        widths = [base * width for width in _GENERATOR_WIDTHS[image_size]]
        to_image = nn.Conv2d(widths[-1], image_channels, 3, padding=1)
        self.layers = nn.Sequential(
            nn.Linear(self.latent_channels, widths[0] * 16),
            nn.Unflatten(1, (widths[0], 4, 4)),
            *(UpBlock(wide, narrow) for wide, narrow in pairwise(widths)),
            nn.BatchNorm2d(widths[-1]),
            nn.ReLU(),
            to_image,
            nn.Tanh(),
        )
        self.apply(_initialize)
        nn.init.xavier_uniform_(to_image.weight)  # not inside a block, so without its gain


class ResNetDiscriminator(Discriminator):
    """Shrink an image with residual blocks and sum its features into a logit.

    Args:
        image_size: Side of the image.
        image_channels: Channels of the image.
        base_channels: Channels of the first map. None takes the papers' 128 at 32x32 (where all
            maps are equally wide) and 64 above.
        norm: Normalisation in front of the activations. ``"none"`` as in the papers; a gradient
            penalty allows all but ``"batch"``.
        num_classes: Number of classes of a conditional discriminator.

    Reference:
        Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017,
        https://arxiv.org/abs/1704.00028, appendix F; Miyato et al., "Spectral Normalization for
        GANs", ICLR 2018, https://arxiv.org/abs/1802.05957, appendix B.4.
    """

    def __init__(
        self,
        image_size: Literal[32, 64, 128] = 32,
        image_channels: int = 3,
        base_channels: int | None = None,
        norm: Normalization = "none",
        num_classes: int | None = None,
    ) -> None:
        _check_size(image_size)
        super().__init__((image_channels, image_size, image_size), num_classes)
        base = _base(base_channels, 128 if image_size == 32 else 64)
        blocks = _DISCRIMINATOR_BLOCKS[image_size]
        widths = [self.channels, *(base * width for width, _ in blocks)]
        self.layers = nn.Sequential(
            *(
                DownBlock(*pair, downsample=halve, first=i == 0, norm=norm)
                for i, (pair, (_, halve)) in enumerate(zip(pairwise(widths), blocks, strict=True))
            ),
            nn.ReLU(),
            _SumPool(),
            nn.Linear(widths[-1], 1),
        )
        self.apply(_initialize)


class _SumPool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sum(x, dim=(2, 3))  # (N, C)


def _base(base_channels: int | None, default: int) -> int:
    if base_channels is None:
        return default
    check_positive("base_channels", base_channels)
    return base_channels


def _check_size(image_size: int) -> None:
    if image_size not in _GENERATOR_WIDTHS:
        raise ValueError(
            f"Expected 'image_size' to be one of {list(_GENERATOR_WIDTHS)}, got {image_size}."
        )


def _initialize(module: nn.Module) -> None:
    """Draw weights as Glorot and Bengio do, with gain sqrt(2) for the 3x3 kernels of a block."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        shortcut = isinstance(module, nn.Linear) or module.kernel_size == (1, 1)
        nn.init.xavier_uniform_(module.weight, gain=1.0 if shortcut else 2**0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
