"""Real samples that know their content, each process's part of them at a time."""

import hashlib
import math
import random
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from itertools import chain, islice
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from lightning.fabric.utilities.data import sized_len
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from lightning_gan.functional import to_uint8
from lightning_gan.training.batch import unpack
from lightning_gan.training.distributed import total

_EDGE = 1 + 1 / 255  # half a byte beyond the range


@runtime_checkable
class SampleSet(Protocol):
    """Samples by index that know their content, as our data modules hold them.

    Attributes:
        labels: Classes, (N,) int64.
        originals: Number of samples without mirror images.
    """

    labels: Tensor

    @property
    def originals(self) -> int: ...  # noqa: D102

    def fingerprint(self) -> str: ...  # noqa: D102

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]: ...


class RealSamples(Protocol):
    """Real samples as a comparison needs them."""

    @property
    def size(self) -> int | None:
        """Number of this process's samples, where it is known."""

    def fingerprint(self) -> str:
        """Return what is the same for the same content of all processes alone."""

    def parts(self) -> Iterator[Tensor]:
        """Yield this process's samples, none of the parts empty; the same ones every time."""


class SetOfSamples:
    """Real samples of one of our data modules.

    Args:
        samples: The set.
        count: How many of them, drawn once and for all; None takes all.
        batch_size: Samples read at a time.
        ranks: Number of processes and that of this one.
    """

    def __init__(
        self,
        samples: SampleSet,
        count: int | None = None,
        batch_size: int = 128,
        ranks: tuple[int, int] = (1, 0),
    ) -> None:
        self.samples, self.batch_size, self.ranks = samples, batch_size, ranks
        size = samples.originals
        self.index = torch.arange(size)
        if count is not None and count < size:
            chosen = torch.randperm(size, generator=torch.Generator().manual_seed(0))[:count]
            self.index = chosen.sort().values  # files are read in their order

    def __len__(self) -> int:
        return len(self.index)

    @property
    def size(self) -> int:
        """Number of this process's samples."""
        return len(own_part(self.index, *self.ranks))

    def fingerprint(self) -> str:
        """Return a digest of the samples' content and of which of them are taken."""
        return f"{self.samples.fingerprint()} {len(self.index)}"

    def parts(self) -> Iterator[Tensor]:
        """Yield this process's samples, in [-1, 1] if they are images."""
        own = own_part(self.index, *self.ranks)
        for start in range(0, len(own), self.batch_size):
            yield self.samples[own[start : start + self.batch_size]][0]

    def labels(self) -> Tensor:
        """Return the classes of all, (N,) int64."""
        return self.samples.labels[self.index]


class LoaderOfSamples:
    """Real samples of a loader of the user's own.

    Some of them are drawn from all, as :func:`some_of` does. A loader that shuffles or augments by
    chance does so the same way every time, and other random numbers stay as they are.

    Args:
        loader: Yields what the model is trained on.
        count: How many samples this process takes; None takes all.
        device: Where processes exchange what they know.
        ranks: Number of processes and that of this one, of a loader that gives all samples to each
            of them; by default Lightning has already given each its part.

    Raises:
        ValueError: If the loader has no end and no number is given.
    """

    def __init__(
        self,
        loader: Iterable[Any],
        count: int | None,
        device: torch.device,
        ranks: tuple[int, int] = (1, 0),
    ) -> None:
        if count is None and sized_len(loader) is None:
            raise ValueError(
                "Expected 'num_real' for a loader without a length, which may have no end, got "
                "None."
            )
        if isinstance(loader, DataLoader):
            own = copy(loader)  # workers that persist serve one iterator alone: the training's
            own._iterator = None
            loader = own
        self.loader, self.count, self.device, self.ranks = loader, count, device, ranks

    @property
    def size(self) -> int | None:
        """Number of this process's samples, where one was given."""
        return self.count

    def fingerprint(self) -> str:
        """Return a digest of all samples' content in whatever order they come; reads them once."""
        sums = torch.zeros(5, dtype=torch.int64)  # wrap around, which is what sums of digests may
        for samples in self.parts():
            for sample in samples if samples.dim() == 2 else to_bytes(samples):
                digest = hashlib.sha256(f"{sample.dtype} {tuple(sample.shape)}".encode())
                digest.update(sample.contiguous().view(-1).view(torch.uint8).numpy().data)
                sums[:4] += torch.frombuffer(bytearray(digest.digest()), dtype=torch.int64)
                sums[4] += 1
        return str(total(sums.to(self.device)).tolist())

    def parts(self) -> Iterator[Tensor]:
        """Yield this process's samples, images in [-1, 1] or bytes."""
        left = sys.maxsize if self.count is None else self.count
        world, rank = self.ranks
        with replayed(self.loader):
            loader = self.loader if self.count is None else some_of(self.loader, left * world)
            for batch in loader:
                samples = unpack(batch).samples[rank::world][:left].cpu()
                left -= len(samples)
                yield samples
                if left <= 0:
                    break


