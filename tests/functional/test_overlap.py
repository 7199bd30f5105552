import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_gan.functional import features
from lightning_gan.functional.kernels import kernel_distance
from lightning_gan.functional.neighbors import nearest_distances, neighbor_radii
from lightning_gan.functional.overlap import (
    ManifoldScores,
    Neighborhood,
    neighborhood,
    overlap,
    precision_recall_density_coverage,
)
from lightning_gan.functional.pairs import Pairs
from tests.functional.feature_sets import (
    assert_near,
    distances,
    kernel_mean,
    manifold_scores,
    radii,
)

# The package's attribute of this name is the function.
MODULE = sys.modules["lightning_gan.functional.overlap"]
LINE = torch.tensor([[0.0], [1.0], [3.0], [7.0]])


def assert_scores(actual: ManifoldScores, expected: list[float]) -> None:
    assert all(score.dtype == torch.float64 for score in actual)
    assert [score.item() for score in actual] == pytest.approx(expected, rel=0, abs=1e-12)


@pytest.fixture(params=[16, 1024])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    size: int = request.param
    monkeypatch.setattr(features, "BLOCK", size)
    return size


@pytest.mark.parametrize("k", [(3, 5), (5, 3)])
@pytest.mark.parametrize("width", [3, 80])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_scores_follow_the_definitions(
    dtype: torch.dtype, width: int, block: int, k: tuple[int, int]
) -> None:
    spread = 0.6 if width == 3 else 0.95
    real, fake = torch.randn(40, width), spread * torch.randn(30, width) + 0.5 / width**0.5
    real, fake = real.to(dtype), fake.to(dtype)
    expected = manifold_scores(real, fake, k)
    assert all(0 < score < 3 for score in expected)
    assert_scores(precision_recall_density_coverage(real, fake, k), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
@pytest.mark.parametrize(("n", "m", "width"), [(30, 50, 100), (12, 9, 1), (7, 9, 2)])
def test_overlap_is_all_in_one(n: int, m: int, width: int, dtype: torch.dtype, block: int) -> None:
    real, fake = torch.randn(n, width).to(dtype), (0.95 * torch.randn(m, width)).to(dtype)
    fake[2] = real[4]
    near = neighborhood(real)
    found = overlap(real, near, fake)
    assert_scores(ManifoldScores(*found[1:5]), manifold_scores(real, fake, (3, 5)))
    assert_near(near.kernel, kernel_mean(real), 1e-7)
    kernel = kernel_mean(real) + kernel_mean(fake) - 2 * kernel_mean(fake, real)
    assert_near(found.kernel_distance, kernel, 1e-7)
    for actual, expected in (
        (near.radii, np.stack([radii(real, 3), radii(real, 5)], axis=1)),
        (found.fake_radii, radii(fake, 3)),
        (found.nearest, distances(fake, real).min(axis=1)),
    ):
        torch.testing.assert_close(actual, torch.from_numpy(expected), rtol=1e-12, atol=0)
    assert found.nearest[2] == 0
    assert found.kernel_distance == kernel_distance(real, fake)
    assert torch.equal(found.nearest, nearest_distances(fake, real))


def test_scores_on_a_line() -> None:
    """Balls [-1, 1], [0, 2], [1, 5], [3, 11] and, of the generated, [-1, 2], [-1, 2], [2, 18]."""
    fake = torch.tensor([[0.5], [2.0], [10.0]])
    assert neighbor_radii(fake, 1).tolist() == [1.5, 1.5, 8.0]
    result = precision_recall_density_coverage(LINE, fake, k=1)
    assert_scores(result, [1.0, 1.0, 5 / 3, 1.0])


def test_one_k_serves_all() -> None:
    real, fake = torch.randn(30, 4), torch.randn(25, 4)
    both = precision_recall_density_coverage(real, fake, (4, 4))
    assert precision_recall_density_coverage(real, fake, 4) == both


def test_balls_are_those_of_the_neighborhood() -> None:
    real, fake = torch.randn(30, 4), torch.randn(25, 4)
    near = neighborhood(real)
    expected = overlap(real, near, fake)
    nothing = overlap(real, near._replace(radii=0 * near.radii), fake)
    assert nothing.precision == nothing.density == nothing.coverage == 0
    assert nothing.recall == expected.recall
    assert nothing.kernel_distance == expected.kernel_distance


def test_draws_from_one_distribution() -> None:
    """E[D] = 1 and E[C] = 1 - prod (N - i) / (M + N - i), in any number of dimensions."""
    runs = []
    for _ in range(12):
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


offsets = pytest.mark.parametrize("offset", [0.0, 1e4])
widths = pytest.mark.parametrize("width", [1, 2, 2048])


@pytest.fixture(params=[2**15, 3])
def most(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Every doubtful pair is looked at, or there are too many."""
    number: int = request.param
    monkeypatch.setattr(MODULE, "_MOST", number)
    monkeypatch.setattr(features, "BLOCK", 16)
    return number


@offsets
@widths
@pytest.mark.usefixtures("most")
def test_copies_of_the_real_set(width: int, offset: float) -> None:
    """The boundary belongs to a ball, so that k others and the sample itself lie in it."""
    dtype = torch.float64 if width == 1 else torch.float32  # of which no two distances are equal
    real = torch.randn(40, width, dtype=dtype) + offset
    fake = real[torch.randperm(40)]
    result = precision_recall_density_coverage(real, fake, (3, 5))
    assert_scores(result, [1, 1, 6 / 5, 1])


@offsets
@widths
@pytest.mark.usefixtures("most")
def test_collapse_onto_one_real_sample(width: int, offset: float) -> None:
    """The generated balls have the radius 0; that one sample lies in them nevertheless."""
    real = torch.randn(40, width) + offset
    fake = real[7:8].expand(20, -1)
    held = distances(real, real[7:8])[:, 0] <= radii(real, 5)
    result = precision_recall_density_coverage(real, fake, (3, 5))
    assert_scores(result, [1, 1 / 40, held.sum() / 5, held.mean()])


@offsets
@widths
@pytest.mark.usefixtures("most")
def test_all_samples_are_one(width: int, offset: float) -> None:
    real = (torch.randn(1, width) + offset).expand(30, -1)
    assert_scores(precision_recall_density_coverage(real, real[:20], 5), [1, 1, 30 / 5, 1])
    moved = real[:20] + 0.01
    assert_scores(precision_recall_density_coverage(real, moved, 5), [0, 0, 0, 0])
    assert overlap(real, neighborhood(real), real[:20]).nearest.eq(0).all()


@pytest.mark.usefixtures("most")
def test_all_samples_are_zero() -> None:
    """No norm, and so no tolerance: it is the comparison that counts the boundary in."""
    real = torch.zeros(10, 4)
    assert_scores(precision_recall_density_coverage(real, real[:6], 5), [1, 1, 10 / 5, 1])


@pytest.mark.usefixtures("most")
def test_clusters_narrower_than_float32_can_tell() -> None:
    """Samples lie 1e-5 of their norm apart, so that products in float32 say nothing of balls."""
    centres = torch.randn(3, 80)
    real = centres.repeat(20, 1) + 1e-5 * torch.randn(60, 80)
    fake = centres.repeat(15, 1) + 1e-5 * torch.randn(45, 80)
    assert Pairs.between(fake, real).dtype == torch.float32
    expected = manifold_scores(real, fake, (3, 5))
    assert 0 < expected[0] < 1
    assert_scores(precision_recall_density_coverage(real, fake), expected)


def test_far_generated_samples_do_not_blur_the_near_ones(block: int) -> None:
    real = torch.randn(40, 80)
    fake = torch.cat([real[:20], torch.randn(5, 80) + 1e4])
    assert Pairs.between(fake, real).dtype == torch.float32
    expected = manifold_scores(real, fake, (3, 5))
    assert_scores(precision_recall_density_coverage(real, fake), expected)


def test_swapping_the_sets_swaps_precision_and_recall() -> None:
    real, fake = torch.randn(40, 3), 0.5 * torch.randn(30, 3)
    there = precision_recall_density_coverage(real, fake)
    back = precision_recall_density_coverage(fake, real)
    assert there.precision != there.recall
    assert (there.precision, there.recall) == (back.recall, back.precision)


def test_order_does_not_matter(block: int) -> None:
    real, fake = torch.randn(40, 70), torch.randn(30, 70)
    expected = precision_recall_density_coverage(real, fake)
    shuffled = real[torch.randperm(40)], fake[torch.randperm(30)]
    assert precision_recall_density_coverage(*shuffled) == expected


def test_no_graph_is_kept() -> None:
    real = torch.randn(10, 3, requires_grad=True)
    near = neighborhood(real)
    assert not near.kernel.requires_grad
    assert not any(value.requires_grad for value in overlap(real, near, real))


def test_bars_are_shown_only_if_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_gan.functional.pairs._PATIENCE", 0.0)
    real = torch.randn(10, 3)
    near = neighborhood(real)
    overlap(real, near, real)
    assert not capsys.readouterr().err
    neighborhood(real, progress=True)
    overlap(real, near, real, progress=True)
    shown = capsys.readouterr().err
    for title in ("real samples", "generated samples", "generated and real samples"):
        assert f"Pairs of {title}: 100%" in shown


@pytest.mark.parametrize("k", [(0, 5), (3, 10), (-1, 2)])
def test_k_out_of_range(k: tuple[int, int]) -> None:
    few, many = torch.randn(10, 2), torch.randn(20, 2)
    wrong = k[1] if k[0] == 3 else k[0]
    with pytest.raises(ValueError, match=rf"below the 10 samples of 'features', got {wrong}\.$"):
        neighborhood(few, k)
    with pytest.raises(ValueError, match=rf"below the 10 samples of 'real', got {wrong}\.$"):
        precision_recall_density_coverage(few, many, k)
    with pytest.raises(ValueError, match=r"below the 3 samples of 'fake', got 3\.$"):
        precision_recall_density_coverage(few, many[:3], (3, 5))


def test_refuses_features() -> None:
    good = torch.randn(10, 2)
    broken = good.clone()
    broken[4, 1] = torch.nan
    with pytest.raises(ValueError, match="'fake' to be finite, got NaN or infinity in 1 of 10"):
        overlap(good, neighborhood(good), broken)
    with pytest.raises(ValueError, match="'real' to be finite, got NaN or infinity in 1 of 10"):
        precision_recall_density_coverage(broken, good)
    with pytest.raises(ValueError, match="'features' to be finite"):
        neighborhood(broken)
    with pytest.raises(ValueError, match="'real' and 'fake' to have the same number of features"):
        overlap(good, neighborhood(good), torch.randn(10, 3))
    with pytest.raises(ValueError, match="'fake' to hold at least 2 samples, got 1"):
        overlap(good, neighborhood(good), good[:1])


@pytest.mark.parametrize("wrong", [torch.ones(9, 2), torch.ones(10, 3), torch.ones(10)])
def test_a_neighborhood_that_does_not_fit(wrong: Tensor) -> None:
    real = torch.randn(10, 2)
    with pytest.raises(ValueError, match=r"'neighborhood' to hold radii .* of shape \(10, 2\)"):
        overlap(real, Neighborhood(wrong.double(), torch.zeros(())), real)
    with pytest.raises(ValueError, match=r"got torch\.float32 of shape \(10, 2\)"):
        overlap(real, Neighborhood(torch.ones(10, 2), torch.zeros(())), real)
