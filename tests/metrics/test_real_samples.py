import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset

from lightning_gan.data import TensorSamples
from lightning_gan.metrics.real_samples import LoaderOfSamples, SetOfSamples, own_part, to_bytes
from tests.ranks import Ranks
from tests.training.test_distributed import join

CPU = torch.device("cpu")


def numbers(n: int = 20, horizontal_flip: bool = False) -> TensorSamples:
    """Return images that are their own number everywhere."""
    images = torch.arange(n, dtype=torch.uint8)[:, None, None, None].expand(n, 1, 2, 2)
    return TensorSamples(images, torch.arange(n) % 3, horizontal_flip)


def loader(samples: TensorSamples, **options: Any) -> DataLoader[Any]:
    images = samples[torch.arange(len(samples))][0]
    return DataLoader(list(images), batch_size=6, **options)  # type: ignore[arg-type]


def values(parts: Iterator[Tensor]) -> list[int]:
    return [round((x.item() + 1) * 127.5) for part in parts for x in part[:, 0, 0, 0]]


@pytest.mark.parametrize("world_size", [1, 2, 3, 7, 30])
def test_the_parts_of_all_processes_make_the_whole(world_size: int) -> None:
    whole = torch.arange(20)
    parts = [own_part(whole, world_size, rank) for rank in range(world_size)]
    assert torch.cat(parts).tolist() == whole.tolist()
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("world_size", [1, 3])
def test_each_original_of_a_set_comes_once(world_size: int) -> None:
    samples = numbers(horizontal_flip=True)
    ranks = [SetOfSamples(samples, None, 6, (world_size, rank)) for rank in range(world_size)]
    assert [x for one in ranks for x in values(one.parts())] == list(range(20))
    assert all(one.labels().tolist() == samples.labels.tolist() for one in ranks)


def test_a_process_without_samples() -> None:
    empty = SetOfSamples(numbers(), 2, 6, (3, 0))
    assert (list(empty.parts()), empty.size) == ([], 0)
    assert [SetOfSamples(numbers(), 2, 6, (3, rank)).size for rank in range(3)] == [0, 1, 1]


def test_some_of_a_set_are_the_same_every_time() -> None:
    some = [SetOfSamples(numbers(), 8) for _ in range(2)]
    first, second = (values(one.parts()) for one in some)
    assert first == second == sorted(set(first)) != list(range(8))
    assert some[0].labels().tolist() == [x % 3 for x in first]
    assert len(some[0]) == 8
    prints = {SetOfSamples(numbers(), count).fingerprint() for count in (None, 8, 9)}
    assert len(prints) == 3
    assert SetOfSamples(numbers(), 99).fingerprint() == SetOfSamples(numbers()).fingerprint()


def test_a_loader_is_known_by_its_content_in_any_order() -> None:
    plain = LoaderOfSamples(loader(numbers()), None, CPU).fingerprint()
    assert LoaderOfSamples(loader(numbers(), shuffle=True), None, CPU).fingerprint() == plain
    changed = numbers()
    changed.samples = changed.samples.clone()
    changed.samples[4, 0, 1, 1] += 1
    for other in (changed, numbers(19), numbers(21)):
        assert LoaderOfSamples(loader(other), None, CPU).fingerprint() != plain


def test_points_are_told_apart_beyond_bytes() -> None:
    first = [torch.zeros(4, 2)]
    second = [torch.full((4, 2), 1e-6)]
    prints = [LoaderOfSamples(part, None, CPU).fingerprint() for part in (first, second)]
    assert prints[0] != prints[1]


def test_bytes_and_floats_of_the_same_images_are_the_same() -> None:
    plain = LoaderOfSamples(loader(numbers()), None, CPU).fingerprint()
    assert LoaderOfSamples([numbers().samples], None, CPU).fingerprint() == plain
    assert LoaderOfSamples([numbers().samples + 1], None, CPU).fingerprint() != plain
    assert LoaderOfSamples([numbers().samples.view(20, 1, 4, 1)], None, CPU).fingerprint() != plain


class Noisy(Dataset[Tensor]):
    """Images that chance changes, by each of the libraries that draw."""

    def __len__(self) -> int:
        return 30

    def __getitem__(self, index: int) -> Tensor:
        noise = torch.rand(1) + random.random() + np.random.rand()
        return (noise / 3).expand(1, 2, 2)


