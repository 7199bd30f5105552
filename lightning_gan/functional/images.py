"""The one border between the training range [-1, 1] and bytes."""

import torch
from torch import Tensor


def to_uint8(images: Tensor) -> Tensor:
    """Turn images in [-1, 1] into bytes, rounding; what lies outside is clamped.

    Args:
        images: Any shape, floating point.

    Returns:
        The same shape, uint8 in [0, 255].

    Example:
        >>> to_uint8(torch.tensor([-1.0, 0.0, 1.0, 1.5]))
        tensor([  0, 128, 255, 255], dtype=torch.uint8)
    """
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
