"""Noise inside a network, to keep it from being too sure."""

import math
from typing import Any

import torch
from torch import Tensor, nn


class MultiplicativeNoise(nn.Module):
    r"""Multiply each number of a feature map by one drawn around 1, in training.

    .. math:: y = x\,(1 + s \sqrt{C}\,n), \qquad n \sim N(0, 1)

    Attributes:
        strength: s, a scalar buffer; 0 at the start, which changes nothing.

    Reference:
        Karras et al., "Progressive Growing of GANs", ICLR 2018,
        https://arxiv.org/abs/1710.10196, appendix B; the root of the number of channels C is the
        authors' code's.
    """

    strength: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("strength", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        if not self.training:
            return x
        spread = (self.strength * math.sqrt(x.shape[1])).to(x.dtype)
        return x + x * spread * torch.randn_like(x)


def add_noise(network: nn.Module) -> MultiplicativeNoise:
    """Put one noise in front of all convolutions with a kernel larger than 1x1.

    Args:
        network: Any module, changed in place.

    Returns:
        The noise. It is no part of the network: whoever asked for it keeps its strength.
    """
    noise = MultiplicativeNoise()

    def perturb(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (noise(inputs[0]), *inputs[1:])

    for module in network.modules():
        if isinstance(module, nn.Conv2d) and max(module.kernel_size) > 1:
            module.register_forward_pre_hook(perturb)
    return noise
