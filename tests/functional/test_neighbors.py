import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from lightning_gan.functional.neighbors import (
    ManifoldScores,
    nearest_distances,
    neighbor_radii,
    precision_recall_density_coverage,
)

LINE = torch.tensor([[0.0], [1.0], [3.0], [7.0]])


def distances(a: Tensor, b: Tensor) -> np.ndarray:
    """All distances, from differences in float64."""
    apart = a.double().numpy()[:, None] - b.double().numpy()[None]
    return np.asarray(np.linalg.norm(apart, axis=2))


def radii(features: Tensor, k: int) -> np.ndarray:
    matrix = distances(features, features)
    np.fill_diagonal(matrix, np.inf)
    return np.asarray(np.sort(matrix, axis=1)[:, k - 1])


def scores(real: Tensor, fake: Tensor, k: tuple[int, int]) -> list[float]:
    """The four scores by the definitions, each over whole matrices."""
    apart = distances(real, fake)
    held = apart <= radii(real, k[1])[:, None]
    precision = np.mean([(apart[:, j] <= radii(real, k[0])).any() for j in range(len(fake))])
    recall = np.mean([(apart[i] <= radii(fake, k[0])).any() for i in range(len(real))])
    density = held.sum() / (k[1] * len(fake))
    return [float(precision), float(recall), float(density), float(held.any(axis=1).mean())]


