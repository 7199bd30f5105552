"""Batches in the forms in which loaders yield them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Real samples, (N, C, H, W) or (N, D), and their classes, (N,), where there are any."""

    real: Tensor
    labels: Tensor | None = None

    def split(self, parts: int) -> list["Batch"]:
        """Split into near-equal parts.

        Raises:
            ValueError: If there are fewer samples than parts.
        """
        if len(self.real) < parts:
            raise ValueError(
                f"Expected batches of at least n_critic={parts} samples, one for each update of "
                f"the discriminator, got {len(self.real)}."
            )
        if parts == 1:
            return [self]
        reals = self.real.tensor_split(parts)
        labels = [None] * parts if self.labels is None else self.labels.tensor_split(parts)
        return [Batch(*pair) for pair in zip(reals, labels, strict=True)]


def unpack(batch: Any) -> Batch:
    """Take the samples and labels out of what a loader yields.

    Args:
        batch: A tensor, a sequence (samples, labels, ...) or a mapping with the key ``image`` and
            possibly ``label`` or ``labels``.

    Raises:
        TypeError: If it is none of these.

    Example:
        >>> import torch
        >>> unpack({"image": torch.zeros(4, 2), "label": torch.arange(4)}).labels
        tensor([0, 1, 2, 3])
    """
    match batch:
        case Tensor():
            return Batch(batch)
        case Mapping() if isinstance(batch.get("image"), Tensor):
            return Batch(batch["image"], batch.get("label", batch.get("labels")))
        case Sequence() if batch and isinstance(batch[0], Tensor):
            labels = batch[1] if len(batch) > 1 and isinstance(batch[1], Tensor) else None
            return Batch(batch[0], labels)
    keys = f" with the keys {sorted(batch)}" if isinstance(batch, Mapping) else ""
    raise TypeError(
        "Expected the loader to yield images, (images, labels) or a dict with an 'image' key, "
        f"got {type(batch).__name__}{keys}."
    )
