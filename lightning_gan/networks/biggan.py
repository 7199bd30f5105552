"""The residual pair of BigGAN at 32, 64 and 128."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from lightning_gan.layers import ConditionalSequential, SelfAttention, UpBlock
from lightning_gan.networks.base import (
    Discriminator,
    DiscriminatorConditioning,
    Generator,
    check_attention,
    check_positive,
    given,
)
from lightning_gan.networks.heads import Minibatch
from lightning_gan.networks.resnet import down_layers

# Channels of the maps from 4x4 to full size, as multiples of the base channels.
_GENERATOR_WIDTHS = {
    32: (4, 4, 4, 4),
    64: (16, 16, 8, 4, 2),
    128: (16, 16, 8, 4, 2, 1),
}
# Per block of the discriminator: channels as a multiple of its base, and whether it halves the map.
_DISCRIMINATOR_BLOCKS = {
    32: ((4, True), (4, True), (4, False), (4, False)),
    64: ((1, True), (2, True), (4, True), (8, True), (16, False)),
    128: ((1, True), (2, True), (4, True), (8, True), (16, True), (16, False)),
}


class HierarchicalLayers(nn.Module):
    """Give every block a chunk of the latent, beside an embedding of the class that all share.

    Args:
        first: Maps the first chunk to a feature map.
        blocks: Each takes the map before it, and as second argument the embedding with its chunk.
        last: Maps the last block's map to the sample.
        num_classes: Number of classes; None leaves out the embedding.
        embedding_dim: Length of the embedding.

    Attributes:
        embedding: Vector of each class, (``num_classes``, ``embedding_dim``), or None.

    Reference:
        Brock et al., "Large Scale GAN Training for High Fidelity Natural Image Synthesis",
        ICLR 2019, https://arxiv.org/abs/1809.11096, section 3.1 and appendix B.
    """

    def __init__(
        self,
        first: nn.Module,
        blocks: Sequence[nn.Module],
        last: nn.Module,
        num_classes: int | None = None,
        embedding_dim: int = 128,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.first = first
        self.blocks = nn.ModuleList(blocks)
        self.last = last
        # A bare parameter: spectral normalisation must not find this one, as in the authors' code.
        self.embedding: nn.Parameter | None = None
        if num_classes is not None:
            self.embedding = nn.Parameter(torch.empty(num_classes, embedding_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the embedding as an orthogonal matrix."""
        if self.embedding is not None:
            nn.init.orthogonal_(self.embedding)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map latents (N, ``latent_dim``), and labels (N,) int64 of classes, to samples."""
        chunk, *chunks = z.chunk(len(self.blocks) + 1, dim=1)
        shared = [] if self.embedding is None else [embedding(given(labels, self), self.embedding)]
        x: Tensor = self.first(chunk)
        for block, chunk in zip(self.blocks, chunks, strict=True):
            x = block(x, torch.cat([*shared, chunk], dim=1))
        return self.last(x)  # type: ignore[no-any-return]


class BigGANGenerator(Generator):
    """Grow a 4x4 map to an image with residual blocks, each steered by a chunk of the latent.

    The latent is split into one chunk for the 4x4 map and one for each block. The gains and biases
    of a block's two batch normalisations are linear functions of its chunk and, with classes, of
    an embedding that all blocks share. The last normalisation is an ordinary one.

    Args:
        latent_dim: Length of a latent, a multiple of the number of chunks: 4 at 32x32, 5 at 64x64
            and 6 at 128x128.
        image_size: Side of the image.
        image_channels: Channels of the image.
        base_channels: Unit of the maps' widths: they have 4 times as many throughout at 32x32, 16
            times as many down to twice at 64x64, and down to once at 128x128.
        embedding_dim: Length of a class's embedding.
        attention: Sides (8, 16, ... up to the image's) of the blocks after which self-attention
            follows; (64,) in the paper's at 128x128.
        num_classes: Number of classes of a conditional generator.

    Raises:
        ValueError: If the image size is none of those above, the latent's length no multiple of the
            number of chunks, or if an option does not fit.

    Example:
        >>> import torch
        >>> BigGANGenerator(base_channels=4)(torch.zeros(2, 120)).shape
        torch.Size([2, 3, 32, 32])

    Reference:
        Brock et al., "Large Scale GAN Training for High Fidelity Natural Image Synthesis",
        ICLR 2019, https://arxiv.org/abs/1809.11096, appendix B. Its network at 128x128 has 96 base
        channels, a latent of 120 and an embedding of 128.

    Note:
        The first chunk goes into the linear layer alone, the classes' embedding is not reached by
        :func:`~lightning_gan.layers.spectral_normalize`, and the widths at 32x32 and 64x64 are
        what they are, as in the authors' PyTorch code. Its setting for CIFAR-10 has 64 base
        channels, a latent of 128 in one piece that enters by the linear layer only, and gains and
        biases of each class for themselves; weights start there from N(0, 0.02^2). Here they start
        orthogonal and biases at 0. Latents without chunks are
        :class:`~lightning_gan.networks.ResNetGenerator`'s, with ``conditioning="norm"``.
    """

    def __init__(
        self,
        latent_dim: int = 120,
        image_size: Literal[32, 64, 128] = 32,
        image_channels: int = 3,
        base_channels: int = 64,
        embedding_dim: int = 128,
        attention: Sequence[int] = (),
        num_classes: int | None = None,
    ) -> None:
        _check_size(image_size)
        shape = (image_channels, image_size, image_size)
        conditioning: Literal["concat", "norm"] = "concat" if num_classes is None else "norm"
        super().__init__(latent_dim, shape, num_classes, conditioning)
        check_positive("base_channels", base_channels)
        check_positive("embedding_dim", embedding_dim)
        widths = [base_channels * width for width in _GENERATOR_WIDTHS[image_size]]
        sides = [8 * 2**i for i in range(len(widths) - 1)]
        check_attention(attention, sides)
        chunk_dim = _chunk_dim(latent_dim, len(widths))
        vector_dim = chunk_dim if num_classes is None else embedding_dim + chunk_dim
        blocks = []
        for side, (wide, narrow) in zip(sides, pairwise(widths), strict=True):
            blocks.append(ConditionalSequential(UpBlock(wide, narrow, vector_dim=vector_dim)))
            if side in attention:
                blocks[-1].append(SelfAttention(narrow))
        first = nn.Sequential(
            nn.Linear(chunk_dim, widths[0] * 16), nn.Unflatten(1, (widths[0], 4, 4))
        )
        last = nn.Sequential(
            nn.BatchNorm2d(widths[-1]),
            nn.ReLU(),
            nn.Conv2d(widths[-1], image_channels, 3, padding=1),
            nn.Tanh(),
        )
        self.layers = HierarchicalLayers(first, blocks, last, num_classes, embedding_dim)
        self.apply(_draw_weights)

    def initialize(self, part: nn.Module | None = None) -> None:
        """Draw orthogonal weights anew; see :meth:`Generator.initialize`."""
        super().initialize(part)
        (self if part is None else part).apply(_draw_weights)


class BigGANDiscriminator(Discriminator):
    """Shrink an image with residual blocks and sum its features into a logit.

    Args:
        image_size: Side of the image.
        image_channels: Channels of the image.
        base_channels: Unit of the maps' widths: they have 4 times as many throughout at 32x32, and
            once up to 16 times as many above.
        attention: Sides (half the image's, down to 8 at 32x32 and to 4 above) of the blocks after
            which self-attention follows; (64,) in the paper's at 128x128.
        num_classes: Number of classes of a conditional discriminator.
        conditioning: How the labels enter. None takes ``"projection"``, through the head, where
            there are classes; ``"concat"`` is as channels of the images.
        num_outputs: Logits per sample.
        minibatch: Layer in front of the head that looks across the batch.

    Raises:
        ValueError: If the image size is none of those above, or if an option does not fit.

    Example:
        >>> import torch
        >>> network = BigGANDiscriminator(base_channels=4, num_classes=10)
        >>> network(torch.zeros(2, 3, 32, 32), torch.tensor([3, 7])).shape
        torch.Size([2])

    Reference:
        Brock et al., "Large Scale GAN Training for High Fidelity Natural Image Synthesis",
        ICLR 2019, https://arxiv.org/abs/1809.11096, appendix B. Its network at 128x128 has 96 base
        channels.

    Note:
        The widths at 32x32, where the setting for CIFAR-10 has 64 base channels, and at 64x64 are
        the authors' PyTorch code's. Weights start orthogonal and biases at 0.
    """

    def __init__(
        self,
        image_size: Literal[32, 64, 128] = 32,
        image_channels: int = 3,
        base_channels: int = 64,
        attention: Sequence[int] = (),
        num_classes: int | None = None,
        conditioning: DiscriminatorConditioning | None = None,
        num_outputs: int = 1,
        minibatch: Minibatch = "none",
    ) -> None:
        _check_size(image_size)
        if conditioning is None:
            conditioning = "concat" if num_classes is None else "projection"
        shape = (image_channels, image_size, image_size)
        super().__init__(shape, num_classes, conditioning, num_outputs, minibatch)
        check_positive("base_channels", base_channels)
        blocks = [
            (base_channels * width, halve) for width, halve in _DISCRIMINATOR_BLOCKS[image_size]
        ]
        self.layers = down_layers(image_size, self.channels, blocks, attention)
        self.head = self.build_head(blocks[-1][0])
        self.apply(_draw_weights)


def _check_size(image_size: int) -> None:
    if image_size not in _GENERATOR_WIDTHS:
        raise ValueError(
            f"Expected 'image_size' to be one of {list(_GENERATOR_WIDTHS)}, got {image_size}."
        )


def _chunk_dim(latent_dim: int, chunks: int) -> int:
    if latent_dim % chunks != 0:
        raise ValueError(
            f"Expected 'latent_dim' to be a multiple of {chunks}, one chunk for the first layer "
            f"and one for each of {chunks - 1} blocks, got {latent_dim}."
        )
    return latent_dim // chunks


def _draw_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear | nn.Embedding):
        nn.init.orthogonal_(module.weight)
        if not isinstance(module, nn.Embedding) and module.bias is not None:
            nn.init.zeros_(module.bias)
