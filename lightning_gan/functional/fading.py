"""Images of a lower resolution, and between two resolutions."""

from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate


def enlarge(images: Tensor, side: int) -> Tensor:
    """Repeat pixels until the image has ``side`` by ``side`` of them.

    Args:
        images: (N, C, H, W).
        side: Multiple of the side that they have.
    """
    if images.shape[-2:] == (side, side):
        return images
    return interpolate(images, size=(side, side), mode="nearest")


def shrink(images: Tensor, side: int) -> Tensor:
    """Average areas of pixels until the image has ``side`` by ``side`` of them.

    Args:
        images: (N, C, H, W), of at least that size; if it is no multiple, areas overlap.
        side: New height and width.

    Raises:
        ValueError: If the images are smaller than that.

    Example:
        >>> import torch
        >>> shrink(torch.tensor([[[[0.0, 2.0], [4.0, 6.0]]]]), 1)
        tensor([[[[3.]]]])
    """
    if images.shape[-2:] == (side, side):
        return images
    if images.dim() != 4 or min(images.shape[-2:]) < side:
        raise ValueError(
            f"Expected images of at least {side}x{side} pixels, got {tuple(images.shape)}."
        )
    height, width = images.shape[-2:]
    if height % side == width % side == 0:  # unlike "area", deterministic on every device
        return avg_pool2d(images, (height // side, width // side))
    return interpolate(images, size=(side, side), mode="area")


def at_resolution(images: Tensor, resolution: int, alpha: float = 1.0) -> Tensor:
    r"""Show images at a resolution r that fades in from the one below it.

    .. math:: x_r = \mathrm{shrink}(x, r), \qquad
        (1 - \alpha)\,\mathrm{enlarge}(x_{r/2}, r) + \alpha\,x_r

    It is what real images have to undergo where both networks fade in.

    Args:
        images: (N, C, H, W) in [-1, 1], of at least that resolution.
        resolution: Side r.
        alpha: Share of the new resolution, in [0, 1].

    Returns:
        (N, C, ``resolution``, ``resolution``) in [-1, 1].

    Raises:
        ValueError: If the images are smaller than that.

    Example:
        >>> import torch
        >>> at_resolution(torch.tensor([[[[0.0, 2.0], [4.0, 6.0]]]]), 2, alpha=0.5)
        tensor([[[[1.5000, 2.5000],
                  [3.5000, 4.5000]]]])

    Reference:
        Karras et al., "Progressive Growing of GANs", ICLR 2018,
        https://arxiv.org/abs/1710.10196, section 2 and figure 2.
    """
    images = shrink(images, resolution)
    if alpha == 1:
        return images
    return enlarge(shrink(images, resolution // 2), resolution).lerp(images, alpha)
