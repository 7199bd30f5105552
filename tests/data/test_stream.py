from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_gan.data import BatchStream, EvaluationBatches, SampleStream, StreamLoader
from tests.ranks import Ranks


class Squares(Dataset[Tensor]):
    def __getitem__(self, index: Tensor) -> Tensor:
        return index**2


class Requests(Dataset[Any]):
    def __getitem__(self, request: Any) -> Any:
        return request


def batches(first: int = 0, size: int = 23, **options: Any) -> list[list[int]]:
    stream = BatchStream(size, 4, first_batch=lambda: first, **options)
    return [batch.tolist() for batch in stream]


def joined(drawn: list[list[int]]) -> list[int]:
    return [index for batch in drawn for index in batch]


def long_run(count: int, **options: Any) -> list[list[int]]:
    epochs = -(-count // len(batches(**options)))
    length = len(batches(**options))
    return [b for epoch in range(epochs) for b in batches(epoch * length, **options)][:count]


@pytest.mark.parametrize("first", [1, 3, 5, 7, 14])
def test_a_batch_is_the_same_wherever_the_iteration_starts(first: int) -> None:
    assert batches(first) == long_run(25)[first : first + 5]


def test_an_epoch_has_each_sample_at_most_once() -> None:
    for epoch in range(3):
        drawn = joined(batches(5 * epoch))
        assert len(drawn) == 20
        assert len(set(drawn)) == 20
        assert set(drawn) <= set(range(23))


def test_an_epoch_that_divides_evenly_is_a_permutation() -> None:
    assert sorted(joined(batches(size=20))) == list(range(20))
    assert joined(batches(size=20)) != list(range(20))


def test_epochs_differ() -> None:
    assert batches(0) != batches(5)


def test_left_out_samples_change_with_the_epoch() -> None:
    drawn = {index for epoch in range(6) for index in joined(batches(5 * epoch))}
    assert drawn == set(range(23))


def test_the_seed_changes_the_order() -> None:
    assert batches(seed=1) != batches(seed=2)
    assert batches(seed=1) == batches(seed=1)


@pytest.mark.parametrize("seed", [-1, 2**32, 2**70])
def test_any_integer_is_a_seed(seed: int) -> None:
    assert len(batches(seed=seed)) == 5


@pytest.mark.parametrize("first", [0, 1, 3])
def test_ranks_share_the_batches_of_one_process(first: int) -> None:
    one = BatchStream(48, 8, first_batch=lambda: first)
    two = [BatchStream(48, 4, 0, 2, rank, lambda: first) for rank in range(2)]
    for whole, left, right in zip(one, *two, strict=True):
        torch.testing.assert_close(torch.cat([left, right]), whole, rtol=0, atol=0)


def test_ranks_do_not_overlap() -> None:
    drawn = [joined(batches(num_replicas=2, rank=rank)) for rank in range(2)]
    assert len(drawn[0]) == len(drawn[1]) == 8
    assert not set(drawn[0]) & set(drawn[1])


def test_set_epoch_changes_nothing() -> None:
    stream = BatchStream(23, 4)
    before = [batch.tolist() for batch in stream]
    stream.set_epoch(7)
    assert [batch.tolist() for batch in stream] == before


def test_the_first_batch_is_asked_at_each_start() -> None:
    count = [0]
    stream = BatchStream(23, 4, first_batch=lambda: count[0])
    first = [batch.tolist() for batch in stream]
    count[0] = 5
    assert first + [batch.tolist() for batch in stream] == long_run(10)


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 8 samples for one step \(4 on each of 2 "):
        BatchStream(7, 4, num_replicas=2)
    assert len(BatchStream(8, 4, num_replicas=2)) == 1


def test_evaluation_keeps_the_order_and_a_short_last_batch() -> None:
    sampler = EvaluationBatches(10, 4)
    assert [b.tolist() for b in sampler] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(sampler) == 3


def test_evaluation_pads_over_ranks() -> None:
    ranks = [EvaluationBatches(5, 2, 2, rank) for rank in range(2)]
    drawn = [[b.tolist() for b in sampler] for sampler in ranks]
    assert drawn == [[[0, 2], [4]], [[1, 3], [0]]]
    assert [len(sampler) for sampler in ranks] == [2, 2]


def test_workers_load_the_same() -> None:
    loaders = [
        StreamLoader(Squares(), sampler=BatchStream(40, 4, 3), num_workers=workers)
        for workers in (0, 2)
    ]
    alone, workers = (torch.stack(list(loader)) for loader in loaders)
    torch.testing.assert_close(workers, alone, rtol=0, atol=0)
    torch.testing.assert_close(torch.stack(list(loaders[1])), alone, rtol=0, atol=0)


def test_the_global_generator_is_left_alone() -> None:
    loader = StreamLoader(Squares(), sampler=BatchStream(40, 4))
    before = torch.get_rng_state()
    list(islice(iter(loader), 3))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_loader_has_an_empty_state() -> None:
    loader = StreamLoader(Squares(), sampler=BatchStream(40, 4))
    loader.load_state_dict(loader.state_dict())
    assert loader.state_dict() == {}


def delivery(images: int) -> tuple[int | None, int]:
    """Ask for 3 samples of side 4, after 12 images for the stream's own of side 8, then for 5."""
    return (3, 4) if images < 12 else (None, 8) if images < 28 else (5, 16)


def deliveries(seen: int = 0, **options: Any) -> list[tuple[list[int], int]]:
    given: dict[str, Any] = {"size": 23, "batch_size": 2, "delivery": delivery} | options
    stream = SampleStream(**given, images_seen=lambda: seen)
    return [(batch.tolist(), side) for batch, side in stream]


def samples(count: int, **options: Any) -> list[int]:
    """Return the first samples of the stream, read by batches of one."""
    options |= {"batch_size": 1, "delivery": lambda images: (None, 4)}
    size = options.setdefault("size", 23)
    parts = (deliveries(n, **options) for n in range(0, count, size))
    return [batch[0] for part in parts for batch, _ in part][:count]


def test_each_epoch_of_samples_is_a_permutation() -> None:
    read = samples(69)
    epochs = [read[n : n + 23] for n in (0, 23, 46)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(23))] * 3
    assert epochs[0] != epochs[1] != epochs[2]


@pytest.mark.parametrize("seed", [1, -1, 2**70])
def test_the_seed_changes_the_samples(seed: int) -> None:
    assert samples(23, seed=seed) != samples(23)
    assert samples(23, seed=seed) == samples(23, seed=seed)


@pytest.mark.parametrize(("parts", "ranks"), [(1, 1), (2, 1), (1, 2), (3, 2)])
@pytest.mark.parametrize("seen", [0, 7, 22, 23, 100])
def test_batches_are_read_at_the_images_seen(parts: int, ranks: int, seen: int) -> None:
    size, n = 90, seen
    every = samples(900, size=size)
    options: dict[str, Any] = {"size": size, "batches_per_step": parts, "num_replicas": ranks}
    read = [deliveries(seen, rank=rank, **options) for rank in range(ranks)]
    for batches_of_ranks in zip(*read, strict=True):
        asked, side = delivery(n)
        count = (asked or 2) * parts
        for indices, size_of_images in batches_of_ranks:
            assert indices == every[n : n + count]
            assert size_of_images == side
            n += count
    assert n > seen


def test_size_and_side_change_at_the_exact_number_of_images() -> None:
    sizes = [(len(indices), side) for indices, side in deliveries(size=40)]
    assert sizes == [(3, 4)] * 4 + [(2, 8)] * 8 + [(5, 16)] * 8


def test_two_ranks_share_the_samples_of_one() -> None:
    options: dict[str, Any] = {"size": 48, "seed": 5}
    one = deliveries(delivery=lambda images: (2 * (delivery(images)[0] or 2), 4), **options)
    ranks = [deliveries(num_replicas=2, rank=rank, **options) for rank in range(2)]
    for (whole, _), (left, _), (right, _) in zip(one, *ranks, strict=False):
        assert left + right == whole


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batches_read", [1, 4, 5, 11, 13])
def test_samples_go_on_at_the_images_seen(workers: int, batches_read: int) -> None:
    whole = deliveries() + deliveries(26)  # an epoch is 11 batches, after which 26 are seen
    seen = [sum(len(batch) for batch, _ in whole[:batches_read])]
    stream = SampleStream(23, 2, delivery, images_seen=lambda: seen[0])
    loader = StreamLoader(Requests(), sampler=stream, num_workers=workers)
    read: list[tuple[list[int], int]] = []
    for _ in range(2):  # the second one with the workers of the first
        now = [(batch.tolist(), side) for batch, side in loader]
        seen[0] += sum(len(batch) for batch, _ in now)
        read += now
    shared = len(whole) - batches_read
    assert read[:shared] == whole[batches_read:]
    assert shared > 0


def test_a_batch_may_end_in_the_next_epoch_or_later() -> None:
    (batch, _), *_ = deliveries(20, delivery=lambda images: (60, 4))
    assert batch == samples(80)[20:]


def test_the_length_is_that_of_the_stream_s_own_batches() -> None:
    for seen in (0, 12, 28):
        assert len(deliveries(seen, batches_per_step=2, num_replicas=2)) == 2
    assert len(SampleStream(23, 2, delivery, 2, num_replicas=2)) == 2


def test_too_few_samples_for_an_epoch_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 24 samples for one step .* 'batch_size'"):
        SampleStream(23, 4, delivery, batches_per_step=3, num_replicas=2)


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_asks_for_the_side_at_each_start(workers: int) -> None:
    side = [4]
    sampler = EvaluationBatches(5, 2, side=lambda: side[0])
    loader = StreamLoader(Requests(), sampler=sampler, num_workers=workers)
    for side[0] in (8, 16):
        read = [(batch.tolist(), of) for batch, of in loader]
        assert read == [([0, 1], side[0]), ([2, 3], side[0]), ([4], side[0])]


def trained_indices(rank: int) -> tuple[str, list[list[int]]]:
    from lightning import LightningModule, Trainer
    from torch.utils.data import DataLoader

    class Record(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)
            self.seen: list[list[int]] = []

        def training_step(self, batch: Tensor) -> Tensor:
            self.seen.append(batch.sqrt().long().tolist())
            return self.layer(batch.float()[:1, None]).sum()  # type: ignore[no-any-return]

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.0)

    loader: DataLoader[Any] = StreamLoader(Squares(), sampler=BatchStream(40, 4, 3, 2, rank))
    model = Record()
    trainer = Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        max_steps=3,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, loader)
    used: Any = trainer.train_dataloader
    return type(used.sampler).__name__, model.seen


def test_lightning_keeps_the_sampler_under_ddp(ranks: Ranks) -> None:
    for rank, (sampler, seen) in enumerate(ranks.run(trained_indices)):
        assert sampler == "BatchStream"
        assert seen == [b.tolist() for b in BatchStream(40, 4, 3, 2, rank)][:3]
