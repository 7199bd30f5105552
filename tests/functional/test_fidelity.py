"""Oracles are closed forms, scipy's matrix root, double loops from the papers, and torchmetrics."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from lightning_gan.functional import fidelity
from lightning_gan.functional.fidelity import (
    frechet_distance,
    frechet_distance_from_moments,
    inception_score,
    kernel_distance,
    kernel_distance_of_subsets,
)

Array = npt.NDArray[np.float64]


def assert_near(actual: Tensor, expected: Tensor | float, tolerance: float = 1e-10) -> None:
    expected = torch.as_tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def randn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def white(n: int, d: int) -> Tensor:
    """Return (n, d) whose mean is zero and whose unbiased covariance is one, exactly."""
    x = randn(n, d)
    unit: Tensor = torch.linalg.qr(x - x.mean(dim=0)).Q
    return math.sqrt(n - 1) * unit


def frechet_by_scipy(real: Tensor, fake: Tensor) -> float:
    linalg = pytest.importorskip("scipy.linalg")
    a, b = np.cov(real.numpy(), rowvar=False), np.cov(fake.numpy(), rowvar=False)
    apart = ((real.numpy().mean(axis=0) - fake.numpy().mean(axis=0)) ** 2).sum()
    return float(apart + np.trace(a + b - 2 * linalg.sqrtm(a @ b).real))


def kernel_by_loops(x: Array, y: Array, degree: int, gamma: float, coef: float) -> float:
    def k(a: Array, b: Array) -> float:
        return float((gamma * sum(p * q for p, q in zip(a, b, strict=True)) + coef) ** degree)

    n, m = len(x), len(y)
    own = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    other = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return own + other - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


def score_by_loop(logits: Array) -> float:
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    marginal = p.mean(axis=0)
    return math.exp(sum((row * np.log(row / marginal)).sum() for row in p) / len(p))


@pytest.fixture(params=[3, 7, 2048])
def rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Blocks that divide the samples, that do not, and that hold them all."""
    size: int = request.param
    monkeypatch.setattr(fidelity, "_BLOCK", size)
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
    metric = fid.FrechetInceptionDistance(feature=_Features(6))
    metric.update(real, real=True)
    metric.update(fake, real=False)
    assert_near(frechet_distance(real, fake), metric.compute(), 1e-10)


@pytest.mark.parametrize(
    ("degree", "gamma", "coef"), [(3, None, 1.0), (2, 0.7, 0.0), (1, 2.0, 3.0)]
)
def test_kernel_distance_is_that_of_loops(
    degree: int, gamma: float | None, coef: float, rows: int
) -> None:
    x, y = randn(9, 4), 0.5 + randn(7, 4, seed=1)
    expected = kernel_by_loops(x.numpy(), y.numpy(), degree, gamma or 0.25, coef)
    assert_near(kernel_distance(x, y, degree, gamma, coef), expected)


def test_kernel_distance_is_unbiased() -> None:
    """Of four points each, the mean over all pairs of draws without replacement is the whole's."""
    x, y = randn(4, 2), 1 + randn(4, 2, seed=1)
    pairs = torch.combinations(torch.arange(4))
    values = [kernel_distance(x[i], y[j]) for i in pairs for j in pairs]
    assert_near(torch.stack(values).mean(), kernel_distance(x, y))
    assert min(kernel_distance(x[i], x[j]) for i in pairs for j in pairs) < 0


def test_kernel_distance_is_torchmetrics() -> None:
    kid = pytest.importorskip("torchmetrics.image.kid")
    x, y = randn(20, 5), 0.5 + randn(20, 5, seed=1)
    with pytest.warns(UserWarning, match="will save all extracted features"):
        metric = kid.KernelInceptionDistance(feature=_Features(5), subsets=2, subset_size=20)
    metric.update(x, real=True)
    metric.update(y, real=False)
    mean, std = kernel_distance_of_subsets(x, y, subsets=2, subset_size=20)
    assert_near(mean, metric.compute()[0])
    assert_near(std, 0.0)
    assert_near(kernel_distance(x, y), mean)


def test_subsets_are_drawn_without_replacement() -> None:
    """Two of three points: the three distances between the choices are known."""
    x, y = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[2.0], [2.5]])
    known = [kernel_distance(x[[i, j]], y).item() for i, j in ((0, 1), (0, 2), (1, 2))]
    seen = set()
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        value, _ = kernel_distance_of_subsets(x, y, 1, 2, generator)
        seen.add(min(known, key=lambda k, v=value: abs(k - v)))  # type: ignore[misc]
        assert min(abs(value - k) for k in known) < 1e-9
    assert seen == set(known)


