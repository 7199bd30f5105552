"""What metrics share that see samples through an extractor."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat
from typing_extensions import Self

from lightning_gan.extractors import Description, Extractor, Points, make_extractor
from lightning_gan.functional import to_uint8
from lightning_gan.metrics.real_samples import to_bytes
from lightning_gan.training.distributed import smallest


class SampleMetric(Metric):
    """A metric of what an extractor says of samples.

    The extractor is no part of the module: none of its weights are among the parameters or in the
    state_dict of whatever holds the metric. It follows the samples from device to device.

    Args:
        extractor: What describes the samples; see
            :func:`~lightning_gan.extractors.make_extractor`.
        **kwargs: See torchmetrics' ``Metric``.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    def __init__(self, extractor: str | Path | nn.Module | Extractor, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._extractor = [make_extractor(extractor)]  # in a list, which registers no modules
        self._digest: str | None = None

    @property
    def extractor(self) -> Extractor:
        """What describes the samples."""
        return self._extractor[0]

    @property
    def digest(self) -> str:
        """SHA-256 of the extractor, computed once."""
        if self._digest is None:
            self._digest = self.extractor.digest()
        return self._digest

    def describe(self, samples: Tensor, real: bool = False) -> Description:
        """Return what the extractor says of samples, images or points.

        Args:
            samples: Images (N, C, H, W), uint8 in [0, 255] or floating point in [-1, 1]; or points
                (N, d).
            real: Whether they are real. Of generated images what lies outside [-1, 1] is clamped,
                as where they are saved; real ones would become others.

        Raises:
            TypeError: If they are of another type than the extractor takes.
            ValueError: If they are of another shape, not finite or, real images, out of range.
        """
        if samples.is_floating_point():
            _check_finite(samples)
            if not isinstance(self.extractor, Points):
                samples = to_bytes(samples) if real else to_uint8(samples)
        described: Description = self.extractor.to(samples.device)(samples)
        return described

    def _apply(self, fn: Callable[..., Any], exclude_state: Sequence[str] = "") -> Self:
        """Follow to another device, but not to another type: half precision is not enough."""

        def moved(tensor: Tensor) -> Any:
            result = fn(tensor)
            return result if result.dtype == tensor.dtype else tensor.to(result.device)

        return super()._apply(moved, exclude_state)  # type: ignore[return-value]


def at_least_empty(parts: list[Tensor], device: torch.device) -> list[Tensor]:
    """Give a process that has no rows an empty matrix, as wide as those of the others.

    Args:
        parts: Matrices (N, d) of float32 that are to be joined.
        device: Where processes exchange what they know.

    Returns:
        The same, of at least one matrix if any process has one.
    """
    width = -smallest(-parts[0].shape[1] if parts else 0, device)
    return parts or ([torch.zeros(0, width, dtype=torch.float32, device=device)] if width else [])


def joined(parts: list[Tensor], which: str) -> Tensor:
    """Join what was collected, of all processes."""
    if not len(parts):
        raise ValueError(f"Expected {which} samples before 'compute', got none.")
    return dim_zero_cat(parts)


def one_shape(samples: Tensor, shape: tuple[int, ...] | None) -> tuple[int, ...]:
    """Return the shape of each sample, which must be that of those before, if there were any."""
    own = tuple(samples.shape[1:])
    if shape not in (None, own):
        raise ValueError(f"Expected samples of shape {shape} like those before, got {own}.")
    return own


def _check_finite(samples: Tensor) -> None:
    wrong = int((~samples.isfinite()).flatten(1).any(dim=1).sum()) if samples.numel() else 0
    if wrong:
        raise ValueError(
            f"Expected finite samples, got NaN or infinity in {wrong} of {len(samples)}."
        )
