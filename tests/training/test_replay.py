"""Experience replay on samples that tell when they were made, of which class and which latent."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_gan import GAN
from lightning_gan.training.batch import Batch
from lightning_gan.training.replay import ExperienceReplay
from tests.ranks import Ranks
from tests.toys import NUM_CLASSES, ToyData, labelled, toy_networks, toy_trainer

N = 10


def _fake(time: int, n: int = N, labels: Tensor | None = None) -> Batch:
    """Return n samples (time, place, label) with latents (time, place)."""
    place = torch.arange(n)
    label = torch.full((n,), -1) if labels is None else labels
    known = torch.stack([torch.full((n,), time), place, label], dim=1).float()
    return Batch(known, labels, known[:, :2])


def _times(batch: Batch) -> list[int]:
    return [int(time) for time in batch.samples[:, 0]]


def _remembered(replay: ExperienceReplay) -> Batch:
    return Batch(**{name: x for name, x in replay.state().items() if name != "seen"})


def _rows(batch: Batch) -> list[tuple[float, ...]]:
    return [tuple(row) for row in batch.samples.tolist()]


@pytest.mark.parametrize("capacity", [1, 3, 5, 12, 100])
@pytest.mark.parametrize("fraction", [0.2, 0.5, 1.0])
def test_memory_is_filled_and_never_exceeds_its_capacity(capacity: int, fraction: float) -> None:
    replay = ExperienceReplay(capacity, fraction)
    assert len(replay) == 0
    for time in range(8):
        replay.mix(_fake(time))
        entered = min(round(fraction * N), capacity) * (time + 1)
        assert len(replay) == min(capacity, entered)
        assert len(set(_rows(_remembered(replay)))) == len(replay)


@pytest.mark.parametrize("capacity", [4, 60])
@pytest.mark.parametrize(("fraction", "old"), [(0.1, 1), (0.26, 3), (0.5, 5), (1.0, 10)])
def test_share_of_old_samples_is_exact(capacity: int, fraction: float, old: int) -> None:
    replay = ExperienceReplay(capacity, fraction)
    first = _fake(0)
    assert torch.equal(replay.mix(first).samples, first.samples)  # nothing is old yet
    old = min(old, capacity)
    for time in range(1, 20):
        before = _rows(_remembered(replay))
        fresh = _fake(time)
        mixed = replay.mix(fresh)
        assert mixed.samples.shape == fresh.samples.shape
        assert all(earlier < time for earlier in _times(mixed)[:old])
        assert set(_rows(mixed)[:old]) <= set(before)
        assert torch.equal(mixed.samples[old:], fresh.samples[old:])
        # As many new ones entered as old ones were shown, and they are those left out; where the
        # memory gets full, one may take the place of another.
        entered = {row for row in _rows(_remembered(replay)) if row[0] == time}
        assert entered <= set(_rows(fresh)[:old])
        getting_full = capacity - old < len(before) < capacity
        assert getting_full or len(entered) == old


def test_all_of_the_memory_is_shown_and_overwritten() -> None:
    replay = ExperienceReplay(capacity=20, fraction=0.5)
    for time in range(4):
        replay.mix(_fake(time))
    kept = set(_rows(_remembered(replay)))
    assert len(kept) == 20
    shown: set[tuple[float, ...]] = set()
    for time in range(4, 60):
        shown |= set(_rows(replay.mix(_fake(time)))[:5])
    assert len(shown) > 100  # of 300 that entered
    assert not kept & set(_rows(_remembered(replay)))


def test_a_share_that_rounds_to_none_changes_nothing() -> None:
    replay = ExperienceReplay(capacity=5, fraction=0.04)
    for time in range(3):
        fake = _fake(time)
        assert torch.equal(replay.mix(fake).samples, fake.samples)
    assert len(replay) == 0
    assert replay.state() == {"seen": 0}


def test_labels_stay_and_old_samples_are_of_them() -> None:
    replay = ExperienceReplay(capacity=30, fraction=0.5)
    generator = torch.Generator().manual_seed(0)
    recalled = 0
    for time in range(30):
        labels = torch.randint(4, (N,), generator=generator)
        mixed = replay.mix(_fake(time, labels=labels))
        assert mixed.labels is not None
        assert torch.equal(mixed.labels, labels)
        assert torch.equal(mixed.samples[:, 2], labels.float())  # the class it was made for
        recalled += sum(earlier < time for earlier in _times(mixed))
    assert recalled > 0.9 * 5 * 29


def test_classes_without_old_samples_stay_fresh() -> None:
    replay = ExperienceReplay(capacity=30, fraction=1.0)
    replay.mix(_fake(0, labels=torch.zeros(N, dtype=torch.int64)))
    labels = torch.arange(N) % 2
    mixed = replay.mix(_fake(1, labels=labels))
    assert _times(mixed) == [0, 1] * 5
    assert torch.equal(mixed.samples[1::2], _fake(1, labels=labels).samples[1::2])


@pytest.mark.parametrize("labels", [None, torch.arange(N) % 3])
def test_latents_travel_with_their_samples(labels: Tensor | None) -> None:
    replay = ExperienceReplay(capacity=12, fraction=0.5)
    for time in range(10):
        mixed = replay.mix(_fake(time, labels=labels))
        assert mixed.latents is not None
        assert torch.equal(mixed.latents, mixed.samples[:, :2])


def test_images_with_labels() -> None:
    replay = ExperienceReplay(capacity=4, fraction=0.5)
    labels = torch.tensor([0, 1, 1, 0])
    for time in range(3):
        mixed = replay.mix(Batch(torch.full((4, 3, 2, 2), float(time)), labels))
        assert mixed.samples.shape == (4, 3, 2, 2)
    assert mixed.samples[:2].max() < 2
    assert (mixed.samples[2:] == 2).all()


@pytest.mark.parametrize("capacity", [5, 12])
def test_batches_given_and_returned_are_no_part_of_the_memory(capacity: int) -> None:
    replay = ExperienceReplay(capacity, fraction=0.5)
    labels = torch.arange(N) % 3
    given, kept, returned = [], [], []
    for time in range(6):
        fake = _fake(time, labels=labels.clone())
        kept.append(fake.map(torch.clone))
        given.append(fake)
        mixed = replay.mix(fake)
        returned.append((mixed, mixed.map(torch.clone)))
    for actual, expected in [*zip(given, kept, strict=True), *returned]:
        for x, y in zip(actual, expected, strict=True):
            assert x is not None
            assert y is not None
            assert torch.equal(x, y)
    before = _rows(_remembered(replay))
    for fake in given:
        fake.samples.zero_()
    assert _rows(_remembered(replay)) == before


@pytest.mark.parametrize("capacity", [3, 8])
def test_memory_holds_no_more_bytes_than_its_samples(capacity: int) -> None:
    replay = ExperienceReplay(capacity, fraction=0.5)
    for time in range(5):
        replay.mix(Batch(torch.full((40, 2), float(time)), latents=torch.zeros(40, 3)))
        for x, width in ((_remembered(replay).samples, 2), (_remembered(replay).latents, 3)):
            assert x is not None
            assert x.untyped_storage().nbytes() == 4 * width * len(replay)


def _saved(replay: ExperienceReplay) -> tuple[dict[str, Any], int]:
    """Return the state as a checkpoint returns it, and its size in bytes."""
    file = io.BytesIO()
    torch.save(replay.state(), file)
    size = file.tell()
    file.seek(0)
    return torch.load(file, weights_only=True), size


def _later(replay: ExperienceReplay, labels: Tensor | None) -> list[Tensor]:
    torch.manual_seed(5)
    return [replay.mix(_fake(time, labels=labels)).samples for time in range(50, 60)]


@pytest.mark.parametrize("labels", [None, torch.arange(N) % 3])
@pytest.mark.parametrize("times", [0, 1, 2, 9])
def test_saved_memory_goes_on_exactly(labels: Tensor | None, times: int) -> None:
    replay = ExperienceReplay(capacity=12, fraction=0.5)
    for time in range(times):
        replay.mix(_fake(time, labels=labels))
    state, _ = _saved(replay)
    loaded = ExperienceReplay(capacity=12, fraction=0.5)
    loaded.mix(_fake(99, labels=labels))  # forgotten by loading
    loaded.load_state(state)
    assert len(loaded) == len(replay)
    for one, other in zip(_later(replay, labels), _later(loaded, labels), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(_remembered(replay).samples, _remembered(loaded).samples)


def test_state_of_a_loaded_memory_is_its_own() -> None:
    replay, loaded = (ExperienceReplay(capacity=5, fraction=0.5) for _ in range(2))
    replay.mix(_fake(0))
    loaded.load_state(replay.state())
    loaded.mix(_fake(1))
    assert {row[0] for row in _rows(_remembered(replay))} == {0}


@pytest.mark.parametrize("capacity", [1, 4, 9, 30])
def test_memory_of_another_capacity_is_taken_up(capacity: int) -> None:
    replay = ExperienceReplay(capacity=10, fraction=1.0)
    for time in range(3):
        replay.mix(_fake(time))
    state, _ = _saved(replay)
    loaded = ExperienceReplay(capacity, fraction=1.0)
    loaded.load_state(state)
    assert len(loaded) == min(capacity, 10)
    assert set(_rows(_remembered(loaded))) <= set(_rows(_remembered(replay)))
    for time in range(3, 8):
        loaded.mix(_fake(time))
        assert len(loaded) <= capacity
    assert len(loaded) == capacity
    _, size = _saved(loaded)
    assert size < 2_500 + 20 * capacity  # 5 float32 a sample, and the names


@pytest.mark.parametrize("fraction", [0.5, 1.0])
def test_memory_of_another_precision_is_taken_up(fraction: float) -> None:
    labels = torch.arange(N) % 3
    replay = ExperienceReplay(capacity=12, fraction=fraction)
    for time in range(4):
        fake = _fake(time, labels=labels)
        assert fake.latents is not None
        mixed = replay.mix(Batch(fake.samples.double(), labels, fake.latents.double()))
        assert mixed.samples.dtype == torch.float64
    for time in range(4, 8):
        mixed = replay.mix(_fake(time, labels=labels))
        assert [x.dtype for x in mixed if x is not None] == [
            torch.float32,
            torch.int64,
            torch.float32,
        ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"capacity": 0}, "Expected 'capacity' to be at least 1, got 0"),
        ({"capacity": -3}, "Expected 'capacity' to be at least 1, got -3"),
        ({"fraction": 0.0}, r"Expected 'fraction' in \(0, 1\], got 0\.0"),
        ({"fraction": 1.1}, r"Expected 'fraction' in \(0, 1\], got 1\.1"),
        ({"fraction": float("nan")}, r"Expected 'fraction' in \(0, 1\], got nan"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ExperienceReplay(**options)


def _train_rank(rank: int, folder: Path, num_classes: int | None) -> list[dict[str, Any]]:
    torch.manual_seed(0)
    replay = ExperienceReplay(capacity=12, fraction=0.5)
    states: list[dict[str, Any]] = []

    class Watched(GAN):
        def on_train_batch_end(self, *_: Any) -> None:
            state = replay.state()
            states.append({k: x.clone() for k, x in state.items() if isinstance(x, Tensor)})

    model = Watched(**toy_networks(num_classes), replay=replay, n_critic=2)
    batches = torch.randn(5, 16, 2, generator=torch.Generator().manual_seed(rank))
    toy_trainer(folder, max_steps=5, strategy="ddp", devices=2).fit(
        model, labelled(ToyData(*batches))
    )
    return states


@pytest.mark.parametrize("num_classes", [None, NUM_CLASSES])
def test_ranks_remember_the_same(ranks: Ranks, num_classes: int | None, tmp_path: Path) -> None:
    results = ranks.run(_train_rank, tmp_path, num_classes)
    assert [len(states) for states in results] == [5, 5]
    for state, other in zip(*results, strict=True):
        assert state.keys() == other.keys()
        for name, value in state.items():
            assert torch.equal(value, other[name])
    sizes = [len(state["samples"]) for state in results[0]]
    assert sizes == [8, 12, 12, 12, 12]
    assert not torch.equal(results[0][-1]["samples"], results[0][-2]["samples"])
