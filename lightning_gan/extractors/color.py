"""Channels of images for networks that take colour images only."""

from torch import Tensor


def as_rgb(images: Tensor, name: str) -> Tensor:
    """Return images with three channels; a single one is repeated.

    Args:
        images: (N, 1 or 3, H, W).
        name: Of the extractor that asks.

    Returns:
        (N, 3, H, W).

    Raises:
        ValueError: If they have another number of channels.

    Example:
        >>> import torch
        >>> as_rgb(torch.zeros(2, 1, 4, 4), "inception").shape
        torch.Size([2, 3, 4, 4])
    """
    if images.shape[1] not in (1, 3):
        raise ValueError(
            f"Expected 'images' for the extractor '{name}' to have 1 or 3 channels, got "
            f"{images.shape[1]}."
        )
    return images.expand(-1, 3, -1, -1)