def test_a_loader_that_draws_gives_the_same_every_time_and_disturbs_nothing() -> None:
    source = LoaderOfSamples(DataLoader(Noisy(), batch_size=4, shuffle=True), 14, CPU)
    first = torch.cat(list(source.parts()))
    torch.rand(1), random.random(), np.random.rand()
    before = torch.get_rng_state(), random.getstate(), repr(np.random.get_state())
    second = torch.cat(list(source.parts()))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert len(first.unique()) == len(first) == source.size == 14
    assert source.fingerprint() == source.fingerprint()
    after = torch.get_rng_state(), random.getstate(), repr(np.random.get_state())
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


@pytest.mark.parametrize("edge", [1.0, 1.003])
def test_bytes_of_real_images(edge: float) -> None:
    assert to_bytes(torch.tensor([-edge, 0.0, edge])).tolist() == [0, 128, 255]
    for wrong in (-1.005, 1.005, torch.nan, torch.inf):
        with pytest.raises(ValueError, match=r"real images to be uint8 or in \[-1, 1\], got val"):
            to_bytes(torch.tensor([wrong, 0.0]))


def _fingerprint_of_half(rank: int) -> str:
    join()
    whole = numbers()[torch.arange(20)][0]
    return LoaderOfSamples([whole[rank::2]], None, CPU).fingerprint()


def test_processes_agree_on_what_one_process_sees(ranks: Ranks) -> None:
    alone = LoaderOfSamples(loader(numbers()), None, CPU).fingerprint()
    assert ranks.run(_fingerprint_of_half) == [alone, alone]


@pytest.mark.parametrize("workers", [0, 2])
def test_some_of_a_loader_are_drawn_from_all_of_it(workers: int) -> None:
    some = LoaderOfSamples(loader(numbers(), num_workers=workers), 8, CPU)
    found = values(some.parts())
    assert found == values(some.parts())
    assert len(set(found)) == 8
    assert {x // 5 for x in found} == set(range(4))  # of each class, had they been sorted
    sorted_by_class = numbers()[torch.arange(20)][0].split(6)
    assert values(LoaderOfSamples(sorted_by_class, 8, CPU).parts()) == list(range(8))


def test_a_loader_of_few_gives_them_all() -> None:
    assert sorted(values(LoaderOfSamples(loader(numbers()), 99, CPU).parts())) == list(range(20))


def test_some_of_a_loader_of_everything_are_shared_out() -> None:
    parts = [values(LoaderOfSamples(loader(numbers()), 4, CPU, (2, r)).parts()) for r in (0, 1)]
    assert len({*parts[0], *parts[1]}) == 8


def test_batches_of_the_users_own_are_drawn_from() -> None:
    images: Any = list(numbers()[torch.arange(20)][0])
    source: Any = DataLoader(images, batch_sampler=BatchSampler(range(5, 15), 3, drop_last=True))
    found = values(LoaderOfSamples(source, 6, CPU).parts())
    assert len(set(found)) == 6
    assert set(found) <= set(range(5, 14))


def test_a_loader_that_is_in_use_is_left_alone() -> None:
    source = loader(numbers(), num_workers=1, persistent_workers=True)
    batches = iter(source)
    first = next(batches)
    assert len(values(LoaderOfSamples(source, None, CPU).parts())) == 20
    rest = list(batches)
    torch.testing.assert_close(torch.cat([first, *rest]), numbers()[torch.arange(20)][0])


class Endless(IterableDataset[Tensor]):
    def __iter__(self) -> Iterator[Tensor]:
        while True:
            yield torch.zeros(1, 2, 2)


def test_a_loader_without_an_end_needs_a_number() -> None:
    endless = DataLoader(Endless(), batch_size=6)
    with pytest.raises(ValueError, match="Expected 'num_real' for a loader without a length"):
        LoaderOfSamples(endless, None, CPU)
    assert sum(len(part) for part in LoaderOfSamples(endless, 10, CPU).parts()) == 10


def test_a_loader_with_its_own_generator_is_read_alike_and_left_alone() -> None:
    source = torch.Generator().manual_seed(7)
    before = source.get_state()
    samples = LoaderOfSamples(loader(numbers(), shuffle=True, generator=source), 8, CPU)
    assert samples.fingerprint() == samples.fingerprint()
    first, second = (values(samples.parts()) for _ in range(2))
    assert first == second != sorted(first)
    assert torch.equal(source.get_state(), before)


def test_a_loader_of_everything_is_shared_out() -> None:
    parts = [values(LoaderOfSamples(loader(numbers()), None, CPU, (2, r)).parts()) for r in (0, 1)]
    assert sorted(parts[0] + parts[1]) == list(range(20))
    assert len(parts[0]) == len(parts[1])
