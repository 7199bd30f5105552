from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_gan.data import BatchStream, EvaluationBatches, StreamLoader
from tests.ranks import Ranks


class Squares(Dataset[Tensor]):
    def __getitem__(self, index: Tensor) -> Tensor:
        return index**2


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
