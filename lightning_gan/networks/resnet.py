"""The residual pair of WGAN-GP and SNGAN at 32, 64 and 128."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate, pairwise
from typing import Literal

from torch import nn

from lightning_gan.layers import (
    ConditionalSequential,
    DownBlock,
    LipschitzDownBlock,
    Normalization,
    SelfAttention,
    SumPool,
    UpBlock,
    normalization,
)
from lightning_gan.networks.base import (
    Discriminator,
    DiscriminatorConditioning,
    Generator,
    GeneratorConditioning,
    check_attention,
    check_positive,
)
from lightning_gan.networks.heads import Minibatch

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

_BLOCKS = {"sum": DownBlock, "mean": LipschitzDownBlock}


class ResNetGenerator(Generator):
    """Grow a 4x4 map to an image with residual blocks.

    Args:
        latent_dim: Length of a latent.
        image_size: Side of the image.
        image_channels: Channels of the image.
        base_channels: Channels of the last map. None takes the papers' 256 at 32x32 (where all
            maps are equally wide) and 64 above.
        norm: Normalisation in front of the activations. ``"batch"`` as in the papers.
        attention: Sides (8, 16, ... up to the image's) of the blocks after which self-attention
            follows.
        num_classes: Number of classes of a conditional generator.
        conditioning: How the labels enter: ``"concat"`` as channels of the latents, ``"norm"``
            through batch normalisation with scales and shifts of each class.

    Raises:
        ValueError: If the image size is none of those above, or if an option does not fit.

    Example:
        >>> import torch
        >>> ResNetGenerator(base_channels=8)(torch.zeros(2, 128)).shape
        torch.Size([2, 3, 32, 32])

    Reference:
        Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017,
        https://arxiv.org/abs/1704.00028, appendix F; Miyato et al., "Spectral Normalization for
        GANs", ICLR 2018, https://arxiv.org/abs/1802.05957, appendix B.4; with classes, Miyato and
        Koyama, "cGANs with Projection Discriminator", ICLR 2018, https://arxiv.org/abs/1802.05637;
        with attention, Zhang et al., "Self-Attention Generative Adversarial Networks", ICML 2019,
        https://arxiv.org/abs/1805.08318.
    """

    def __init__(
        self,
        latent_dim: int = 128,
        image_size: Literal[32, 64, 128] = 32,
        image_channels: int = 3,
        base_channels: int | None = None,
        norm: Normalization = "batch",
        attention: Sequence[int] = (),
        num_classes: int | None = None,
        conditioning: GeneratorConditioning = "concat",
    ) -> None:
        _check_size(image_size)
        shape = (image_channels, image_size, image_size)
        super().__init__(latent_dim, shape, num_classes, conditioning)
        base = _base(base_channels, 256 if image_size == 32 else 64)
        widths = [base * width for width in _GENERATOR_WIDTHS[image_size]]
        sides = [8 * 2**i for i in range(len(widths) - 1)]
        check_attention(attention, sides)
        classes = num_classes if conditioning == "norm" else None
        self.layers = ConditionalSequential(
            nn.Linear(self.latent_channels, widths[0] * 16), nn.Unflatten(1, (widths[0], 4, 4))
        )
        for side, (wide, narrow) in zip(sides, pairwise(widths), strict=True):
            self.layers.append(UpBlock(wide, narrow, norm=norm, num_classes=classes))
            if side in attention:
                self.layers.append(SelfAttention(narrow))
        self.layers.extend(
            [
                normalization(norm, widths[-1], classes),
                nn.ReLU(),
                nn.Conv2d(widths[-1], image_channels, 3, padding=1),
                nn.Tanh(),
            ]
        )
        self.apply(_draw_weights)

    def initialize(self, part: nn.Module | None = None) -> None:
        """Draw weights anew, as Glorot and Bengio do; see :meth:`Generator.initialize`."""
        super().initialize(part)
        (self if part is None else part).apply(_draw_weights)


class ResNetDiscriminator(Discriminator):
    """Shrink an image with residual blocks and sum its features into a logit.

    Args:
        image_size: Side of the image.
        image_channels: Channels of the image.
        base_channels: Channels of the first map. None takes the papers' 128 at 32x32 (where all
            maps are equally wide) and 64 above.
        norm: Normalisation in front of the activations. ``"none"`` as in the papers; a gradient
            penalty allows all but ``"batch"``.
        attention: Sides (half the image's down to 8 at 32x32, to 2 at 64x64 and to 4 at 128x128) of
            the blocks after which self-attention follows; the first of several of one side.
        num_classes: Number of classes of a conditional discriminator.
        conditioning: How the labels enter: ``"concat"`` as channels of the images,
            ``"projection"`` through the head.
        num_outputs: Logits per sample.
        minibatch: Layer in front of the head that looks across the batch.
        branches: How a block joins its two: ``"sum"`` as in the papers, under which two branches
            of slope 1 make a block of slope 2; ``"mean"`` keeps the block 1-Lipschitz where its
            layers are.

    Raises:
        ValueError: If the image size is none of those above, or if an option does not fit.

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
        attention: Sequence[int] = (),
        num_classes: int | None = None,
        conditioning: DiscriminatorConditioning = "concat",
        num_outputs: int = 1,
        minibatch: Minibatch = "none",
        branches: Literal["sum", "mean"] = "sum",
    ) -> None:
        _check_size(image_size)
        if branches not in _BLOCKS:
            raise ValueError(f"Expected 'branches' to be one of {list(_BLOCKS)}, got {branches!r}.")
        shape = (image_channels, image_size, image_size)
        super().__init__(shape, num_classes, conditioning, num_outputs, minibatch)
        base = _base(base_channels, 128 if image_size == 32 else 64)
        blocks = [(base * width, halve) for width, halve in _DISCRIMINATOR_BLOCKS[image_size]]
        build = partial(_BLOCKS[branches], norm=norm)
        self.layers = down_layers(image_size, self.channels, blocks, attention, build)
        self.head = self.build_head(blocks[-1][0])
        self.apply(_draw_weights)


def down_layers(
    image_size: int,
    channels: int,
    blocks: Sequence[tuple[int, bool]],
    attention: Sequence[int] = (),
    build: Callable[..., DownBlock] = DownBlock,
) -> nn.Sequential:
    """Chain residual blocks from an image to the sums of its activated features.

    Args:
        image_size: Side of the image.
        channels: Channels of the image.
        blocks: Of each block, its channels and whether it halves the map.
        attention: Sides of the blocks after which self-attention follows, of those that halve it.
        build: Makes a block.

    Returns:
        Layers from (N, ``channels``, S, S) to features (N, F), F being the last block's channels.

    Raises:
        ValueError: If there is to be attention on a map that does not occur.
    """
    sides = [image_size // 2**halvings for halvings in accumulate(half for _, half in blocks)]
    check_attention(attention, sides)
    layers = nn.Sequential()
    for i, ((width, halve), side) in enumerate(zip(blocks, sides, strict=True)):
        layers.append(build(channels, width, downsample=halve, first=i == 0))
        if halve and side in attention:
            layers.append(SelfAttention(width))
        channels = width
    return layers.extend([nn.ReLU(), SumPool()])


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


def _draw_weights(module: nn.Module) -> None:
    """Draw weights as Glorot and Bengio do, with gain sqrt(2) for the 3x3 kernels of a block."""
    match module:
        case nn.Conv2d() | nn.Linear():
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        case UpBlock() | DownBlock():  # visited after its convolutions
            for layer in module.residual:
                if isinstance(layer, nn.Conv2d):
                    nn.init.xavier_uniform_(layer.weight, gain=2**0.5)
