"""Ways of telling a network which class a sample has, or what vector belongs to it."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, one_hot


def append_labels(x: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Append the labels to every position of ``x`` as one-hot channels.

    Args:
        x: Latents (N, C), or images or feature maps (N, C, ...).
        labels: Class of each sample, (N,) int64 in [0, ``num_classes``).
        num_classes: Number of channels to append.

    Returns:
        ``x`` with ``num_classes`` more channels.

    Example:
        >>> append_labels(torch.zeros(2, 1), torch.tensor([1, 0]), num_classes=2)
        tensor([[0., 0., 1.],
                [0., 1., 0.]])

    Reference:
        Mirza and Osindero, "Conditional Generative Adversarial Nets", 2014,
        https://arxiv.org/abs/1411.1784.
    """
    planes = one_hot(labels, num_classes).to(x.dtype)
    planes = planes.reshape(*planes.shape, *(1,) * (x.dim() - 2))  # (N, K, 1, 1) for images
    return torch.cat([x, planes.expand(-1, -1, *x.shape[2:])], dim=1)


def apply(module: nn.Module, x: Tensor, labels: Tensor | None) -> Any:
    """Call a module, with labels if it is conditional.

    Args:
        module: Any module; it is conditional if its attribute ``num_classes`` is not None, or if
            its attribute ``vector_dim`` is not.
        x: First argument.
        labels: Class of each sample, (N,) int64, or a vector for each, (N, ``vector_dim``); only a
            conditional module is given them.

    Returns:
        What the module returns.
    """
    if all(getattr(module, name, None) is None for name in ("num_classes", "vector_dim")):
        return module(x)
    return module(x, labels)


class ConditionalSequential(nn.Sequential):
    """Run layers one after the other and give the labels to those that are conditional.

    Example:
        >>> layers = ConditionalSequential(nn.Conv2d(1, 4, 1), ConditionalBatchNorm2d(4, 10))
        >>> layers(torch.zeros(2, 1, 8, 8), torch.tensor([3, 7])).shape
        torch.Size([2, 4, 8, 8])
    """

    @property
    def num_classes(self) -> int | None:
        """Number of classes of its first conditional layer, None without any."""
        return self._first("num_classes")

    @property
    def vector_dim(self) -> int | None:
        """Length of the vectors that its first layer which takes such asks for, else None."""
        return self._first("vector_dim")

    def _first(self, name: str) -> int | None:
        known = (getattr(layer, name, None) for layer in self)
        return next((number for number in known if number is not None), None)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map ``x`` through all layers; ``labels`` are (N,) int64, or vectors (N, F)."""
        for layer in self:
            x = apply(layer, x, labels)
        return x


class ConditionalBatchNorm2d(nn.Module):
    """Normalise over the batch, then scale and shift each channel by what its class has learnt.

    The statistics are those of all classes together.

    Args:
        channels: Number of channels of the feature map.
        num_classes: Number of classes.

    Attributes:
        num_classes: Number of classes.
        gain: Scale of each class and channel, (``num_classes``, ``channels``); 1 at the start.
        bias: Shift of each class and channel, likewise; 0 at the start.

    Reference:
        de Vries et al., "Modulating early visual processing by language", NeurIPS 2017,
        https://arxiv.org/abs/1707.00683, section 3; Miyato and Koyama, "cGANs with Projection
        Discriminator", ICLR 2018, https://arxiv.org/abs/1802.05637, section 5.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.norm = nn.BatchNorm2d(channels, affine=False)
        # Bare parameters: what initialises or normalises every nn.Embedding must not find these.
        self.gain = nn.Parameter(torch.ones(num_classes, channels))
        self.bias = nn.Parameter(torch.zeros(num_classes, channels))

    def reset_parameters(self) -> None:
        """Set all gains to 1 and all biases to 0."""
        nn.init.ones_(self.gain)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Map (N, C, H, W) and labels (N,) int64 to (N, C, H, W)."""
        x = self.norm(x)
        gain, bias = (
            embedding(labels, table)[:, :, None, None].to(x.dtype)  # (N, C, 1, 1)
            for table in (self.gain, self.bias)
        )
        return torch.addcmul(bias, gain, x)

    def extra_repr(self) -> str:
        """Return the number of classes."""
        return f"num_classes={self.num_classes}"


class VectorBatchNorm2d(nn.Module):
    r"""Normalise over the batch, then scale and shift each channel by what a vector says.

    .. math:: y_c = (1 + W_g v)_c \, \hat x_c + (W_b v)_c

    Args:
        channels: Number of channels of the feature map.
        vector_dim: Length of a sample's vector v, such as a class's embedding beside a latent.

    Attributes:
        vector_dim: Length of a vector.
        gain: Linear map W_g from a vector to the scales' distances from 1, without bias.
        bias: Linear map W_b from a vector to the shifts, without bias.

    Reference:
        Brock et al., "Large Scale GAN Training for High Fidelity Natural Image Synthesis",
        ICLR 2019, https://arxiv.org/abs/1809.11096, appendix B.
    """

    def __init__(self, channels: int, vector_dim: int) -> None:
        super().__init__()
        self.vector_dim = vector_dim
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain = nn.Linear(vector_dim, channels, bias=False)
        self.bias = nn.Linear(vector_dim, channels, bias=False)

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        """Map (N, C, H, W) and vectors (N, ``vector_dim``) to (N, C, H, W)."""
        x = self.norm(x)
        gain, bias = (
            linear(vector)[:, :, None, None].to(x.dtype)  # (N, C, 1, 1)
            for linear in (self.gain, self.bias)
        )
        return torch.addcmul(x + bias, gain, x)
