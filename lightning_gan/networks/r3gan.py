"""The residual pair of R3GAN, which needs no normalisation, for images of any size."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_gan.layers import (
    Bottleneck,
    ConditionalSequential,
    SmoothDownsample,
    SmoothUpsample,
)
from lightning_gan.networks.base import (
    Discriminator,
    DiscriminatorConditioning,
    Generator,
    check_positive,
)
from lightning_gan.networks.heads import Head, Minibatch


class R3GANGenerator(Generator):
    """Grow a learned 4x4 map, scaled by the latent, to an image with residual blocks.

    Each side 4, 8, ... has ``blocks_per_stage`` blocks
    (:class:`~lightning_gan.layers.Bottleneck`); smooth upsampling leads from one to the next, after
    a 1x1 convolution where the width changes. A 1x1 convolution makes the image.

    The paper's images are not bounded, which leaves the gradient of bright and dark pixels alive:
    in training so are these, and images in [-1, 1] are what a discriminator teaches them to be. In
    evaluation mode they are clipped to [-1, 1], as whatever is sampled has to be.

    Args:
        latent_dim: Length of a latent.
        image_size: Side of the image, 4 times a power of 2 and at least 8.
        image_channels: Channels of the image.
        width: Channels of all maps, or of each side from 4 up. The paper has 768 at 32x32,
            (768, 768, 768, 768, 384) at 64x64 and, for 256x256, 192 and 96 besides; ImageNet has
            1536 throughout.
        blocks_per_stage: Blocks of each side.
        expansion: Factor by which a block widens its map.
        group_width: Channels of a group of the blocks' 3x3 convolutions: 16 in the paper, 32 for
            ImageNet, which it states as 96 groups at widths of 768 and 1536.
        num_classes: Number of classes of a conditional generator. Each has a learned vector of
            length ``latent_dim``, which is appended to the latent.

    Raises:
        ValueError: If the image size is none of those, ``width`` holds another number of widths
            than there are sides, ``group_width`` does not divide a width times ``expansion``, or a
            number is below 1.

    Example:
        >>> R3GANGenerator(width=8)(torch.zeros(2, 64)).shape
        torch.Size([2, 3, 32, 32])

    Reference:
        Huang et al., "The GAN is dead; long live the GAN! A Modern Baseline GAN", NeurIPS 2024,
        https://arxiv.org/abs/2501.05441, section 4 (config E), with the widths, the start and the
        classes of the authors' code. At the defaults it has 20,732,160 weights.
    """

    def __init__(
        self,
        latent_dim: int = 64,
        image_size: int = 32,
        image_channels: int = 3,
        width: int | Sequence[int] = 768,
        blocks_per_stage: int = 2,
        expansion: int = 2,
        group_width: int = 16,
        num_classes: int | None = None,
    ) -> None:
        widths = _widths(image_size, width)
        check_positive("blocks_per_stage", blocks_per_stage)
        shape = (image_channels, image_size, image_size)
        super().__init__(latent_dim, shape, num_classes, "norm" if num_classes else "concat")
        self.layers = ConditionalSequential(_Basis(latent_dim, widths[0], num_classes))
        for i, channels in enumerate(widths):
            if i > 0:
                self.layers.extend(_change_width(widths[i - 1], channels))
                self.layers.append(SmoothUpsample())
            for _ in range(blocks_per_stage):
                number = blocks_per_stage * len(widths)
                self.layers.append(Bottleneck(channels, expansion, group_width, number))
        self.layers.append(nn.Conv2d(widths[-1], image_channels, 1, bias=False))
        self.layers.append(_EvalClip())
        self.apply(_draw_weights)

    def initialize(self, part: nn.Module | None = None) -> None:
        """Draw weights anew, as fixup does; see :meth:`Generator.initialize`."""
        super().initialize(part)
        (self if part is None else part).apply(_draw_weights)


class R3GANDiscriminator(Discriminator):
    """Shrink an image with residual blocks, as the generator's mirror image.

    A 1x1 convolution widens the image. Each side down to 4 has ``blocks_per_stage`` blocks
    (:class:`~lightning_gan.layers.Bottleneck`); smooth downsampling leads from one to the next,
    before a 1x1 convolution where the width changes. A 4x4 kernel per channel makes the features.

    Args:
        image_size: Side of the image, 4 times a power of 2 and at least 8.
        image_channels: Channels of the image.
        width: Channels of all maps, or of each side from 4 up, as in :class:`R3GANGenerator`.
        blocks_per_stage: Blocks of each side.
        expansion: Factor by which a block widens its map.
        group_width: Channels of a group of the blocks' 3x3 convolutions.
        num_classes: Number of classes of a conditional discriminator.
        conditioning: How the labels enter: ``"concat"`` as channels of the images,
            ``"projection"`` through the head, as in the paper.
        num_outputs: Logits per sample.
        minibatch: Layer in front of the head that looks across the batch.

    Raises:
        ValueError: If the image size is none of those, ``width`` holds another number of widths
            than there are sides, ``group_width`` does not divide a width times ``expansion``, or an
            option does not fit.

    Example:
        >>> R3GANDiscriminator(width=8)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2])

    Reference:
        Huang et al., "The GAN is dead; long live the GAN! A Modern Baseline GAN", NeurIPS 2024,
        https://arxiv.org/abs/2501.05441, section 4 (config E), with the widths and the start of the
        authors' code. At the defaults it has 20,683,777 weights.

    Note:
        The authors' code has no bias in the head, which their loss of differences would not train,
        and with classes no logit apart from the projection.
    """

    def __init__(
        self,
        image_size: int = 32,
        image_channels: int = 3,
        width: int | Sequence[int] = 768,
        blocks_per_stage: int = 2,
        expansion: int = 2,
        group_width: int = 16,
        num_classes: int | None = None,
        conditioning: DiscriminatorConditioning = "concat",
        num_outputs: int = 1,
        minibatch: Minibatch = "none",
    ) -> None:
        widths = _widths(image_size, width)[::-1]
        check_positive("blocks_per_stage", blocks_per_stage)
        shape = (image_channels, image_size, image_size)
        super().__init__(shape, num_classes, conditioning, num_outputs, minibatch)
        self.layers = nn.Sequential(nn.Conv2d(self.channels, widths[0], 1, bias=False))
        for i, channels in enumerate(widths):
            if i > 0:
                self.layers.append(SmoothDownsample())
                self.layers.extend(_change_width(widths[i - 1], channels))
            for _ in range(blocks_per_stage):
                number = blocks_per_stage * len(widths)
                self.layers.append(Bottleneck(channels, expansion, group_width, number))
        last = widths[-1]
        self.layers.extend([nn.Conv2d(last, last, 4, groups=last, bias=False), nn.Flatten()])
        self.head = self.build_head(last)
        self.apply(_draw_weights)


class _Basis(nn.Module):
    """Scale each channel of a learned 4x4 map by a linear map of the latent and its class's vector.

    Maps (N, ``latent_dim``), and labels (N,) int64 where there are classes, to
    (N, ``channels``, 4, 4).
    """

    def __init__(self, latent_dim: int, channels: int, num_classes: int | None) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.embedding = nn.Embedding(num_classes, latent_dim) if num_classes else None
        inputs = latent_dim * (1 if num_classes is None else 2)
        self.scale = nn.Linear(inputs, channels, bias=False)
        self.basis = nn.Parameter(torch.empty(channels, 4, 4))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the map anew."""
        nn.init.normal_(self.basis)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.embedding is not None:
            z = torch.cat([z, self.embedding(labels)], dim=1)
        return self.scale(z)[:, :, None, None] * self.basis  # type: ignore[no-any-return]


