"""Images moved, coloured and cut, each in a way of its own.

All of it is affine in the images and can be differentiated by them any number of times, which the
penalties on a discriminator's slope need. That of ``torch.nn.functional.grid_sample`` can be only
since https://github.com/pytorch/pytorch/pull/177487; the releases before raise an error in the
second backward pass. Positions are in pixels, x to the right and y down. What is computed is
computed in float32 at least, under autocast too, and returned in the images' own precision.
"""

from itertools import product
from typing import Literal

import torch
from torch import Tensor

Padding = Literal["reflection", "zeros"]


def affine_warp(images: Tensor, matrices: Tensor, padding: Padding = "reflection") -> Tensor:
    r"""Move every image by an affine map of its own, with bilinear interpolation.

    .. math:: y(u) = x\big(c + M\,(u - c, 1)^\top\big)

    with the image's centre :math:`c`. The matrix therefore says where each pixel comes *from*: with
    twice the identity an image shrinks to half its side. Maps to whole pixels are exact, such as
    flips and quarter turns of square images.

    Args:
        images: (N, C, H, W).
        matrices: :math:`M`, (N, 2, 3), or (N, 3, 3) whose third rows are not read. The columns
            belong to x, y and 1.
        padding: What lies outside: the image mirrored at the centres of its outermost pixels, or
            zeros.

    Returns:
        The same shape.

    Raises:
        ValueError: If ``matrices`` has another shape, or ``padding`` is unknown.

    Example:
        >>> image = torch.tensor([[[[1.0, 2.0, 3.0]]]])
        >>> affine_warp(image, torch.tensor([[[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]))
        tensor([[[[3., 2., 1.]]]])

    Reference:
        Jaderberg et al., "Spatial Transformer Networks", NeurIPS 2015,
        https://arxiv.org/abs/1506.02025, eqs. (1) and (5), there in coordinates from -1 to 1.
    """
    n, _, height, width = images.shape
    _check_matrices(matrices, n, {(2, 3), (3, 3)})
    if padding not in ("reflection", "zeros"):
        raise ValueError(f"Expected 'padding' to be 'reflection' or 'zeros', got {padding!r}.")
    exact = matrices.to(torch.promote_types(images.dtype, torch.float32))
    ax, ay, shift = exact[:, :2, :, None, None].unbind(dim=2)  # each (N, 2, 1, 1)
    x = torch.arange(width, device=images.device) - (width - 1) / 2
    y = torch.arange(height, device=images.device)[:, None] - (height - 1) / 2
    columns, rows = (ax * x + ay * y + shift).unbind(dim=1)  # each (N, H, W)
    columns, rows = columns + (width - 1) / 2, rows + (height - 1) / 2
    left, top = columns.floor(), rows.floor()
    right_share, bottom_share = columns - left, rows - top
    warped = torch.zeros_like(images, dtype=exact.dtype)
    for down, right in product((0, 1), (0, 1)):
        share = bottom_share if down else 1 - bottom_share
        share = share * (right_share if right else 1 - right_share)
        corner = _pick(images, top.long() + down, left.long() + right, padding)
        warped = warped + share[:, None] * corner
    return warped.to(images.dtype)


def translate(images: Tensor, shifts: Tensor) -> Tensor:
    """Move every image by whole pixels of its own; zeros enter.

    Args:
        images: (N, C, H, W).
        shifts: (N, 2), integers: how far to the right, and how far down.

    Returns:
        The same shape.

    Example:
        >>> translate(torch.tensor([[[[1.0, 2.0, 3.0]]]]), torch.tensor([[1, 0]]))
        tensor([[[[0., 1., 2.]]]])
    """
    height, width = images.shape[2:]
    right, down = shifts[:, :, None, None].unbind(dim=1)  # each (N, 1, 1)
    columns = torch.arange(width, device=images.device) - right
    rows = torch.arange(height, device=images.device)[:, None] - down
    rows, columns = torch.broadcast_tensors(rows, columns)
    return _pick(images, rows, columns, "zeros")


