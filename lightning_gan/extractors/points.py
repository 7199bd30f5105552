"""Points instead of images: the samples are their own features."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_gan.extractors.base import Description, Extractor
from lightning_gan.functional import HIGH_QUALITY


class Points(Extractor):
    r"""Describe points by their coordinates, and by the centres that they are near to.

    The logits of a point x for centres c, :math:`-\lVert x - c_k \rVert^2 / (2 \sigma^2)`, are
    those of a mixture of Gaussians, so that the class of a point is its nearest centre.

    Args:
        centers: Those of the data's modes, (K, d); None gives no logits.
        std: Standard deviation :math:`\sigma` of each mode: points that are 3 of it and more away
            from all centres are of no class. None takes 1, and every point has a class.

    Attributes:
        num_classes: Number of centres, or None.

    Raises:
        ValueError: If the centres are not (K, d) and finite, or ``std`` is not positive or without
            centres.

    Example:
        >>> import torch
        >>> points = Points([[0.0, 0.0], [2.0, 0.0]])
        >>> points(torch.tensor([[2.0, 1.0]]))
        Description(features=tensor([[2., 1.]]), logits=tensor([[-2.5000, -0.5000]]))
    """

    centers: Tensor | None

    def __init__(
        self, centers: Tensor | Sequence[Sequence[float]] | None = None, std: float | None = None
    ) -> None:
        super().__init__("points")
        if std is not None and (centers is None or not 0 < std < math.inf):
            raise ValueError(f"Expected 'std' to be positive, and with 'centers', got {std}.")
        self.std = std
        if std is not None:
            self.least_logit = -0.5 * HIGH_QUALITY**2
        if centers is None:
            self.register_buffer("centers", None)
        else:
            known = torch.as_tensor(centers, dtype=torch.float32).detach().clone()
            if known.dim() != 2 or not known.numel() or not bool(known.isfinite().all()):
                raise ValueError(
                    "Expected 'centers' to be finite and of shape (K, d), got "
                    f"{tuple(known.shape)}."
                )
            self.register_buffer("centers", known)
            self.num_classes = len(known)
        self.requires_grad_(False)

    def describe(self, images: Tensor) -> Description:
        """Describe points.

        Args:
            images: Points, (N, d) floating point.

        Returns:
            Features (N, d) and, where there are centres, logits (N, K).
        """
        points = images.float()
        if self.centers is None:
            return Description(points)
        steps = points.unsqueeze(1) - self.centers
        scaled = steps / (1.0 if self.std is None else self.std)
        return Description(points, -0.5 * scaled.square().sum(dim=2))

    def _check_input(self, images: Tensor) -> None:
        if not images.is_floating_point():
            raise TypeError(f"Expected points to be of floating point, got {images.dtype}.")
        dimension = "d" if self.centers is None else self.centers.shape[1]
        if images.dim() != 2 or not images.numel() or dimension not in ("d", images.shape[1]):
            raise ValueError(
                f"Expected points to have shape (N, {dimension}), got {tuple(images.shape)}."
            )
