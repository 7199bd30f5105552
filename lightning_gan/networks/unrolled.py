"""The small pair of Unrolled GAN, whose discriminator is too weak for its thousand modes."""

from itertools import pairwise

from torch import nn

from lightning_gan.layers import Normalization, normalization
from lightning_gan.networks.base import Discriminator, Generator, check_positive
from lightning_gan.networks.heads import Minibatch

_SIDE = 28  # of the images; their maps have sides of 14, 7 and 4


class UnrolledGenerator(Generator):
    """Upsample a 4x4 map to an image of 28x28 with transposed convolutions.

    With the defaults it has 287,875 parameters.

    Args:
        latent_dim: Length of a latent.
        image_channels: Channels of the image.
        base_channels: Channels of the last hidden map; they double with each coarser one.

    Example:
        >>> import torch
        >>> UnrolledGenerator()(torch.zeros(2, 256)).shape
        torch.Size([2, 3, 28, 28])

    Reference:
        Metz et al., "Unrolled Generative Adversarial Networks", ICLR 2017,
        https://arxiv.org/abs/1611.02163, appendix; sizes as in the code of Lin et al., "PacGAN",
        NeurIPS 2018, https://arxiv.org/abs/1712.04086, table 3. Weights start as torch's layers do.
    """

    def __init__(
        self, latent_dim: int = 256, image_channels: int = 3, base_channels: int = 8
    ) -> None:
        super().__init__(latent_dim, (image_channels, _SIDE, _SIDE))
        check_positive("base_channels", base_channels)
        widths = [base_channels * scale for scale in (8, 4, 2, 1)]
        self.layers = nn.Sequential(
            nn.Linear(latent_dim, widths[0] * 4 * 4),
            nn.Unflatten(1, (widths[0], 4, 4)),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        )
        for (wide, narrow), is_even in zip(pairwise(widths), (0, 1, 1), strict=True):
            self.layers.extend(
                [
                    nn.ConvTranspose2d(wide, narrow, 3, 2, padding=1, output_padding=is_even),
                    nn.BatchNorm2d(narrow),
                    nn.ReLU(),
                ]
            )
        self.layers.extend([nn.Conv2d(base_channels, image_channels, 3, padding=1), nn.Tanh()])


class UnrolledDiscriminator(Discriminator):
    """Downsample an image of 28x28 to a 4x4 map, and that to a logit, with strided convolutions.

    With the defaults it has 585 parameters, the published protocol's "K = 1/4" of the generator's
    widths; ``base_channels=4`` is its "K = 1/2" with 1,889.

    Args:
        image_channels: Channels of the image.
        base_channels: Channels of the first map; they double with each coarser one.
        norm: Normalisation of all maps. ``"batch"`` as published; a gradient penalty needs another
            one.
        minibatch: Layer in front of the head that looks across the batch.

    Reference:
        See :class:`UnrolledGenerator`.
    """

    def __init__(
        self,
        image_channels: int = 3,
        base_channels: int = 2,
        norm: Normalization = "batch",
        minibatch: Minibatch = "none",
    ) -> None:
        super().__init__((image_channels, _SIDE, _SIDE), minibatch=minibatch)
        check_positive("base_channels", base_channels)
        widths = [base_channels * scale for scale in (1, 2, 4)]
        self.layers = nn.Sequential()
        for narrow, wide in pairwise([image_channels, *widths]):
            self.layers.extend(
                [
                    nn.Conv2d(narrow, wide, 3, stride=2, padding=1),
                    normalization(norm, wide),
                    nn.LeakyReLU(0.3),
                ]
            )
        self.layers.append(nn.Flatten())
        self.head = self.build_head(widths[-1] * 4 * 4)