def cutout(images: Tensor, centers: Tensor, sizes: Tensor) -> Tensor:
    """Set a rectangle of every image to zero: the pixels whose centres lie within it.

    Args:
        images: (N, C, H, W).
        centers: (N, 2), the rectangles' centres, x and y from the image's upper left corner. The
            first pixel reaches from 0 to 1. Rectangles may stand out over the edges.
        sizes: (N, 2), widths and heights; those of 0 cut nothing.

    Returns:
        The same shape.

    Example:
        >>> image = torch.tensor([[[[1.0, 2.0, 3.0, 4.0]]]])
        >>> cutout(image, torch.tensor([[1.0, 0.5]]), torch.tensor([[2.0, 1.0]]))
        tensor([[[[0., 0., 3., 4.]]]])

    Reference:
        DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout",
        2017, https://arxiv.org/abs/1708.04552, section 3.
    """
    height, width = images.shape[2:]
    (x, y), (wide, high) = (pair[:, :, None, None].unbind(dim=1) for pair in (centers, sizes))
    columns = torch.arange(width, device=images.device) + 0.5
    rows = torch.arange(height, device=images.device)[:, None] + 0.5
    inside = ((columns - x).abs() < wide / 2) & ((rows - y).abs() < high / 2)  # (N, H, W)
    return images.masked_fill(inside[:, None], 0)


def color_transform(images: Tensor, matrices: Tensor) -> Tensor:
    r"""Change the colours of every image by an affine map of its own.

    .. math:: y = A\,x + b, \qquad M = (A \mid b)

    Grey images are taken as coloured ones whose three channels are equal, and the mean of the
    channels is returned. They follow brightness and contrast; rotations of the hue and saturation,
    which leave grey alone, do nothing to them.

    Args:
        images: (N, 3, H, W) or (N, 1, H, W).
        matrices: :math:`M`, (N, 3, 4), or (N, 4, 4) whose fourth rows are not read.

    Returns:
        The same shape. Values may leave [-1, 1].

    Raises:
        ValueError: If ``matrices`` has another shape, or ``images`` other than 1 or 3 channels.

    Example:
        >>> invert = torch.tensor([[[-1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 0]]])
        >>> color_transform(torch.full((1, 1, 1, 1), 0.25), invert)
        tensor([[[[-0.2500]]]])
    """
    n, channels = images.shape[:2]
    _check_matrices(matrices, n, {(3, 4), (4, 4)})
    if channels not in (1, 3):
        raise ValueError(f"Expected 'images' to have 1 or 3 channels, got {channels}.")
    exact = matrices.to(torch.promote_types(images.dtype, torch.float32))[:, :3, :, None, None]
    linear, offset = exact[:, :, :3], exact[:, :, 3]  # (N, 3, 3, 1, 1) and (N, 3, 1, 1)
    if channels == 1:
        colored = images * linear.sum(dim=2).mean(dim=1, keepdim=True)
        offset = offset.mean(dim=1, keepdim=True)
    else:
        # Not a matrix product, which autocast and TF32 would round.
        colored = (linear * images[:, None]).sum(dim=2)
    return (colored + offset).to(images.dtype)


def _check_matrices(matrices: Tensor, n: int, shapes: set[tuple[int, int]]) -> None:
    if matrices.dim() != 3 or len(matrices) != n or matrices.shape[1:] not in shapes:
        rule = " or ".join(str((n, *shape)) for shape in sorted(shapes))
        raise ValueError(f"Expected 'matrices' of the shape {rule}, got {tuple(matrices.shape)}.")


def _pick(images: Tensor, rows: Tensor, columns: Tensor, padding: Padding) -> Tensor:
    """Return the pixels (N, C, ...) at positions (N, ...), which may lie outside."""
    n, channels, height, width = images.shape
    if padding == "reflection":
        rows, columns = _reflect(rows, height), _reflect(columns, width)
    index = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    everywhere = index.reshape(n, 1, -1).expand(-1, channels, -1)
    picked = images.flatten(start_dim=2).gather(2, everywhere).view(n, channels, *rows.shape[1:])
    if padding == "reflection":
        return picked
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return picked.masked_fill(~inside[:, None], 0)


def _reflect(positions: Tensor, size: int) -> Tensor:
    """Fold whole positions into [0, size), mirrored at the first and the last."""
    period = max(2 * (size - 1), 1)
    positions = positions.remainder(period)
    return torch.minimum(positions, period - positions)
