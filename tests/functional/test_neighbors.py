import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from lightning_gan.functional import features, pairs
from lightning_gan.functional.neighbors import Nearest, nearest_distances, neighbor_radii
from tests.functional.feature_sets import distances, radii

LINE = torch.tensor([[0.0], [1.0], [3.0], [7.0]])


def assert_distances(actual: Tensor, expected: np.ndarray, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(actual, torch.from_numpy(expected), rtol=tolerance, atol=0)


@pytest.mark.parametrize(
    ("k", "expected"), [(1, [1.0, 1.0, 2.0, 4.0]), (2, [3, 2, 3, 6]), (3, [7, 6, 4, 7])]
)
def test_radii_on_a_line(k: int, expected: list[float]) -> None:
    assert neighbor_radii(LINE, k).tolist() == expected


@pytest.mark.parametrize("block", [17, 1000])
@pytest.mark.parametrize("width", [6, 80])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_radii_are_those_of_scikit_learn(
    dtype: torch.dtype, width: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "BLOCK", block)
    samples = (torch.randn(50, width) * 3 + 10).to(dtype)
    search = NearestNeighbors(algorithm="brute").fit(samples.double().numpy())
    expected = search.kneighbors(n_neighbors=5)[0]
    # scikit-learn itself takes distances from products
    assert_distances(neighbor_radii(samples, (1, 5, 3)), expected[:, [0, 4, 2]], 1e-9)
    assert_distances(neighbor_radii(samples, 4), radii(samples, 4))


def test_copies_are_neighbours() -> None:
    samples = torch.tensor([[0.0], [0.0], [0.0], [5.0]])
    assert neighbor_radii(samples, 2).tolist() == [0, 0, 0, 5]
    assert neighbor_radii(samples, 3).tolist() == [5, 5, 5, 5]


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_wide_float32_features_keep_their_digits(
    offset: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "BLOCK", 6)
    samples = torch.randn(20, 2048) + offset
    samples[1] = samples[0]
    actual = neighbor_radii(samples, (1, 3))
    assert actual[:2, 0].tolist() == [0, 0]
    for column, k in enumerate((1, 3)):
        assert_distances(actual[:, column], radii(samples, k))


def test_what_float32_cannot_order_is_searched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten clusters whose samples lie 1e-5 of their norm apart."""
    monkeypatch.setattr(features, "BLOCK", 33)
    samples = torch.randn(10, 80).repeat(12, 1) + 1e-5 * torch.randn(120, 80)
    assert pairs.Pairs.among(samples).dtype == torch.float32
    search, unsure = Nearest._search_again, []

    def watched(self: Nearest, queries: Tensor) -> Tensor:
        unsure.extend(queries.tolist())
        return search(self, queries)

    monkeypatch.setattr(Nearest, "_search_again", watched)
    for k in (1, 3):
        assert_distances(neighbor_radii(samples, k), radii(samples, k))
    assert_distances(
        nearest_distances(samples[:50], samples[50:]),
        distances(samples[:50], samples[50:]).min(axis=1),
    )
    assert len(unsure) > 200
    unsure.clear()
    neighbor_radii(torch.randn(120, 80), 3)
    assert not unsure


@pytest.mark.parametrize("scale", [1e-25, 1e-14, 1e25])
def test_scales_beyond_float32s_squares(scale: float) -> None:
    samples = torch.randn(30, 70) * scale
    assert pairs.Pairs.among(samples).dtype == torch.float64
    assert_distances(neighbor_radii(samples, 2), radii(samples, 2))
    assert_distances(
        nearest_distances(samples[:9], samples[9:]), distances(samples[:9], samples[9:]).min(axis=1)
    )


def test_a_far_sample_does_not_blur_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "BLOCK", 8)
    samples = torch.cat([torch.randn(30, 80), torch.full((1, 80), 2e4)])
    assert pairs.Pairs.among(samples).dtype == torch.float32
    assert_distances(neighbor_radii(samples, 3), radii(samples, 3))


@pytest.mark.parametrize("block", [1, 5, 1024])
@pytest.mark.parametrize("width", [4, 80])
def test_nearest_distances(width: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "BLOCK", block)
    queries, reference = torch.randn(12, width), torch.randn(17, width)
    queries[3] = reference[11]
    actual = nearest_distances(queries, reference)
    assert actual[3] == 0
    assert_distances(actual, distances(queries, reference).min(axis=1))


def test_nearest_distance_to_a_single_sample() -> None:
    assert nearest_distances(LINE, LINE[2:3]).tolist() == [3, 2, 0, 4]


@pytest.mark.parametrize("width", [1, 80])
def test_equal_samples_are_at_zero(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "BLOCK", 16)
    samples = torch.full((40, width), 0.1)
    assert neighbor_radii(samples, (1, 5)).eq(0).all()
    assert nearest_distances(samples[:7], samples).eq(0).all()


def test_no_graph_is_kept() -> None:
    samples = torch.randn(10, 3, requires_grad=True)
    assert not neighbor_radii(samples, 2).requires_grad
    assert not nearest_distances(samples, samples).requires_grad


@pytest.mark.parametrize("k", [0, -1, 10, (3, 10)])
def test_k_out_of_range(k: int | tuple[int, ...]) -> None:
    wrong = k if isinstance(k, int) else k[1]
    with pytest.raises(ValueError) as caught:
        neighbor_radii(torch.randn(10, 2), k)
    assert str(caught.value) == (
        f"Expected 'k' to be at least 1 and below the 10 samples of 'features', got {wrong}."
    )


def test_refuses() -> None:
    good, broken = torch.randn(10, 2), torch.full((10, 2), torch.nan)
    with pytest.raises(ValueError, match="'features' to be finite, got NaN or infinity in 10"):
        neighbor_radii(broken, 2)
    with pytest.raises(ValueError, match="'reference' to be finite"):
        nearest_distances(good, broken)
    with pytest.raises(ValueError, match="'queries' and 'reference' to have the same number"):
        nearest_distances(good, torch.randn(10, 3))
    with pytest.raises(ValueError, match="'reference' to hold at least 1 samples, got 0"):
        nearest_distances(good, good[:0])