def test_subsets_have_a_mean_and_a_population_deviation() -> None:
    x, y = randn(30, 3), randn(25, 3, seed=1)
    mean, std = kernel_distance_of_subsets(x, y, 5, 10, torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    singles = [kernel_distance_of_subsets(x, y, 1, 10, generator)[0].item() for _ in range(5)]
    assert_near(mean, float(np.mean(singles)))
    assert_near(std, float(np.std(singles)))
    assert std > 0


def test_subsets_come_from_the_given_generator() -> None:
    x, y = randn(30, 3), randn(30, 3, seed=1)
    before = torch.get_rng_state()
    a = kernel_distance_of_subsets(x, y, 3, 10, torch.Generator().manual_seed(5))
    b = kernel_distance_of_subsets(x, y, 3, 10, torch.Generator().manual_seed(5))
    assert a == b
    assert torch.equal(torch.get_rng_state(), before)
    kernel_distance_of_subsets(x, y, 1, 10)
    assert not torch.equal(torch.get_rng_state(), before)


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


MEASURES: list[Callable[[Tensor, Tensor], Tensor]] = [
    frechet_distance,
    kernel_distance,
    lambda real, fake: kernel_distance_of_subsets(real, fake, 2, 2)[0],
]
every = pytest.mark.parametrize("measure", MEASURES)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.uint8])
@pytest.mark.parametrize("n", [4, 30])
def test_other_types_are_promoted(dtype: torch.dtype, n: int) -> None:
    real, fake = (10 * randn(n, 6).abs()).to(dtype), (9 * randn(n, 6, seed=1).abs()).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        actual = [frechet_distance(real, fake), kernel_distance(real, fake)]
        actual += inception_score(real, 2)
    a, b = real.double(), fake.double()
    for one, expected in zip(
        actual, [frechet_distance(a, b), kernel_distance(a, b), *inception_score(a, 2)], strict=True
    ):
        assert_near(one, expected, 1e-14)


@every
def test_no_gradient_flows(measure: Callable[[Tensor, Tensor], Tensor]) -> None:
    assert not measure(randn(9, 3).requires_grad_(), randn(9, 3)).requires_grad
    assert not inception_score(randn(20, 3).requires_grad_())[0].requires_grad


@every
@pytest.mark.parametrize(
    ("real", "fake", "message"),
    [
        (torch.ones(4), torch.ones(4, 2), r"Expected 'real' to have shape \(N, d\), got \(4,\)\."),
        (torch.ones(4, 2), torch.ones(4, 2, 1), r"Expected 'fake' to have .*, got \(4, 2, 1\)\."),
        (torch.ones(4, 0), torch.ones(4, 0), r"Expected 'real' to have .*, got \(4, 0\)\."),
        (torch.ones(4, 2), torch.ones(1, 2), "Expected 'fake' to hold at least 2 samples, got 1."),
        (torch.ones(4, 2), torch.ones(4, 3), "to have as many features each, got 2 and 3."),
        (torch.ones(4, 2), torch.full((4, 2), math.nan), "Expected 'fake' to be finite, got 8"),
        (
            torch.tensor([[1.0], [math.inf]]),
            torch.ones(4, 1),
            "Expected 'real' to be finite, got 1",
        ),
    ],
)
def test_refuses_sets(
    measure: Callable[[Tensor, Tensor], Tensor], real: Tensor, fake: Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        measure(real, fake)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: kernel_distance(x, x, degree=0), "Expected 'degree' to be at least 1, got 0."),
        (
            lambda x: kernel_distance_of_subsets(x, x),
            "'subset_size' to be from 2 to 5, .* got 1000",
        ),
        (lambda x: kernel_distance_of_subsets(x, x, 1, 1), "'subset_size' to be .*, got 1"),
        (lambda x: kernel_distance_of_subsets(x, x, 0, 3), "'subsets' to be at least 1, got 0"),
        (lambda x: inception_score(x, 6), "Expected 'splits' to be from 1 to 5, .*, got 6"),
        (lambda x: inception_score(x, 0), "Expected 'splits' to be .*, got 0"),
        (lambda x: inception_score(x[0]), r"'logits' to have shape \(N, d\), got \(2,\)"),
        (lambda x: inception_score(x[:0]), "'logits' to hold at least 1 samples, got 0"),
        (lambda x: inception_score(x / 0), "'logits' to be finite, got 10"),
        (
            lambda x: frechet_distance_from_moments(x[0], x[:2], x[0], x[:3]),
            r"'cov_b' to have shape \(2, 2\), got \(3, 2\)",
        ),
        (
            lambda x: frechet_distance_from_moments(x[0], x[:2], x[0] / 0, x[:2]),
            "'mean_b' to be finite, got 2",
        ),
    ],
)
def test_refuses_values(call: Callable[[Tensor], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(torch.ones(5, 2))


class _Features(torch.nn.Module):
    """What torchmetrics takes for an extractor, of features that are there already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features
