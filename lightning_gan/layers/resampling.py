"""Halve and double the resolution of feature maps smoothly."""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad


class SmoothDownsample(nn.Module):
    """Halve the resolution: blur with the binomial kernel [1, 2, 1], then take means of 2x2.

    Both at once are a 4x4 kernel of stride 2, [1, 3, 3, 1] / 8 along each side: the triangle of
    antialiased bilinear interpolation, which here sees zeros beyond the border.

    Example:
        >>> SmoothDownsample()(torch.full((1, 1, 6, 6), 64.0))
        tensor([[[[49., 56., 49.],
                  [56., 64., 56.],
                  [49., 56., 49.]]]])

    Reference:
        Huang et al., "The GAN is dead; long live the GAN! A Modern Baseline GAN", NeurIPS 2024,
        https://arxiv.org/abs/2501.05441, section 4. Kernel and borders are the authors' code's.

    Note:
        It sums slices: a convolution takes longer to differentiate twice, and torch's antialiased
        interpolation knows no bfloat16 on a CPU and has no reproducible gradient on a GPU.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, H/2, W/2).

        Raises:
            ValueError: If a side is odd.
        """
        if any(side % 2 for side in x.shape[2:]):
            raise ValueError(f"Expected maps with even sides to halve, got {tuple(x.shape[2:])}.")
        return _halve(_halve(x, 3), 2)


class SmoothUpsample(nn.Module):
    """Double the resolution: repeat each value 2x2, then blur with the binomial kernel [1, 2, 1].

    Away from the border, beyond which it sees zeros, this is bilinear interpolation. It is four
    times the transpose of :class:`SmoothDownsample`.

    Example:
        >>> SmoothUpsample()(torch.tensor([[[[16.0, 32.0]]]]))
        tensor([[[[ 9., 15., 21., 18.],
                  [ 9., 15., 21., 18.]]]])

    Reference:
        Huang et al., "The GAN is dead; long live the GAN! A Modern Baseline GAN", NeurIPS 2024,
        https://arxiv.org/abs/2501.05441, section 4. Kernel and borders are the authors' code's.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, 2H, 2W)."""
        return _double(_double(x, 2), 3)


def _halve(x: Tensor, dim: int) -> Tensor:
    outputs = x.shape[dim] // 2
    left, right = _padded(x, dim).unflatten(dim, (outputs + 1, 2)).unbind(dim + 1)
    outer = left.narrow(dim, 0, outputs) + right.narrow(dim, 1, outputs)
    inner = right.narrow(dim, 0, outputs) + left.narrow(dim, 1, outputs)
    return torch.lerp(outer, inner, 0.75) / 2


def _double(x: Tensor, dim: int) -> Tensor:
    padded, size = _padded(x, dim), x.shape[dim]
    pair = [torch.lerp(x, padded.narrow(dim, start, size), 0.25) for start in (0, 2)]
    return torch.stack(pair, dim + 1).flatten(dim, dim + 1)


def _padded(x: Tensor, dim: int) -> Tensor:
    """Return a map with a zero before and after each row (``dim`` 3) or column (2)."""
    return pad(x, (1, 1) if dim == 3 else (0, 0, 1, 1))
