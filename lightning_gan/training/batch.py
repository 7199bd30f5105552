"""Samples with what is known of them, and the forms in which loaders yield them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """Samples, real or generated.

    Attributes:
        samples: (N, C, H, W), images in [-1, 1]; or (N, D).
        labels: Their classes, (N,) int64, where there are any.
        latents: What generated samples were made of, (N, ``latent_dim``).
    """

    samples: Tensor
    labels: Tensor | None = None
    latents: Tensor | None = None

    def split(self, parts: int) -> list["Batch"]:
        """Split into near-equal parts.

        Raises:
            ValueError: If there are fewer samples than parts.
        """
        if len(self.samples) < parts:
            raise ValueError(
                f"Expected batches of at least {parts} samples, one for each update of the "
                f"discriminator, got {len(self.samples)}."
            )
        if parts == 1:
            return [self]
        split = [[None] * parts if x is None else x.tensor_split(parts) for x in self]
        return [Batch(*part) for part in zip(*split, strict=True)]

    def packed(self, size: int) -> "Batch":
        """Join every ``size`` samples that follow each other into one, channel by channel.

        What is left over is dropped; of fewer samples than ``size`` some are repeated.

        Example:
            >>> import torch
            >>> Batch(torch.zeros(5, 3, 8, 8)).packed(2).samples.shape
            torch.Size([2, 6, 8, 8])
        """
        if size == 1:
            return self
        n = max(len(self.samples) // size, 1) * size
        whole = self if n <= len(self.samples) else self.rows(torch.arange(n) % len(self.samples))
        return whole.rows(slice(n)).map(
            lambda x: _columns(x).unflatten(0, (-1, size)).flatten(1, 2)
        )

    def unpacked(self, size: int) -> "Batch":
        """Undo :meth:`packed`."""
        if size == 1:
            return self
        single = self.map(lambda x: x.unflatten(1, (size, -1)).flatten(0, 1))
        return single._replace(labels=None if self.labels is None else self.labels.flatten())

    def rows(self, which: Any) -> "Batch":
        """Return some of the samples, by a slice or by an index or mask tensor."""
        return self.map(lambda x: x[which])

    def join(self, other: "Batch") -> "Batch":
        """Return the samples of both, with what is known of all of them."""
        return self.map(lambda x, y: torch.cat([x, y]), other)

    def map(self, change: Callable[..., Tensor], *others: "Batch") -> "Batch":
        """Apply a function to each kind of tensor, of this batch and of others that have it too."""
        kinds = zip(self, *others, strict=True)
        return Batch(*(None if any(x is None for x in xs) else change(*xs) for xs in kinds))  # type: ignore[arg-type]


def _columns(x: Tensor) -> Tensor:
    """Give labels (N,) a second dimension."""
    return x[:, None] if x.dim() == 1 else x


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
            labels = batch.get("label", batch.get("labels"))
            return Batch(batch["image"], labels if isinstance(labels, Tensor) else None)
        case Sequence() if batch and isinstance(batch[0], Tensor):
            labels = batch[1] if len(batch) > 1 and isinstance(batch[1], Tensor) else None
            return Batch(batch[0], labels)
    keys = f" with the keys {sorted(batch)}" if isinstance(batch, Mapping) else ""
    raise TypeError(
        "Expected the loader to yield images, (images, labels) or a dict with an 'image' key, "
        f"got {type(batch).__name__}{keys}."
    )
