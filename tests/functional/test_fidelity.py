"""Oracles are closed forms, scipy's matrix root, loops from the papers, and torchmetrics."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from lightning_gan.functional import features
from lightning_gan.functional.fidelity import (
    frechet_distance,
    frechet_distance_floor,
    frechet_distance_from_moments,
    inception_score,
)
from lightning_gan.functional.moments import Moments, moments
from tests.functional.feature_sets import GivenFeatures, assert_near, randn, white


def frechet_by_scipy(real: Tensor, fake: Tensor) -> float:
    linalg = pytest.importorskip("scipy.linalg")
    a, b = np.cov(real.numpy(), rowvar=False), np.cov(fake.numpy(), rowvar=False)
    apart = ((real.numpy().mean(axis=0) - fake.numpy().mean(axis=0)) ** 2).sum()
    return float(apart + np.trace(a + b - 2 * linalg.sqrtm(a @ b).real))


def score_by_loop(logits: npt.NDArray[np.float64]) -> float:
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    marginal = p.mean(axis=0)
    return math.exp(sum((row * np.log(row / marginal)).sum() for row in p) / len(p))


@pytest.fixture(params=[7, 2048])
def rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Blocks that cut the samples, and that hold them all."""
    size: int = request.param
    monkeypatch.setattr(features, "BLOCK", size)
    return size


@pytest.mark.parametrize("n", [4, 5, 6, 40])
def test_frechet_of_diagonal_covariances(n: int) -> None:
    """The sum of squared differences of means and of standard deviations."""
    d = 3
    x, shift = white(n, d), torch.tensor([1.0, -2.0, 0.5])
    a, b = torch.tensor([1.0, 2.0, 0.0]), torch.tensor([3.0, 0.5, 1.0])
    expected = shift.square().sum() + (a - b).square().sum()
    assert_near(frechet_distance(a * x, b * x + shift), expected)


@pytest.mark.parametrize(("n", "d"), [(3, 8), (8, 8), (9, 8), (50, 8)])
def test_frechet_of_shifts_and_scales(n: int, d: int) -> None:
    x = randn(n, d)
    variance = x.var(dim=0).sum()
    centred = x - x.mean(dim=0)
    assert_near(frechet_distance(x, x + 2), 4 * d)
    assert_near(frechet_distance(centred, 3 * centred), 4 * variance)
    assert_near(frechet_distance(x[:1].expand(n, d), x), frechet_distance(x, x[:1].expand(n, d)))


def test_frechet_where_covariances_do_not_commute() -> None:
    """For 2 x 2 matrices, tr (AB)^1/2 = sqrt(tr AB + 2 sqrt(det A det B))."""
    zero, a = torch.zeros(2), torch.diag(torch.tensor([1.0, 9.0]))
    b = torch.tensor([[2.0, 1.0], [1.0, 2.0]])
    expected = 10 + 4 - 2 * math.sqrt(20 + 2 * math.sqrt(9 * 3))
    assert expected == pytest.approx(2.974156749633, abs=1e-12)
    assert_near(frechet_distance_from_moments(zero, a, zero, b), expected)
    x = white(9, 2)
    fake = x @ torch.linalg.cholesky(b.double()).T
    assert_near(frechet_distance(x * torch.tensor([1.0, 3.0]), fake), expected)


@pytest.mark.parametrize(("n", "m"), [(30, 30), (6, 40), (40, 6), (5, 3), (7, 6)])
def test_frechet_is_scipys(n: int, m: int, rows: int) -> None:
    real, fake = randn(n, 6) @ randn(6, 6, seed=1), 1 + randn(m, 6, seed=2) @ randn(6, 6, seed=3)
    tolerance = 1e-9 if min(n, m) > 6 else 1e-6  # the root of a singular matrix is not scipy's best
    assert_near(frechet_distance(real, fake), frechet_by_scipy(real, fake), tolerance)


def test_frechet_from_moments_is_that_of_features() -> None:
    real, fake = randn(30, 5), 1 + 2 * randn(20, 5, seed=1)
    moments = [m for x in (real, fake) for m in (x.mean(dim=0), torch.cov(x.T))]
    assert_near(frechet_distance_from_moments(*moments), frechet_distance(real, fake))


@pytest.mark.parametrize(("n", "d"), [(2, 1), (2, 64), (50, 64), (64, 64), (65, 64), (300, 64)])
def test_frechet_to_itself_is_zero(n: int, d: int) -> None:
    x = 5 + randn(n, d)
    assert_near(frechet_distance(x, x), 0.0)
    assert_near(frechet_distance(x, x.flip(0)), 0.0)


