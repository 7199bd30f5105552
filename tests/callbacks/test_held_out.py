"""Which samples are held out, by the loader that has them."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    SubsetRandomSampler,
    TensorDataset,
    get_worker_info,
)

from lightning_gan.callbacks.held_out import held_out_samples
from lightning_gan.training.batch import Batch

COUNT, CLASSES = 400, 4
LABELS = torch.arange(COUNT) * CLASSES // COUNT  # sorted
SAMPLES = torch.arange(COUNT).float()[:, None]


def held_out(loaders: Any, count: int = 64) -> Batch | None:
    run: Any = SimpleNamespace(datamodule=None, val_dataloaders=loaders)
    return held_out_samples(run, count)


def numbers(batch: Batch | None) -> set[int]:
    assert batch is not None
    return {int(x) for x in batch.samples.flatten()}


class Named(Dataset[dict[str, Tensor]]):
    """Samples under their names."""

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {"image": SAMPLES[i], "label": LABELS[i]}


@pytest.mark.parametrize("data", [TensorDataset(SAMPLES, LABELS), Named()])
def test_samples_sorted_by_class_are_drawn_from_all_of_them(data: Dataset[Any]) -> None:
    loader = DataLoader(data, batch_size=32)
    batch = held_out(loader)
    assert batch is not None
    assert batch.labels is not None
    assert torch.equal(batch.labels, LABELS[batch.samples[:, 0].long()])
    assert len(numbers(batch)) == 64
    assert torch.bincount(batch.labels).min() > 5
    again = held_out([loader])
    assert again is not None
    assert torch.equal(again.samples, batch.samples)


def test_few_samples_are_all_taken() -> None:
    assert numbers(held_out(DataLoader(TensorDataset(SAMPLES[:5]), batch_size=2))) == set(range(5))


def test_only_what_the_loader_delivers_is_taken() -> None:
    data, part = TensorDataset(SAMPLES), range(100, 150)
    for loader in (
        DataLoader(data, batch_size=8, sampler=SubsetRandomSampler(part)),
        DataLoader(data, batch_sampler=BatchSampler(part, 8, drop_last=False)),
    ):
        assert numbers(held_out(loader)) == set(part)


class OpenedByWorkers(Named):
    """Samples of a file that is not there before a worker opens it."""

    file: Tensor | None = None

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        assert self.file is not None
        return {"image": self.file[i]}


def _open(_: int) -> None:
    worker: Any = get_worker_info()
    worker.dataset.file = SAMPLES


def test_workers_read_what_only_they_can() -> None:
    loader = DataLoader(OpenedByWorkers(), 8, num_workers=2, worker_init_fn=_open)
    assert len(numbers(held_out(loader))) == 64


def test_each_process_has_its_own() -> None:
    data = TensorDataset(SAMPLES)
    own = [
        numbers(held_out(DataLoader(data, 16, sampler=DistributedSampler(data, 2, rank))))
        for rank in range(2)
    ]
    assert [len(found) for found in own] == [64, 64]
    assert not own[0] & own[1]


class Stream(IterableDataset[Tensor]):
    """Samples one after the other."""

    def __iter__(self) -> Any:
        return iter(SAMPLES)


@pytest.mark.parametrize(
    "loader",
    [
        DataLoader(Stream(), batch_size=16),
        DataLoader(SAMPLES.split(16), batch_size=None),
        [SAMPLES[:16]],
    ],
)
def test_of_other_loaders_the_first_batch_is_taken(loader: Any) -> None:
    loaders = [loader] if isinstance(loader, list) else loader
    assert numbers(held_out(loaders)) == set(range(16))


@pytest.mark.parametrize(
    "loaders", [None, [], {"a": [SAMPLES]}, [DataLoader(TensorDataset(SAMPLES[:0]))]]
)
def test_there_may_be_none(loaders: Any) -> None:
    assert held_out(loaders) is None


def test_random_numbers_are_left_alone() -> None:
    loader = DataLoader(TensorDataset(SAMPLES), batch_size=16, shuffle=True)
    state = torch.get_rng_state()
    held_out(loader)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("own", [None, torch.Generator()])
def test_a_loader_that_shuffles_gives_the_same_ones(own: torch.Generator | None) -> None:
    loader = DataLoader(TensorDataset(SAMPLES), batch_size=16, shuffle=True, generator=own)
    source = own or torch.default_generator
    found = []
    for seed in (1, 2):
        state = source.manual_seed(seed).get_state()
        found.append(numbers(held_out(loader)))
        assert torch.equal(source.get_state(), state)
    assert found[0] == found[1]
