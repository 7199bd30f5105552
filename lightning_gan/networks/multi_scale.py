"""Several discriminators that look at the same images from different distances."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from lightning_gan.layers import apply


class MultiScaleDiscriminator(nn.Module):
    """Feed each discriminator the images at half the side of the one before.

    A loss that averages over all logits becomes the mean over the scales of each scale's loss.
    For that, coarser maps of logits are spread over the finest map's positions so that each of
    their logits has the same weight: it is repeated, or, where the finest side is no multiple of
    the coarser one (as 30 of 14 are for two :class:`PatchDiscriminator` on 256 pixels), blended
    with its neighbour at the positions that both cover. The mean of the logits is exact in either
    case, that of a curved function of theirs only without blending.

    Args:
        discriminators: Any discriminators, for the full size first. Each returns logits (N,) or
            (N, H', W'), also with one channel, (N, 1) or (N, 1, H', W').

    Attributes:
        num_classes: Number of classes of all of them, None if they take no labels.
        sample_shape: That of the first, None if it has none.

    Raises:
        ValueError: If there are none, or if they differ in ``num_classes``.

    Reference:
        Wang et al., "High-Resolution Image Synthesis and Semantic Manipulation with Conditional
        GANs", CVPR 2018, https://arxiv.org/abs/1711.11585, section 3.2.
    """

    def __init__(self, discriminators: Sequence[nn.Module]) -> None:
        super().__init__()
        if not discriminators:
            raise ValueError("Expected 'discriminators' to hold at least one, got none.")
        classes = [getattr(network, "num_classes", None) for network in discriminators]
        if len(set(classes)) > 1:
            raise ValueError(f"Expected 'discriminators' to agree in 'num_classes', got {classes}.")
        self.discriminators = nn.ModuleList(discriminators)
        self.num_classes: int | None = classes[0]
        ways = [getattr(network, "conditioning", None) for network in discriminators]
        self.conditioning: str | None = ways[0] if len(set(ways)) == 1 else "several"
        self.num_outputs = 1  # for each scale
        self.sample_shape: tuple[int, ...] | None = getattr(discriminators[0], "sample_shape", None)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Tell real images (large) from generated ones (small) at each scale.

        Args:
            x: Images, (N, C, H, W).
            labels: Classes, (N,) int64; needed if ``num_classes`` is not None, else ignored.

        Returns:
            Logits (N, K) of K discriminators that return one per sample, or (N, K, H', W') with
            the finest map's sides.

        Raises:
            ValueError: If these are no images, if a discriminator refuses its scale, or if it
                returns anything but logits of the shapes above.
        """
        if x.dim() != 4:
            raise ValueError(f"Expected images (N, C, H, W), got the shape {tuple(x.shape)}.")
        scales = [self._logits(0, x, labels)]
        for i in range(1, len(self.discriminators)):
            x = avg_pool2d(x, 2)
            scales.append(self._logits(i, x, labels))
        if all(logits.dim() == 1 for logits in scales):
            return torch.stack(scales, dim=1)
        maps = [logits[:, None, None] if logits.dim() == 1 else logits for logits in scales]
        for dim in (1, 2):
            finest = max(logits.shape[dim] for logits in maps)
            maps = [_spread(logits, dim, finest) for logits in maps]
        return torch.stack(maps, dim=1)

    def _logits(self, scale: int, x: Tensor, labels: Tensor | None) -> Tensor:
        """Return one discriminator's logits, (N,) or (N, H', W')."""
        try:
            logits: Tensor = apply(self.discriminators[scale], x, labels)
        except ValueError as error:
            raise ValueError(
                f"Expected 'discriminators[{scale}]' to take images of the shape "
                f"{tuple(x.shape[1:])}, their side halved {scale} times, got the error: {error}"
            ) from error
        if logits.dim() in (2, 4) and logits.shape[1] == 1:
            logits = logits.squeeze(1)
        if logits.dim() not in (1, 3):
            raise ValueError(
                f"Expected 'discriminators[{scale}]' to return logits (N,) or (N, H, W), got "
                f"{tuple(logits.shape)}."
            )
        return logits


def _spread(maps: Tensor, dim: int, size: int) -> Tensor:
    """Stretch one side of maps (N, H, W) so that each entry gets the same share of the result."""
    side = maps.shape[dim]
    if size % side == 0:
        return maps.repeat_interleave(size // side, dim)
    # In units of 1 / (size * side) all borders are whole numbers.
    fine, coarse = torch.arange(size, device=maps.device), torch.arange(side, device=maps.device)
    start = torch.maximum(fine[:, None] * side, coarse * size)
    end = torch.minimum((fine[:, None] + 1) * side, (coarse + 1) * size)
    with torch.autocast(maps.device.type, enabled=False):  # half precision would round the shares
        dtype = torch.promote_types(maps.dtype, torch.float32)
        shares = (end - start).clamp(min=0).to(dtype) / side  # (size, side), rows sum to 1
        spread = maps.to(dtype).movedim(dim, -1) @ shares.T
    return spread.movedim(-1, dim).to(maps.dtype)