def test_frechet_to_itself_is_zero_with_dead_features() -> None:
    """More samples than features, yet a singular covariance."""
    x = randn(100, 10) @ randn(10, 32, seed=1)
    assert_near(frechet_distance(x, x), 0.0)


@pytest.mark.parametrize("n", [7, 20, 64])
def test_frechet_is_exact_with_fewer_samples_than_features(n: int) -> None:
    """A rotation from 6 into 64 dimensions leaves the closed form as it is."""
    a = torch.tensor([1.0, 2.0, 0.5, 3.0, 0.0, 0.0])
    b = torch.tensor([3.0, 2.0, 1.0, 0.0, 2.0, 0.0])
    rotation = torch.linalg.qr(randn(64, 6, seed=1)).Q.T
    x, expected = white(n, 6), (a - b).square().sum()
    assert_near(frechet_distance(a * x @ rotation, b * x @ rotation), expected, 1e-12)


@pytest.mark.parametrize("n", [4, 40])
def test_frechet_of_constant_sets(n: int) -> None:
    assert_near(frechet_distance(torch.zeros(n, 8), torch.ones(n, 8)), 8.0)
    x = randn(30, 8)
    expected = x.mean(dim=0).square().sum() + x.var(dim=0).sum()
    assert_near(frechet_distance(torch.zeros(n, 8), x), expected)


def test_frechet_keeps_its_digits_far_from_the_origin() -> None:
    x, y = randn(50, 4), 1.5 * randn(50, 4, seed=1)
    assert_near(frechet_distance(x + 1e6, y + 1e6), frechet_distance(x, y), 1e-8)


def test_frechet_is_torchmetrics() -> None:
    fid = pytest.importorskip("torchmetrics.image.fid")
    real, fake = randn(60, 6), 0.3 + 1.2 * randn(50, 6, seed=1)
    metric = fid.FrechetInceptionDistance(feature=GivenFeatures(6))
    metric.update(real, real=True)
    metric.update(fake, real=False)
    assert_near(frechet_distance(real, fake), metric.compute(), 1e-10)


@pytest.mark.parametrize(("n", "splits"), [(12, 1), (12, 4), (103, 10), (5, 5)])
def test_inception_score_is_that_of_a_loop(n: int, splits: int) -> None:
    logits = 2 * randn(n, 6)
    edges = [i * n // splits for i in range(splits + 1)]
    scores = [score_by_loop(logits.numpy()[a:b]) for a, b in itertools.pairwise(edges)]
    mean, std = inception_score(logits, splits)
    assert_near(mean, float(np.mean(scores)))
    assert_near(std, float(np.std(scores)))


def test_inception_score_between_its_ends() -> None:
    sure = 1e4 * torch.eye(10).repeat(3, 1)
    assert_near(inception_score(sure, splits=3)[0], 10.0)
    assert_near(inception_score(sure[:, [0] * 10], splits=3)[0], 1.0)
    assert_near(inception_score(sure[:10], splits=10)[0], 1.0)
    assert_near(inception_score(torch.cat([sure[:10], sure[:10] - 1e4], dim=1), 1)[0], 10.0)


def test_inception_score_permutes_only_with_a_generator() -> None:
    """Sorted by class, each part holds one class only and its score is 1."""
    logits = 50 * torch.eye(4).repeat_interleave(25, dim=0)
    before = torch.get_rng_state()
    assert_near(inception_score(logits, splits=4)[0], 1.0)
    mean, _ = inception_score(logits, 4, torch.Generator().manual_seed(0))
    assert mean > 3.5
    assert torch.equal(torch.get_rng_state(), before)
    assert_near(inception_score(logits, 1, torch.Generator().manual_seed(0))[0], 4.0)


@pytest.mark.parametrize(("n", "m"), [(30, 30), (6, 40), (40, 6), (5, 3), (7, 6)])
def test_moments_stand_for_their_set(n: int, m: int) -> None:
    real, fake = randn(n, 6), 1 + 2 * randn(m, 6, seed=1)
    expected = frechet_distance(real, fake)
    assert frechet_distance(moments(real), fake) == expected
    assert frechet_distance(real, moments(fake)) == expected
    assert_near(frechet_distance(moments(fake), moments(real)), expected, 1e-12)


def test_frechet_of_many_features() -> None:
    """As exact with more samples than features as the closed form of scaled and shifted ones."""
    x = white(300, 200)
    a, b = torch.linspace(0.01, 3, 200).double(), torch.linspace(2, 0.02, 200).double()
    expected = (a - b).square().sum() + 200 * 0.5**2
    assert_near(frechet_distance(a * x, b * x + 0.5), expected, 1e-12)


@pytest.mark.parametrize(("n", "m"), [(50, 50), (50, 90)])
def test_floor_of_unit_variances(n: int, m: int) -> None:
    d = 7
    unit = Moments(1000, torch.zeros(d).double(), torch.eye(d).double())
    expected = d * (1 / n + 1 / m) + d * (d + 1) / 4 * (1 / (n - 1) + 1 / (m - 1))
    assert_near(frechet_distance_floor(unit, n, m), expected)
    rotated = unit._replace(root=torch.linalg.qr(randn(d, d)).Q * 2)
    assert_near(frechet_distance_floor(rotated, n, m), 4 * expected)
    assert_near(frechet_distance_floor(unit._replace(root=unit.root[:0]), n, m), 0.0)


def test_floor_is_what_samples_of_one_distribution_reach() -> None:
    scales = torch.tensor([3.0, 1.0, 0.5, 0.1])
    generator = torch.Generator().manual_seed(0)
    drawn = [
        frechet_distance(*(torch.randn(n, 4, generator=generator) * scales for n in (200, 300)))
        for _ in range(120)
    ]
    known = Moments(10**6, torch.zeros(4).double(), scales.double().diag())
    values = torch.stack(drawn)
    error = values.std() / math.sqrt(len(values))
    floor = frechet_distance_floor(known, 200, 300)
    assert abs(values.mean() - floor) < 3 * error
    assert error < 0.1 * floor


def test_floor_of_a_set_with_missing_dimensions() -> None:
    """Two of five dimensions are only rotated in, and change nothing."""
    few = moments(randn(50, 3))
    rotation = torch.linalg.qr(randn(5, 3, seed=1)).Q
    more = few._replace(root=few.root @ rotation.T)
    assert_near(frechet_distance_floor(more, 90, 80), frechet_distance_floor(few, 90, 80))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.uint8])
