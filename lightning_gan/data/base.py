"""What all data modules share: splits held in memory, batched by index, read as one stream."""

import hashlib
import os
import secrets
from abc import abstractmethod
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import Dataset, DistributedSampler

from lightning_gan.data.stream import (
    BatchStream,
    Delivery,
    EvaluationBatches,
    SampleStream,
    StreamLoader,
)

Samples = tuple[Tensor, Tensor]
PIXELS_AT_ONCE = 2**24  # averaged as floats, of which a whole set would take four times its memory


class TensorSamples(Dataset[Samples]):
    """Samples in memory, of which a whole batch is taken by one operation.

    Args:
        samples: (N, ...). Bytes are images and become float32 in [-1, 1]; floats stay as they are.
        labels: (N,) int64.
        horizontal_flip: Whether index N + i is the mirror image of sample i. Doubling the set
            rather than flipping by chance leaves no state behind that a resume would need.
    """

    def __init__(self, samples: Tensor, labels: Tensor, horizontal_flip: bool = False) -> None:
        self.samples = samples
        self.labels = labels
        self.horizontal_flip = horizontal_flip

    def __len__(self) -> int:
        return len(self.samples) * (2 if self.horizontal_flip else 1)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.samples.shape[1:])

    @property
    def originals(self) -> int:
        """Number of samples without their mirror images; their indices come first."""
        return len(self.samples)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the samples' content, in hexadecimal.

        It depends on neither their name, nor their labels, nor mirror images.
        """
        return content_digest(self.samples)

    def resized(self, side: int) -> "TensorSamples":
        """Return the same images at a lower resolution, areas of pixels averaged.

        Args:
            side: New height and width, at most that of the images; if it does not divide theirs,
                areas overlap. Their own returns them as they are.
        """
        if self.sample_shape[1:] == (side, side):
            return self
        return TensorSamples(_averaged(self.samples, side), self.labels, self.horizontal_flip)

    def __getitem__(self, index: Tensor) -> Samples:
        """Return the samples and labels at the indices (B,)."""
        mirrored, index = index >= len(self.samples), index % len(self.samples)
        samples = self.samples[index]
        if samples.dtype == torch.uint8:
            samples = samples.to(torch.float32).div_(127.5).sub_(1)
        if self.horizontal_flip:
            samples = torch.where(mirrored.view(-1, 1, 1, 1), samples.flip(-1), samples)
        return samples, self.labels[index]


class Pyramid(Dataset[Samples]):
    """The same samples at several resolutions, of which a batch touches one.

    Args:
        samples: Square images.
        resolutions: Sides, at most that of the images.

    Attributes:
        levels: Samples for each side.
    """

    def __init__(self, samples: TensorSamples, resolutions: Sequence[int]) -> None:
        self.levels = {side: samples.resized(side) for side in resolutions}

    def __getitem__(self, request: tuple[Tensor, int]) -> Samples:
        """Return the samples and labels at the indices (B,) with images of a side."""
        index, side = request
        return self.levels[side][index]


class GANDataModule(LightningDataModule):
    """Deliver ``(samples, labels)``; base of all our data modules.

    A subclass fills ``train_set`` and, where there is held-out data, ``test_set`` in :meth:`load`.
    One training batch holds ``batch_size`` samples for each of the model's ``n_critic``
    discriminator updates. Images are float32 (N, C, H, W) in [-1, 1], labels (N,) int64.

    Args:
        batch_size: Samples of one discriminator update, on each process.
        num_workers: Processes that load ahead. 0 is fastest for data in memory.
        seed: Seed of the order. None takes that of ``seed_everything``, or draws one; it is part of
            the checkpoint.

    Attributes:
        train_set: Data set indexed by a tensor of indices.
        test_set: Held-out samples for validation and test, or None.
        num_classes: Number of classes, or None for data without labels.
        extractor: Name of what describes such samples best where nothing else is asked for.

    Raises:
        ValueError: If ``batch_size`` or ``num_workers`` is out of range.
    """

    train_set: TensorSamples
    test_set: TensorSamples | None = None
    num_classes: int | None = None
    extractor = "inception"

    def __init__(self, batch_size: int = 64, num_workers: int = 0, seed: int | None = None) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"Expected 'batch_size' to be at least 1, got {batch_size}.")
        if num_workers < 0:
            raise ValueError(f"Expected 'num_workers' to be at least 0, got {num_workers}.")
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self._loaded = False
        self._delivery: Delivery | None = None
        self._sides: tuple[int, ...] = ()
        self._pyramids: dict[TensorSamples, Pyramid] = {}

    @abstractmethod
    def load(self) -> None:
        """Fill ``train_set``, ``test_set`` and ``num_classes``."""

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample, known after ``setup``."""
        return self.train_set.sample_shape

    def setup(self, stage: str) -> None:
        """Load the data once, and agree on a seed with the other ranks."""
        if not self._loaded:
            self.load()
            self._loaded = True
        self._delivery = None  # of a run before, whose callbacks need not be those of this one
        if self.seed is None:
            self.seed = int(os.environ.get("PL_GLOBAL_SEED", secrets.randbits(32)))
        if self.trainer is not None:
            self.seed = int(self.trainer.strategy.broadcast(self.seed))

    def follow(self, delivery: Delivery, resolutions: Sequence[int]) -> None:
        """Until the next ``setup``, deliver images whose resolution and batch size change.

        Samples then come in one stream of which each takes its place by the number of images seen,
        the model's ``images_seen``, so that batches of any size may follow each other. Validation,
        test and prediction keep ``batch_size``, and the resolution at which they start. What is
        held in memory is also held at all ``resolutions``: about a third more. It is for the
        ``setup`` of a callback, which Lightning calls after that of the data and before it asks
        for loaders.

        Args:
            delivery: Returns, for a number of real images seen over all processes, the samples of
                one discriminator update on each process, None for ``batch_size``, and the side of
                the images.
            resolutions: All sides that it can return, ascending.

        Raises:
            ValueError: If the data are no square images of at least the last side.
        """
        shape, sides = self.sample_shape, tuple(resolutions)
        if len(shape) != 3 or shape[1] != shape[2] or shape[2] < sides[-1]:
            raise ValueError(
                f"Expected 'resolutions' to be at most the side of square images, got "
                f"{list(sides)} for the samples of {type(self).__name__}, whose shape is {shape}."
            )
        self._delivery = delivery
        if self._sides != sides:
            used = [self.train_set] if self.test_set is None else [self.train_set, self.test_set]
            self._pyramids = {samples: Pyramid(samples, sides) for samples in used}
            self._sides = sides

    def train_dataloader(self) -> StreamLoader:
        """Return a loader of one training step's batches, shuffled without end."""
        size, seed, parts = len(self.train_set), self.seed or 0, self._batches_per_step()
        if self._delivery is not None:
            stream: BatchStream = SampleStream(
                size,
                self.batch_size,
                self._delivery,
                parts,
                seed,
                *self._ranks(),
                images_seen=self._images_seen,
            )
        else:
            stream = BatchStream(
                size, self.batch_size * parts, seed, *self._ranks(), first_batch=self._batches_read
            )
        return self._loader(self.train_set, stream)

    def val_dataloader(self) -> StreamLoader | list[Any]:
        """Return a loader of the held-out samples, or none if there are none."""
        return [] if self.test_set is None else self._evaluation_loader(self.test_set)

    def test_dataloader(self) -> StreamLoader:
        """Return a loader of the held-out samples.

        Raises:
            ValueError: If there are none.
        """
        if self.test_set is None:
            raise ValueError(f"Expected held-out data in {type(self).__name__}, got none.")
        return self._evaluation_loader(self.test_set)

    def predict_dataloader(self) -> StreamLoader:
        """Return a loader of as many samples, with their labels, as are to be generated."""
        return self._evaluation_loader(self.test_set or self.train_set)

    def state_dict(self) -> dict[str, Any]:
        """Return the seed of the order."""
        return {"seed": self.seed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the order of the saved run."""
        self.seed = state_dict["seed"]

    def _evaluation_loader(self, dataset: TensorSamples) -> StreamLoader:
        sampler = EvaluationBatches(len(dataset), self.batch_size, *self._ranks(), self._side())
        return self._loader(dataset, sampler)

    def _loader(self, samples: TensorSamples, sampler: DistributedSampler[Any]) -> StreamLoader:
        dataset = samples if self._delivery is None else self._pyramids[samples]
        return StreamLoader(dataset, sampler=sampler, num_workers=self.num_workers)

    def _ranks(self) -> tuple[int, int]:
        if self.trainer is None:
            return 1, 0
        return self.trainer.world_size, self.trainer.global_rank

    def _batches_per_step(self) -> int:
        model = None if self.trainer is None else self.trainer.lightning_module
        return int(getattr(model, "batches_per_step", 1))

    def _images_seen(self) -> int:
        model = None if self.trainer is None else self.trainer.lightning_module
        return int(getattr(model, "images_seen", 0))

    def _side(self) -> Callable[[], int] | None:
        """Return what tells the side of the images at the time of the call."""
        delivery = self._delivery
        return None if delivery is None else lambda: delivery(self._images_seen())[1]

    def _batches_read(self) -> int:
        """Return the Trainer's own count, which a resumed run takes up from its checkpoint."""
        if self.trainer is None:
            return 0
        total: Any = self.trainer.fit_loop.epoch_loop.batch_progress.total
        return int(total.processed)


def content_digest(*tensors: Tensor) -> str:
    """Return the SHA-256 of tensors' types, shapes and values, in hexadecimal."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _averaged(images: Tensor, side: int) -> Tensor:
    """Average areas of pixels of (N, C, H, W), in the type that they have."""
    averaged = images.new_empty(*images.shape[:2], side, side)
    count = max(1, PIXELS_AT_ONCE // prod(images.shape[1:]))
    for small, large in zip(averaged.split(count), images.split(count), strict=True):
        if images.is_floating_point():
            small.copy_(interpolate(large, side, mode="area"))
        else:
            small.copy_(interpolate(large.float(), side, mode="area").round_())
    return averaged
