"""Residual blocks that change the resolution."""

from torch import Tensor, nn

from lightning_gan.layers.conditioning import ConditionalSequential
from lightning_gan.layers.normalization import Normalization, normalization


class UpBlock(nn.Module):
    """Double the resolution: normalise, activate and convolve twice, beside an upsampled shortcut.

    Args:
        in_channels: Channels of the input, (N, ``in_channels``, H, W).
        out_channels: Channels of the output, (N, ``out_channels``, 2H, 2W).
        norm: Normalisation in front of each activation.
        num_classes: Number of classes, each with scales and shifts of its own; only for the norm
            ``"batch"``.
        vector_dim: Length of vectors of which scales and shifts are linear functions; likewise,
            and not together with classes.

    Attributes:
        num_classes: Number of classes, None for a block that takes no labels.
        vector_dim: Length of a vector, None for a block that takes none.

    Raises:
        ValueError: If ``num_classes`` or ``vector_dim`` is given together with a norm other than
            ``"batch"``, or if both are.

    Reference:
        Miyato et al., "Spectral Normalization for GANs", ICLR 2018,
        https://arxiv.org/abs/1802.05957, appendix B.4; with classes, Miyato and Koyama, "cGANs
        with Projection Discriminator", ICLR 2018, https://arxiv.org/abs/1802.05637, section 5; with
        vectors, Brock et al., "Large Scale GAN Training for High Fidelity Natural Image Synthesis",
        ICLR 2019, https://arxiv.org/abs/1809.11096, appendix B.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        norm: Normalization = "batch",
        num_classes: int | None = None,
        vector_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.vector_dim = vector_dim
        self.residual = ConditionalSequential(
            normalization(norm, in_channels, num_classes, vector_dim),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            normalization(norm, out_channels, num_classes, vector_dim),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
        )
        # Convolving before upsampling costs a quarter and gives the same values.
        self.shortcut = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1), nn.Upsample(scale_factor=2)
        )

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map (N, C, H, W), and labels (N,) int64 or vectors (N, F) if any, to (N, C', 2H, 2W)."""
        return self.residual(x, labels) + self.shortcut(x)  # type: ignore[no-any-return]


class DownBlock(nn.Module):
    """Activate and convolve twice beside a shortcut, then halve the resolution.

    Args:
        in_channels: Channels of the input, (N, ``in_channels``, H, W).
        out_channels: Channels of the output.
        downsample: Whether the output is (H/2, W/2) rather than (H, W).
        first: Whether the input is an image: it is then not activated.
        norm: Normalisation in front of each activation.

    Reference:
        Miyato et al., "Spectral Normalization for GANs", ICLR 2018,
        https://arxiv.org/abs/1802.05957, appendix B.4.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        downsample: bool = True,
        first: bool = False,
        norm: Normalization = "none",
    ) -> None:
        super().__init__()
        pool = nn.AvgPool2d(2) if downsample else nn.Identity()
        self.residual = nn.Sequential(
            nn.Identity() if first else normalization(norm, in_channels),
            nn.Identity() if first else nn.ReLU(),
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            normalization(norm, out_channels),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
            pool,
        )
        learned = downsample or in_channels != out_channels
        # Pooling before a 1x1 convolution costs a quarter and gives the same values.
        self.shortcut = nn.Sequential(
            pool, nn.Conv2d(in_channels, out_channels, 1) if learned else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H/2, W/2), or (N, C', H, W) without downsampling."""
        return self.residual(x) + self.shortcut(x)  # type: ignore[no-any-return]


class LipschitzDownBlock(DownBlock):
    """Return the mean of the two branches of a :class:`DownBlock` rather than their sum.

    If both branches have a Lipschitz constant of at most 1, so does their mean, whereas that of
    their sum may be 2. The branches have it if each of their layers has: the convolutions after
    :func:`~lightning_gan.layers.lipschitz_normalize`, and any activation and pooling in here;
    no normalisation does, so leave ``norm`` at ``"none"``.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H/2, W/2), or (N, C', H, W) without downsampling."""
        return (self.residual(x) + self.shortcut(x)) / 2  # type: ignore[no-any-return]
