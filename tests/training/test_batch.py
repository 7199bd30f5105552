"""Batches and the forms in which loaders yield them."""

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from lightning_gan.training.batch import Batch, unpack


def _batch(n: int = 7) -> Batch:
    """Return a batch whose labels and latents tell the sample they belong to."""
    place = torch.arange(n)
    return Batch(place.float()[:, None].expand(n, 2), place, -place.float()[:, None])


def _assert_of(batch: Batch, place: list[int]) -> None:
    assert batch.samples.tolist() == [[float(i)] * 2 for i in place]
    assert batch.labels is not None
    assert batch.labels.tolist() == place
    assert batch.latents is not None
    assert batch.latents.tolist() == [[-float(i)] for i in place]


@pytest.mark.parametrize(("parts", "sizes"), [(1, [7]), (2, [4, 3]), (3, [3, 2, 2]), (7, [1] * 7)])
def test_split_is_near_equal_and_in_order(parts: int, sizes: list[int]) -> None:
    split = _batch().split(parts)
    assert [len(part.samples) for part in split] == sizes
    start = 0
    for part, size in zip(split, sizes, strict=True):
        _assert_of(part, list(range(start, start + size)))
        start += size


def test_split_of_samples_alone() -> None:
    for part in Batch(torch.zeros(5, 1, 4, 4)).split(2):
        assert part.samples.shape[1:] == (1, 4, 4)
        assert part.labels is None
        assert part.latents is None


def test_too_small_batches_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at least n_critic=8 samples, .* got 7\."):
        _batch().split(8)


def test_rows_by_slice_index_and_mask() -> None:
    _assert_of(_batch().rows(slice(2, 4)), [2, 3])
    _assert_of(_batch().rows(torch.tensor([5, 0, 5])), [5, 0, 5])
    _assert_of(_batch().rows(torch.arange(7) > 4), [5, 6])
    assert Batch(torch.zeros(3, 2)).rows(slice(1)).labels is None


def test_join_keeps_what_is_known_of_all() -> None:
    batch = _batch(2)
    _assert_of(batch.join(_batch(3)), [0, 1, 0, 1, 2])
    joined = batch.join(Batch(torch.ones(1, 2), torch.tensor([4])))
    assert joined.samples.tolist() == [[0, 0], [1, 1], [1, 1]]
    assert joined.labels is not None
    assert joined.labels.tolist() == [0, 1, 4]
    assert joined.latents is None
    assert Batch(torch.ones(1, 2)).join(batch).labels is None


def test_map_takes_like_tensors_together() -> None:
    doubled = _batch(3).map(lambda x: 2 * x)
    _assert_of(doubled, [0, 2, 4])
    _assert_of(doubled.map(lambda x, y: x - y, _batch(3)), [0, 1, 2])
    only = _batch(3).map(lambda x, y: y, Batch(torch.ones(1), latents=torch.zeros(1)))
    assert only.labels is None
    assert only.latents is not None


SAMPLES, LABELS = torch.randn(4, 2), torch.arange(4)


class _Pair(NamedTuple):
    image: Tensor
    label: Tensor


@pytest.mark.parametrize(
    "form",
    [
        (SAMPLES, LABELS),
        [SAMPLES, LABELS],
        (SAMPLES, LABELS, ["names"]),
        _Pair(SAMPLES, LABELS),
        {"image": SAMPLES, "label": LABELS},
        {"image": SAMPLES, "labels": LABELS, "path": ["a"] * 4},
    ],
    ids=str,
)
def test_forms_with_labels(form: Any) -> None:
    batch = unpack(form)
    assert batch.samples is SAMPLES
    assert batch.labels is LABELS
    assert batch.latents is None


@pytest.mark.parametrize(
    "form", [SAMPLES, (SAMPLES,), [SAMPLES, ["names"] * 4], {"image": SAMPLES, "path": ["a"] * 4}]
)
def test_forms_without_labels(form: Any) -> None:
    batch = unpack(form)
    assert batch.samples is SAMPLES
    assert batch.labels is None


@pytest.mark.parametrize(
    ("form", "named"),
    [
        ({"picture": SAMPLES, "id": 3}, r"dict with the keys \['id', 'picture'\]"),
        ({"image": "a.png"}, r"dict with the keys \['image'\]"),
        ((), "tuple"),
        ([3, SAMPLES], "list"),
        ("a.png", "str"),
        (None, "NoneType"),
        (3, "int"),
    ],
)
def test_other_forms_are_refused(form: Any, named: str) -> None:
    with pytest.raises(TypeError, match=rf"\(images, labels\) .* got {named}\."):
        unpack(form)


def test_labels_of_another_kind_are_left_out() -> None:
    batch = unpack({"image": torch.zeros(4, 2), "label": ["cat", "dog", "cat", "dog"]})
    assert batch.labels is None
    assert len(batch.split(2)) == 2
