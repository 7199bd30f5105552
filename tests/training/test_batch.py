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
    with pytest.raises(ValueError, match=r"at least 8 samples, .* got 7\."):
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
    ids=lambda form: type(form).__name__,
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


# Packs


def test_pack_joins_neighbours_channel_by_channel() -> None:
    place = torch.arange(6).float()
    images = place.view(6, 1, 1, 1) + torch.tensor([0.0, 0.5]).view(1, 2, 1, 1).expand(6, 2, 3, 3)
    packed = Batch(images).packed(3)
    assert packed.samples.shape == (2, 6, 3, 3)
    assert packed.samples[:, :, 1, 2].tolist() == [
        [0, 0.5, 1, 1.5, 2, 2.5],
        [3, 3.5, 4, 4.5, 5, 5.5],
    ]
    assert packed.labels is None
    assert packed.latents is None


def test_pack_knows_all_of_its_samples() -> None:
    packed = _batch(6).packed(2)
    assert packed.samples.tolist() == [[i, i, i + 1, i + 1] for i in (0, 2, 4)]
    assert packed.labels is not None
    assert packed.labels.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert packed.labels.dtype == torch.int64
    assert packed.latents is not None
    assert packed.latents.tolist() == [[0, -1], [-2, -3], [-4, -5]]


@pytest.mark.parametrize("size", [1, 2, 3, 6])
@pytest.mark.parametrize("shape", [(2,), (1, 4, 4), (3, 2, 5)])
def test_packs_are_undone(size: int, shape: tuple[int, ...]) -> None:
    batch = Batch(torch.randn(6, *shape), torch.arange(6), torch.randn(6, 5))
    for whole in (batch, batch._replace(labels=None), Batch(batch.samples)):
        back = whole.packed(size).unpacked(size)
        for actual, expected in zip(back, whole, strict=True):
            torch.testing.assert_close(actual, expected, rtol=0, atol=0)


def test_packs_of_one_are_the_samples_themselves() -> None:
    batch = _batch()
    assert batch.packed(1) is batch
    assert batch.unpacked(1) is batch


@pytest.mark.parametrize(("n", "size", "kept"), [(7, 2, 6), (7, 3, 6), (7, 7, 7), (7, 4, 4)])
def test_what_is_left_over_is_dropped(n: int, size: int, kept: int) -> None:
    packed = _batch(n).packed(size)
    assert len(packed.samples) == kept // size
    _assert_of(packed.unpacked(size), list(range(kept)))


@pytest.mark.parametrize(("n", "size", "places"), [(1, 2, [0, 0]), (2, 5, [0, 1, 0, 1, 0])])
def test_too_few_samples_are_repeated(n: int, size: int, places: list[int]) -> None:
    packed = _batch(n).packed(size)
    assert len(packed.samples) == 1
    _assert_of(packed.unpacked(size), places)


def test_gradient_passes_packs() -> None:
    samples = torch.randn(5, 2, requires_grad=True)
    packed = Batch(samples).packed(2).samples
    (gradient,) = torch.autograd.grad((packed * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum(), samples)
    assert gradient.tolist() == [[1, 2], [3, 4], [1, 2], [3, 4], [0, 0]]
