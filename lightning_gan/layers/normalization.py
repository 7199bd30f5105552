"""Normalisation by name, for network constructors and their YAML."""

from typing import Literal

import torch
from torch import Tensor, nn

from lightning_gan.layers.conditioning import ConditionalBatchNorm2d, VectorBatchNorm2d

Normalization = Literal["batch", "instance", "layer", "pixel", "none"]


class PixelNorm(nn.Module):
    r"""Give the channels of each position a mean square of 1.

    .. math:: y_c = x_c \Big/ \sqrt{\tfrac{1}{C} \textstyle\sum_j x_j^2 + \epsilon}

    Args:
        eps: Added to the mean square.

    Example:
        >>> PixelNorm()(torch.tensor([[3.0, -3.0], [0.0, 0.0]]))
        tensor([[ 1., -1.],
                [ 0.,  0.]])

    Reference:
        Karras et al., "Progressive Growing of GANs", ICLR 2018,
        https://arxiv.org/abs/1710.10196, section 4.2.
    """

    def __init__(self, eps: float = 1e-8) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C) or (N, C, H, W) to the same shape."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))  # float16 has neither eps nor x^2
        mean_square = wide.square().mean(dim=1, keepdim=True)
        return (wide * torch.rsqrt(mean_square + self.eps)).to(x.dtype)

    def extra_repr(self) -> str:
        """Return the epsilon."""
        return f"eps={self.eps}"


def normalization(
    kind: Normalization,
    channels: int,
    num_classes: int | None = None,
    vector_dim: int | None = None,
) -> nn.Module:
    """Build a normalisation of feature maps.

    Args:
        kind: ``"batch"`` mixes the samples of a batch, so it is unfit for a discriminator under a
            gradient penalty; the others treat every sample by itself. ``"pixel"`` learns nothing.
        channels: Number of channels of the feature map.
        num_classes: Number of classes, each with a scale and shift of its own; the module then
            takes the labels, (N,) int64, as second argument. Only for ``"batch"``.
        vector_dim: Length of vectors of which scale and shift are linear functions; the module then
            takes these, (N, ``vector_dim``), as second argument. Likewise, and not with classes.

    Returns:
        A module that maps (N, ``channels``, H, W) to the same shape.

    Raises:
        ValueError: If ``num_classes`` or ``vector_dim`` is given for a kind other than
            ``"batch"``, or if both are.
    """
    if num_classes is not None and vector_dim is not None:
        raise ValueError(
            f"Expected 'num_classes' or 'vector_dim' to be None, got {num_classes} and "
            f"{vector_dim}."
        )
    for given, condition in ((num_classes, "classes"), (vector_dim, "vectors")):
        if given is not None and kind != "batch":
            raise ValueError(
                f"Expected 'norm' to be 'batch' where it is conditional on {condition}, "
                f"got '{kind}'."
            )
    match kind:
        case "batch" if num_classes is not None:
            return ConditionalBatchNorm2d(channels, num_classes)
        case "batch" if vector_dim is not None:
            return VectorBatchNorm2d(channels, vector_dim)
        case "batch":
            return nn.BatchNorm2d(channels)
        case "instance":
            return nn.InstanceNorm2d(channels, affine=True)
        case "layer":
            return nn.GroupNorm(1, channels)  # one group: mean and variance over C, H and W
        case "pixel":
            return PixelNorm()
        case "none":
            return nn.Identity()