class _EvalClip(nn.Module):
    """Clip to [-1, 1] in evaluation mode."""

    def forward(self, x: Tensor) -> Tensor:
        return x if self.training else x.clamp(-1, 1)


def _widths(image_size: int, width: int | Sequence[int]) -> list[int]:
    """Return the channels of each side from 4 up to the image's."""
    stages = image_size.bit_length() - 2
    if stages < 2 or image_size != 4 * 2 ** (stages - 1):
        raise ValueError(
            f"Expected 'image_size' to be 4 times a power of 2 and at least 8, got {image_size}."
        )
    widths = [width] * stages if isinstance(width, int) else list(width)
    if len(widths) != stages:
        sides = [4 * 2**i for i in range(stages)]
        raise ValueError(
            f"Expected 'width' to be one number or one for each side of {sides}, got {widths}."
        )
    for value in widths:
        check_positive("width", value)
    return widths


def _change_width(before: int, after: int) -> list[nn.Module]:
    return [] if before == after else [nn.Conv2d(before, after, 1, bias=False)]


def _draw_weights(module: nn.Module) -> None:
    """Draw weights that keep variances, and those of the blocks as fixup does."""
    match module:
        case nn.Conv2d() | nn.Linear():
            nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        case nn.Embedding():  # a linear map of one-hot labels
            nn.init.normal_(module.weight, std=module.num_embeddings**-0.5)
        case Bottleneck():  # visited after its convolutions
            module.reset_parameters()
        case Head(embedding=nn.Embedding() as embedding):  # likewise
            nn.init.normal_(embedding.weight, std=embedding.weight.numel() ** -0.5)