def assert_scores(actual: ManifoldScores, expected: list[float], tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(
        torch.stack(actual),
        torch.tensor(expected, dtype=torch.float64),
        rtol=0,
        atol=tolerance,
    )


def assert_distances(actual: Tensor, expected: np.ndarray) -> None:
    torch.testing.assert_close(actual, torch.from_numpy(expected), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("k", "expected"), [(1, [1.0, 1.0, 2.0, 4.0]), (2, [3, 2, 3, 6]), (3, [7, 6, 4, 7])]
)
def test_radii_on_a_line(k: int, expected: list[float]) -> None:
    assert neighbor_radii(LINE, k).tolist() == expected


@pytest.mark.parametrize("block_size", [4, 7, 50, 1000])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_radii_are_those_of_scikit_learn(dtype: torch.dtype, block_size: int) -> None:
    features = (torch.randn(50, 6) * 3 + 10).to(dtype)
    search = NearestNeighbors(algorithm="brute").fit(features.double().numpy())
    expected = search.kneighbors(n_neighbors=5)[0]
    actual = neighbor_radii(features, (1, 5, 3), block_size)
    assert_distances(actual, expected[:, [0, 4, 2]])
    assert_distances(neighbor_radii(features, 4, block_size), expected[:, 3])


def test_copies_are_neighbours() -> None:
    features = torch.tensor([[0.0], [0.0], [0.0], [5.0]])
    assert neighbor_radii(features, 2).tolist() == [0, 0, 0, 5]
    assert neighbor_radii(features, 3).tolist() == [5, 5, 5, 5]


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_wide_float32_features_keep_their_digits(offset: float) -> None:
    features = torch.randn(20, 2048) + offset
    features[1] = features[0]
    actual = neighbor_radii(features, (1, 3), block_size=6)
    assert actual[:2, 0].tolist() == [0, 0]
    for column, k in enumerate((1, 3)):
        assert_distances(actual[:, column], radii(features, k))


@pytest.mark.parametrize("block_size", [1, 5, 1024])
def test_nearest_distances(block_size: int) -> None:
    queries, reference = torch.randn(12, 4), torch.randn(17, 4)
    queries[3] = reference[11]
    actual = nearest_distances(queries, reference, block_size)
    assert actual[3] == 0
    assert_distances(actual, distances(queries, reference).min(axis=1))


def test_nearest_distance_to_a_single_sample() -> None:
    assert nearest_distances(LINE, LINE[2:3]).tolist() == [3, 2, 0, 4]


@pytest.mark.parametrize("k", [(3, 5), (5, 3), (1, 1)])
@pytest.mark.parametrize("block_size", [4, 16, 30, 1024])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_scores_follow_the_definitions(
    dtype: torch.dtype, block_size: int, k: tuple[int, int]
) -> None:
    real, fake = torch.randn(40, 3).to(dtype), (0.6 * torch.randn(30, 3) + 0.5).to(dtype)
    expected = scores(real, fake, k)
    assert all(0 < score < 3 for score in expected)
    assert_scores(precision_recall_density_coverage(real, fake, k, block_size), expected)


def test_scores_on_a_line() -> None:
    """Balls [-1, 1], [0, 2], [1, 5], [3, 11] and, of the generated, [-1, 2], [-1, 2], [2, 18]."""
    fake = torch.tensor([[0.5], [2.0], [10.0]])
    fake_balls = torch.tensor([1.5, 1.5, 8.0])
    assert neighbor_radii(fake, 1).tolist() == fake_balls.tolist()
    result = precision_recall_density_coverage(LINE, fake, k=1)
    assert_scores(result, [1.0, 1.0, 5 / 3, 1.0])


def test_one_k_serves_all() -> None:
    real, fake = torch.randn(30, 4), torch.randn(25, 4)
    both = precision_recall_density_coverage(real, fake, (4, 4))
    assert precision_recall_density_coverage(real, fake, 4) == both


@pytest.mark.parametrize("k", [4, (3, 5)])
def test_radii_of_the_real_samples_can_be_kept(k: int | tuple[int, int]) -> None:
    real, fake = torch.randn(30, 4), torch.randn(25, 4)
    kept = neighbor_radii(real, k)
    expected = precision_recall_density_coverage(real, fake, k)
    assert precision_recall_density_coverage(real, fake, k, real_radii=kept) == expected
    nothing = precision_recall_density_coverage(real, fake, k, real_radii=0 * kept)
    assert nothing.precision == nothing.density == nothing.coverage == 0
    assert nothing.recall == expected.recall


def test_draws_from_one_distribution() -> None:
    """E[D] = 1 and E[C] = 1 - prod (N - i) / (M + N - i), in any number of dimensions."""
    runs = []
    for _ in range(20):
        real, fake = torch.randn(400, 3), torch.randn(400, 3)
        runs.append(torch.stack(precision_recall_density_coverage(real, fake)))
    mean = torch.stack(runs).mean(0)
    expected = 1 - np.prod([(400 - i) / (800 - i) for i in range(1, 6)])
    assert abs(expected - (1 - 2**-5)) < 1e-3
    assert mean[2].item() == pytest.approx(1, abs=0.03)
    assert mean[3].item() == pytest.approx(expected, abs=0.01)


def test_half_of_the_modes() -> None:
    centres = 1000 * torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    real = centres.repeat(50, 1) + torch.randn(200, 2)
    fake = centres[:2].repeat(100, 1) + torch.randn(200, 2)
    result = precision_recall_density_coverage(real, fake, k=5)
    assert result.precision > 0.95
    assert 0.45 < result.recall <= 0.5
    assert 0.8 < result.density < 1.2
    assert result.coverage.item() == pytest.approx(0.5 * (1 - (1 / 3) ** 5), abs=0.03)


def test_disjoint_sets() -> None:
    real, fake = torch.randn(30, 5), torch.randn(20, 5) + 100
    assert_scores(precision_recall_density_coverage(real, fake), [0, 0, 0, 0])


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("width", [2, 2048])
def test_copies_of_the_real_set(width: int, offset: float) -> None:
    """The boundary belongs to a ball, so that k others and the sample itself lie in it."""
    real = torch.randn(40, width) + offset
    fake = real[torch.randperm(40)]
    result = precision_recall_density_coverage(real, fake, (3, 5), block_size=16)
    assert_scores(result, [1, 1, 6 / 5, 1])


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("width", [2, 2048])
def test_collapse_onto_one_real_sample(width: int, offset: float) -> None:
    """The generated balls have the radius 0; that one sample lies in them nevertheless."""
    real = torch.randn(40, width) + offset
    fake = real[7:8].expand(20, -1)
    held = distances(real, real[7:8])[:, 0] <= radii(real, 5)
    result = precision_recall_density_coverage(real, fake, (3, 5), block_size=16)
    assert_scores(result, [1, 1 / 40, held.sum() / 5, held.mean()])


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_all_samples_are_one(offset: float) -> None:
    real = (torch.randn(1, 2048) + offset).expand(30, -1)
    assert_scores(precision_recall_density_coverage(real, real[:20], 5), [1, 1, 30 / 5, 1])
    moved = real[:20] + 0.01
    assert_scores(precision_recall_density_coverage(real, moved, 5), [0, 0, 0, 0])


def test_all_samples_are_zero() -> None:
    """No norm, and so no tolerance: it is the comparison that counts the boundary in."""
    real = torch.zeros(10, 4)
    assert_scores(precision_recall_density_coverage(real, real[:6], 5), [1, 1, 10 / 5, 1])


def test_far_generated_samples_do_not_blur_the_near_ones() -> None:
    real = torch.randn(40, 16)
    fake = torch.cat([real[:20], torch.randn(5, 16) + 1e5])
    expected = scores(real, fake, (3, 5))
    assert_scores(precision_recall_density_coverage(real, fake, block_size=8), expected)


def test_swapping_the_sets_swaps_precision_and_recall() -> None:
    real, fake = torch.randn(40, 3), 0.5 * torch.randn(30, 3)
    there = precision_recall_density_coverage(real, fake)
    back = precision_recall_density_coverage(fake, real)
    assert there.precision != there.recall
    assert (there.precision, there.recall) == (back.recall, back.precision)


def test_order_does_not_matter() -> None:
    real, fake = torch.randn(40, 3), torch.randn(30, 3)
    shuffled = real[torch.randperm(40)], fake[torch.randperm(30)]
    expected = precision_recall_density_coverage(real, fake, block_size=7)
    assert precision_recall_density_coverage(*shuffled, block_size=7) == expected


def test_no_graph_is_kept() -> None:
    real = torch.randn(10, 3, requires_grad=True)
    assert not neighbor_radii(real, 2).requires_grad
    assert not precision_recall_density_coverage(real, real).precision.requires_grad


@pytest.mark.parametrize("k", [0, -1, 10, (3, 10)])
def test_k_out_of_range(k: int | tuple[int, int]) -> None:
    few, many = torch.randn(10, 2), torch.randn(20, 2)
    wrong = k if isinstance(k, int) else k[1]
    rule = "Expected 'k' to be at least 1 and below the {} samples of '{}', got {}."
    with pytest.raises(ValueError) as caught:
        neighbor_radii(few, k)
    assert str(caught.value) == rule.format(10, "features", wrong)
    with pytest.raises(ValueError, match=rf"samples of '(real|fake)', got {wrong}\.$"):
        precision_recall_density_coverage(many, few, k)
    with pytest.raises(ValueError, match=rf"samples of 'real', got {wrong}\.$"):
        precision_recall_density_coverage(few, many, k)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_features_that_are_not_finite(bad: float) -> None:
    good, broken = torch.randn(10, 2), torch.randn(10, 2)
    broken[4, 1] = broken[6, 0] = broken[6, 1] = bad
    rule = "Expected '{}' to be finite, got NaN or infinity in 2 of 10 rows"
    with pytest.raises(ValueError, match=rule.format("features")):
        neighbor_radii(broken, 2)
    with pytest.raises(ValueError, match=rule.format("reference")):
        nearest_distances(good, broken)
    with pytest.raises(ValueError, match=rule.format("fake")):
        precision_recall_density_coverage(good, broken)


@pytest.mark.parametrize("shape", [(10,), (10, 2, 2), (0, 2), (10, 0)])
def test_features_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        ValueError, match=r"Expected 'features' to be a filled matrix \(N, d\), got"
    ):
        neighbor_radii(torch.zeros(shape), 2)
    with pytest.raises(ValueError, match="Expected 'queries' to be a filled matrix"):
        nearest_distances(torch.zeros(shape), torch.zeros(10, 2))
    with pytest.raises(ValueError, match="Expected 'fake' to be a filled matrix"):
        precision_recall_density_coverage(torch.zeros(10, 2), torch.zeros(shape))


def test_features_of_different_widths() -> None:
    a, b = torch.zeros(10, 2), torch.zeros(10, 3)
    rule = "Expected '{}' and '{}' to have the same number of features, got 2 and 3"
    with pytest.raises(ValueError, match=rule.format("queries", "reference")):
        nearest_distances(a, b)
    with pytest.raises(ValueError, match=rule.format("real", "fake")):
        precision_recall_density_coverage(a, b)


@pytest.mark.parametrize(
    "wrong", [torch.ones(9, dtype=torch.float64), torch.ones(10), torch.ones(10, 2).double()]
)
def test_radii_that_do_not_fit(wrong: Tensor) -> None:
    features = torch.randn(10, 2)
    with pytest.raises(ValueError, match=r"Expected 'real_radii' to be float64 of shape \(10,\)"):
        precision_recall_density_coverage(features, features, 3, real_radii=wrong)


def test_block_size_below_one() -> None:
    with pytest.raises(ValueError, match=r"Expected 'block_size' to be at least 1, got 0\."):
        neighbor_radii(torch.randn(10, 2), 2, block_size=0)
