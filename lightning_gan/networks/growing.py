"""What a network that grows with its images knows: its resolution, and how far that faded in."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from lightning_gan.functional import enlarge, shrink


class Growing(nn.Module):
    r"""A network that works at one of several resolutions, each of which fades in over the last.

    It knows where it stands, (``resolution``, ``alpha``), and nothing of when it is to go on; that
    is known to :class:`~lightning_gan.callbacks.ProgressiveGrowing`. Both are part of the
    ``state_dict``. A network is built at its last resolution.

    A network of the user's own inherits from it, reads :attr:`resolution` in its ``forward`` and,
    while it is :attr:`fading`, mixes what it would have computed at half that resolution with what
    it computes now by :meth:`fade`.

    Args:
        resolutions: Sides of the images at which it can work, each twice the one before.
        *args: Of the next class, such as :class:`~lightning_gan.networks.Generator`.
        **kwargs: Likewise.

    Attributes:
        resolutions: As given.
        resolution: Side of the images now.
        alpha: :math:`\alpha` in [0, 1], the share of what the last resolution added.
        fading: Whether :math:`\alpha < 1`.
        sample_shape: Shape (C, H, W) of an image now, where the next class has such an attribute.

    Raises:
        ValueError: If a resolution is not twice the one before, or there is none.

    Example:
        >>> class Colours(Growing):
        ...     def forward(self, z):
        ...         return z[:, :, None, None].expand(-1, -1, self.resolution, self.resolution)
        >>> colours = Colours(resolutions=(4, 8, 16))
        >>> colours.grow(8, alpha=0.5)
        >>> colours(torch.zeros(2, 3)).shape
        torch.Size([2, 3, 8, 8])

    Reference:
        Karras et al., "Progressive Growing of GANs", ICLR 2018,
        https://arxiv.org/abs/1710.10196, section 2.
    """

    sample_shape: tuple[int, ...]
    _alpha: Tensor

    def __init__(self, resolutions: Sequence[int], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.resolutions = tuple(resolutions)
        doubled = (large == 2 * small for small, large in pairwise(self.resolutions))
        if not self.resolutions or not all(doubled):
            raise ValueError(
                f"Expected 'resolutions', each twice the one before, got {list(self.resolutions)}."
            )
        # Compiled code would be made anew for every number, but not for every value of a tensor.
        self.register_buffer("_alpha", torch.ones(()), persistent=False)
        self.grow(self.resolutions[-1])

    def grow(self, resolution: int, alpha: float = 1.0) -> None:
        """Work at another resolution from now on.

        Args:
            resolution: One of :attr:`resolutions`.
            alpha: Share of what it adds to the resolution below, in [0, 1].

        Raises:
            ValueError: If the resolution is none of those, or ``alpha`` out of range or below 1 at
                the first of them, which has none below.
        """
        if resolution not in self.resolutions:
            raise ValueError(
                f"Expected 'resolution' to be one of this {type(self).__name__}'s, "
                f"{list(self.resolutions)}, got {resolution}."
            )
        if not 0 <= alpha <= 1 or (alpha < 1 and resolution == self.resolutions[0]):
            rule = "1 at the first resolution" if 0 <= alpha < 1 else "in [0, 1]"
            raise ValueError(f"Expected 'alpha' to be {rule}, got {alpha} at {resolution}.")
        self.resolution = resolution
        self.alpha = alpha
        self.fading = alpha < 1
        self._alpha.fill_(alpha)
        if shape := getattr(self, "sample_shape", None):
            self.sample_shape = (shape[0], resolution, resolution)

    def fade(self, low: Tensor, high: Tensor) -> Tensor:
        """Return (1 - alpha) ``low`` + alpha ``high``, of the same shape."""
        # Copied: a backward pass refuses what was changed in place since, as DDP does with buffers.
        return low.lerp(high, self._alpha.to(low.dtype, copy=True))

    def get_extra_state(self) -> Tensor:
        """Return resolution and alpha for the ``state_dict``."""
        return torch.tensor([self.resolution, self.alpha], dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Take up resolution and alpha from a ``state_dict``."""
        resolution, alpha = state.tolist()
        self.grow(int(resolution), alpha)


def in_final_size(images: Tensor, network: nn.Module) -> Tensor:
    """Bring images to the size that a network which grows will reach, without blur.

    Args:
        images: (N, C, H, W), square.
        network: One that grows, or holds such; images are left as they are for any other.
    """
    sides = [part.resolutions[-1] for part in network.modules() if isinstance(part, Growing)]
    if not sides:
        return images
    resize = shrink if min(images.shape[-2:]) > max(sides) else enlarge
    return resize(images, max(sides))
