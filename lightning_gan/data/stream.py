"""Orders in which samples are read, independent of where a run was interrupted."""

from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

Delivery = Callable[[int], tuple[int | None, int]]


class BatchStream(DistributedSampler[Any]):
    """One endless shuffled stream of batches, in which batch b depends on (seed, b) alone.

    Each epoch is a permutation of its own; ranks share its batches. A run that is resumed after b
    batches goes on with batch b, in the middle of an epoch, with any number of workers, and without
    any state of the loader. Being a DistributedSampler, it is left in place by Lightning under ddp.

    Args:
        size: Number of samples.
        batch_size: Samples of one batch on one rank.
        seed: Seed of all permutations.
        num_replicas: Number of ranks.
        rank: Number of this rank.
        first_batch: Returns the number of batches read so far; asked at each start of an epoch.

    Raises:
        ValueError: If there are fewer samples than one batch on each rank takes.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        seed: int = 0,
        num_replicas: int = 1,
        rank: int = 0,
        first_batch: Callable[[], int] = lambda: 0,
    ) -> None:
        super().__init__(range(size), num_replicas, rank, seed=seed)  # type: ignore[arg-type]
        self.size = size
        self.batch_size = batch_size
        self.first_batch = first_batch
        if len(self) == 0:
            raise ValueError(
                f"Expected at least {batch_size * num_replicas} samples for one step "
                f"({batch_size} on each of {num_replicas} processes), got {size}. Use a smaller "
                "'batch_size', fewer processes, or a smaller 'n_critic' of the model."
            )

    def __len__(self) -> int:
        """Number of batches in an epoch on this rank."""
        return self.size // (self.batch_size * self.num_replicas)

    def __iter__(self) -> Iterator[Tensor]:
        """Yield an epoch's number of batches of indices, (``batch_size``,) int64."""
        first = self.first_batch()
        shuffled, order = -1, torch.empty(0)
        for number in range(first, first + len(self)):
            epoch, position = divmod(number, len(self))
            if epoch != shuffled:
                shuffled, order = epoch, self._permutation(epoch)
            start = (position * self.num_replicas + self.rank) * self.batch_size
            yield order[start : start + self.batch_size]

    def _permutation(self, epoch: int) -> Tensor:
        digest = blake2b(f"{self.seed},{epoch}".encode(), digest_size=8).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest, "little"))
        return torch.randperm(self.size, generator=generator)


class SampleStream(BatchStream):
    """One endless shuffled stream of samples, in which sample n depends on (seed, n) alone.

    Its batches change in size and in resolution with the number of images seen so far, at which
    they begin; ranks take consecutive parts. Each epoch is a permutation of its own, and a batch
    may end in the next. A run that is resumed after n images goes on with sample n, whatever the
    sizes of the batches were before.

    Args:
        size: Number of samples.
        batch_size: Samples of one update on one rank, where ``delivery`` does not say. The length,
            which Lightning takes for that of its epoch, is counted in batches of that size.
        delivery: Returns, for a number of images seen, the samples of one update on one rank, or
            None, and the side of the images.
        batches_per_step: Updates that share a batch.
        seed: Seed of all permutations.
        num_replicas: Number of ranks.
        rank: Number of this rank.
        images_seen: Returns the number of images seen so far over all ranks; asked at each start of
            an epoch.

    Raises:
        ValueError: If there are fewer samples than one batch of ``batch_size`` on each rank takes.
            Larger ones that ``delivery`` asks for take some samples twice.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        delivery: Delivery,
        batches_per_step: int = 1,
        seed: int = 0,
        num_replicas: int = 1,
        rank: int = 0,
        images_seen: Callable[[], int] = lambda: 0,
    ) -> None:
        super().__init__(size, batch_size * batches_per_step, seed, num_replicas, rank)
        self.delivery = delivery
        self.batches_per_step = batches_per_step
        self.images_seen = images_seen

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:  # type: ignore[override]
        """Yield an epoch's number of batches: indices, (B,) int64, and the side of the images."""
        first = self.images_seen()
        orders: dict[int, Tensor] = {}
        for _ in range(len(self)):
            batch_size, side = self.delivery(first)
            count = self.batch_size if batch_size is None else batch_size * self.batches_per_step
            start = first + self.rank * count
            epochs = range(start // self.size, -(-(start + count) // self.size))
            orders = {e: orders[e] if e in orders else self._permutation(e) for e in epochs}
            parts = [
                order[max(start - epoch * self.size, 0) : start + count - epoch * self.size]
                for epoch, order in orders.items()
            ]
            yield torch.cat(parts), side
            first += count * self.num_replicas


class EvaluationBatches(DistributedSampler[Any]):
    """All samples in order, in batches; as DistributedSampler does, the last ranks repeat a few.

    Args:
        size: Number of samples.
        batch_size: Samples of one batch on one rank; the last batch may be smaller.
        num_replicas: Number of ranks.
        rank: Number of this rank.
        side: Returns the side of the images; asked at each start of an iteration, and then part of
            what is yielded.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        num_replicas: int = 1,
        rank: int = 0,
        side: Callable[[], int] | None = None,
    ) -> None:
        super().__init__(range(size), num_replicas, rank, shuffle=False)  # type: ignore[arg-type]
        self.batch_size = batch_size
        self.side = side

    def __len__(self) -> int:
        """Number of batches on this rank."""
        return -(-self.num_samples // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        """Yield batches of indices, int64, each with the side of the images if there is one."""
        batches = torch.tensor(list(super().__iter__())).split(self.batch_size)
        if self.side is None:
            yield from batches
        else:
            side = self.side()
            yield from ((batch, side) for batch in batches)


class StreamLoader(DataLoader[Any]):
    """Loads the batches of a sampler, each by one look-up of the data set.

    Its state is empty, because the position is the number of batches that the Trainer has counted;
    that it has a state at all tells Lightning that it can be resumed.

    Args:
        dataset: Returns a finished batch for what the sampler yields.
        sampler: Yields tensors of indices, or these and the side of the images.
        num_workers: Processes that load ahead.
        _: What else Lightning gives where it builds the loader anew, as it does to predict.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        *,  # Lightning then gives the sampler by name, beside the positional arguments
        sampler: DistributedSampler[Any],
        num_workers: int = 0,
        **_: Any,
    ) -> None:
        super().__init__(
            dataset,
            batch_size=None,
            sampler=sampler,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            # Its own, or each epoch would draw a number from the generator of the training.
            generator=torch.Generator().manual_seed(sampler.seed),
        )

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: see the class."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take nothing: see the class."""