@pytest.mark.parametrize("n", [4, 30])
def test_other_types_are_promoted(dtype: torch.dtype, n: int) -> None:
    real, fake = (10 * randn(n, 6).abs()).to(dtype), (9 * randn(n, 6, seed=1).abs()).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        actual = [frechet_distance(real, fake), *inception_score(real, 2)]
    a, b = real.double(), fake.double()
    for one, expected in zip(actual, [frechet_distance(a, b), *inception_score(a, 2)], strict=True):
        assert_near(one, expected, 1e-14)


def test_no_gradient_flows() -> None:
    x = randn(20, 3).requires_grad_()
    assert not frechet_distance(x, randn(9, 3)).requires_grad
    assert not frechet_distance(moments(x), x).requires_grad
    assert not inception_score(x)[0].requires_grad


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: inception_score(x, 6), "Expected 'splits' to be from 1 to 5, .*, got 6"),
        (lambda x: inception_score(x, 0), "Expected 'splits' to be .*, got 0"),
        (lambda x: inception_score(x[0]), r"'logits' to have shape \(N, d\), got \(2,\)"),
        (lambda x: inception_score(x[:0]), "'logits' to hold at least 1 samples, got 0"),
        (lambda x: inception_score(x / 0), "'logits' to be finite, got NaN or infinity in 5 of 5"),
        (lambda x: frechet_distance(x, x[:1]), "'fake' to hold at least 2 samples, got 1"),
        (lambda x: frechet_distance(x, x / 0), "'fake' to be finite, got NaN or infinity in 5"),
        (lambda x: frechet_distance(x[0], x), r"'real' to have shape \(N, d\), got \(2,\)"),
        (
            lambda x: frechet_distance(moments(x), x[:, :1]),
            "'real' and 'fake' to have the same number of features, got 2 and 1",
        ),
        (lambda x: frechet_distance_floor(moments(x), 1, 5), "'n_real' to be at least 2, got 1"),
        (lambda x: frechet_distance_floor(moments(x), 5, 0), "'n_fake' to be at least 2, got 0"),
        (
            lambda x: frechet_distance_from_moments(x[0], x[:2], x[0], x[:3]),
            r"'cov_b' to have shape \(2, 2\), got \(3, 2\)",
        ),
        (
            lambda x: frechet_distance_from_moments(x[0], x[:2], x[0] / 0, x[:2]),
            "'mean_b' to be finite, got NaN or infinity in 2 values",
        ),
    ],
)
def test_refuses_values(call: Callable[[Tensor], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(torch.ones(5, 2))
