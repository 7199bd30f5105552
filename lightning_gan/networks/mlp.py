"""Fully connected networks, for points and for small images."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

from torch import nn

from lightning_gan.layers import Maxout, PixelNorm
from lightning_gan.networks.base import (
    Discriminator,
    DiscriminatorConditioning,
    Generator,
    check_positive,
)
from lightning_gan.networks.heads import Minibatch

# Of a layer's width; those of feature maps are in `layers.normalization`.
_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm1d,
    "pixel": lambda _: PixelNorm(),
    "none": nn.Identity,
}


class MLPGenerator(Generator):
    """Map latents to points or images through ReLU layers.

    Args:
        latent_dim: Length of a latent.
        sample_shape: Shape of one sample: (D,) for points, (C, H, W) for images. Images are
            squashed into [-1, 1] by tanh, points are not bounded.
        hidden: Widths of the hidden layers.
        norm: Normalisation of the hidden layers; ``"pixel"`` scales each to a mean square of 1.
        num_classes: Number of classes of a conditional generator.

    Example:
        >>> import torch
        >>> MLPGenerator(latent_dim=4, sample_shape=(1, 8, 8))(torch.zeros(3, 4)).shape
        torch.Size([3, 1, 8, 8])
    """

    def __init__(
        self,
        latent_dim: int = 2,
        sample_shape: tuple[int, ...] = (2,),
        hidden: Sequence[int] = (128, 128),
        norm: Literal["batch", "pixel", "none"] = "none",
        num_classes: int | None = None,
    ) -> None:
        super().__init__(latent_dim, sample_shape, num_classes)
        if norm not in _NORMS:
            raise ValueError(f"Expected 'norm' to be one of {list(_NORMS)}, got {norm!r}.")
        self.layers = nn.Sequential(
            *_hidden_layers(self.latent_channels, hidden, _NORMS[norm], nn.ReLU()),
            nn.Linear(hidden[-1], math.prod(sample_shape)),
            nn.Unflatten(1, tuple(sample_shape)),
        )
        if len(sample_shape) == 3:
            self.layers.append(nn.Tanh())


class MLPDiscriminator(Discriminator):
    """Map points or images to logits through leaky ReLU layers.

    Args:
        sample_shape: Shape of one sample: (D,) for points, (C, H, W) for images.
        hidden: Widths of the hidden layers.
        num_classes: Number of classes of a conditional discriminator.
        conditioning: How the labels enter: ``"concat"`` as channels of the samples,
            ``"projection"`` through the head.
        num_outputs: Logits per sample.
        minibatch: Layer in front of the head that looks across the batch.
    """

    def __init__(
        self,
        sample_shape: tuple[int, ...] = (2,),
        hidden: Sequence[int] = (128, 128),
        num_classes: int | None = None,
        conditioning: DiscriminatorConditioning = "concat",
        num_outputs: int = 1,
        minibatch: Minibatch = "none",
    ) -> None:
        super().__init__(sample_shape, num_classes, conditioning, num_outputs, minibatch)
        self.layers = nn.Sequential(
            nn.Flatten(),
            *_hidden_layers(
                self.channels * math.prod(sample_shape[1:]), hidden, nn.Identity, nn.LeakyReLU(0.2)
            ),
        )
        self.head = self.build_head(hidden[-1])


class MaxoutDiscriminator(Discriminator):
    """Map points or images to logits through maxout layers.

    Args:
        sample_shape: Shape of one sample: (D,) for points, (C, H, W) for images.
        hidden: Widths of the hidden layers.
        pieces: Linear functions of which each hidden unit takes the largest.
        num_classes: See :class:`MLPDiscriminator`.
        conditioning: Likewise.
        num_outputs: Likewise.
        minibatch: Likewise.

    Reference:
        Goodfellow et al., "Maxout Networks", ICML 2013, https://arxiv.org/abs/1302.4389; Lin et
        al., "PacGAN: The power of two samples in generative adversarial networks", NeurIPS 2018,
        https://arxiv.org/abs/1712.04086, section 4.1 (the widths by default are of the authors'
        code).
    """

    def __init__(
        self,
        sample_shape: tuple[int, ...] = (2,),
        hidden: Sequence[int] = (200, 200, 200),
        pieces: int = 5,
        num_classes: int | None = None,
        conditioning: DiscriminatorConditioning = "concat",
        num_outputs: int = 1,
        minibatch: Minibatch = "none",
    ) -> None:
        super().__init__(sample_shape, num_classes, conditioning, num_outputs, minibatch)
        inputs = self.channels * math.prod(sample_shape[1:])
        self.layers = nn.Sequential(nn.Flatten())
        for narrow, wide in pairwise([inputs, *_checked_widths(hidden)]):
            self.layers.extend([nn.Linear(narrow, wide * pieces), Maxout(pieces)])
        self.head = self.build_head(hidden[-1])


def _hidden_layers(
    inputs: int, hidden: Sequence[int], norm: Callable[[int], nn.Module], activation: nn.Module
) -> list[nn.Module]:
    return [
        layer
        for narrow, wide in pairwise([inputs, *_checked_widths(hidden)])
        for layer in (nn.Linear(narrow, wide), norm(wide), activation)
        if not isinstance(layer, nn.Identity)
    ]


def _checked_widths(hidden: Sequence[int]) -> Sequence[int]:
    if not hidden:
        raise ValueError("Expected 'hidden' to name at least one layer's width, got none.")
    for width in hidden:
        check_positive("hidden", width)
    return hidden