def some_of(loader: Iterable[Any], count: int, batch_size: int | None = None) -> Iterable[Any]:
    """Return a loader of some of a loader's samples, the same ones each time.

    They are drawn at random, as a file of samples may well be sorted by class, if the loader is
    torch's and can be asked for any of its samples; of another one they are the first ones. A
    loader that shuffles is asked for its order, which takes random numbers: see :func:`replayed`.

    Args:
        loader: Of any kind.
        count: How many samples at most.
        batch_size: Samples read at a time; by default as many as the loader does.
    """
    if not isinstance(loader, DataLoader) or loader.batch_sampler is None:
        return loader
    data: Any = loader.dataset
    if isinstance(data, IterableDataset) or not hasattr(data, "__len__"):
        return loader
    # Which of them it delivers, the sampler knows, which under ddp is this process's own.
    numbers = [*islice(chain.from_iterable(loader.batch_sampler), len(data))]
    order = torch.randperm(len(numbers), generator=torch.Generator().manual_seed(0))
    size = batch_size or loader.batch_size or count
    return DataLoader(
        data,
        size,
        sampler=[numbers[i] for i in order[:count].tolist()],
        num_workers=min(loader.num_workers, math.ceil(count / size)),
        collate_fn=loader.collate_fn,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=loader.generator,
    )


@contextmanager
def replayed(loader: Iterable[Any]) -> Iterator[None]:
    """Let a loader shuffle and augment by the same random numbers, and leave all as they were.

    These are the process's global ones and those of the loader's own generators.

    Args:
        loader: Of any kind.
    """
    holders = (loader, getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None))
    held = [getattr(holder, "generator", None) for holder in holders]
    sources = [source for source in held if isinstance(source, torch.Generator)]
    states = [source.get_state() for source in sources]
    try:
        with isolate_rng():
            for seed in (torch.manual_seed, random.seed, np.random.seed):
                seed(0)
            for source in sources:
                source.manual_seed(0)
            yield
    finally:
        for source, state in zip(sources, states, strict=True):
            source.set_state(state)


def to_bytes(images: Tensor) -> Tensor:
    """Turn real images into bytes; what is not of floating point stays as it is.

    Args:
        images: Any shape, floating point in [-1, 1] or uint8.

    Raises:
        ValueError: If values of floating point are NaN or so far outside that bytes cannot hold
            them: what is clamped is another image.
    """
    if not images.is_floating_point():
        return images
    low, high = (float(edge) for edge in images.aminmax()) if images.numel() else (0.0, 0.0)
    if not (low >= -_EDGE and high <= _EDGE):  # nor where they are NaN
        raise ValueError(
            f"Expected real images to be uint8 or in [-1, 1], got values from {low:.4g} to "
            f"{high:.4g}."
        )
    return to_uint8(images)


def own_part(items: Tensor, world_size: int, rank: int) -> Tensor:
    """Return a process's near-equal part of a sequence; all parts in order make it again."""
    return items[rank * len(items) // world_size : (rank + 1) * len(items) // world_size]
