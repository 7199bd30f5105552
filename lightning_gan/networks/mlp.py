"""Fully connected networks, for points and for small images."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from lightning_gan.networks.base import Discriminator, Generator, check_positive


class MLPGenerator(Generator):
    """Map latents to points or images through ReLU layers.

    Args:
        latent_dim: Length of a latent.
        sample_shape: Shape of one sample: (D,) for points, (C, H, W) for images. Images are
            squashed into [-1, 1] by tanh, points are not bounded.
        hidden: Widths of the hidden layers.
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
        num_classes: int | None = None,
    ) -> None:
        super().__init__(latent_dim, sample_shape, num_classes)
        self.layers = nn.Sequential(
            *_hidden_layers(self.latent_channels, hidden, nn.ReLU()),
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
    """

    def __init__(
        self,
        sample_shape: tuple[int, ...] = (2,),
        hidden: Sequence[int] = (128, 128),
        num_classes: int | None = None,
    ) -> None:
        super().__init__(sample_shape, num_classes)
        self.layers = nn.Sequential(
            nn.Flatten(),
            *_hidden_layers(self.channels * math.prod(sample_shape[1:]), hidden, nn.LeakyReLU(0.2)),
            nn.Linear(hidden[-1], 1),
        )


def _hidden_layers(inputs: int, hidden: Sequence[int], activation: nn.Module) -> list[nn.Module]:
    if not hidden:
        raise ValueError("Expected 'hidden' to name at least one layer's width, got none.")
    for width in hidden:
        check_positive("hidden", width)
    return [
        layer
        for narrow, wide in pairwise([inputs, *hidden])
        for layer in (nn.Linear(narrow, wide), activation)
    ]
