from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_gan.functional import features
from lightning_gan.functional.kernels import (
    KernelMean,
    kernel_distance,
    kernel_distance_of_subsets,
)
from lightning_gan.functional.pairs import Pairs, visit
from tests.functional.feature_sets import GivenFeatures, assert_near, kernel_mean, randn


@pytest.fixture(params=[7, 2048])
def rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Blocks that cut the samples, and that hold them all."""
    size: int = request.param
    monkeypatch.setattr(features, "BLOCK", size)
    return size


def by_loops(x: Tensor, y: Tensor) -> float:
    def mean(a: Tensor, b: Tensor) -> float:
        kernels = [
            (sum(p * q for p, q in zip(one, other, strict=True)) / len(one) + 1) ** 3
            for i, one in enumerate(a.tolist())
            for j, other in enumerate(b.tolist())
            if a is not b or i != j
        ]
        return float(np.mean(kernels))

    return mean(x, x) + mean(y, y) - 2 * mean(x, y)


@pytest.mark.parametrize("offset", [0.0, -3.0])
def test_kernel_distance_is_that_of_loops(offset: float, rows: int) -> None:
    x, y = offset + randn(9, 4), offset + 0.5 + randn(7, 4, seed=1)
    assert_near(kernel_distance(x, y), by_loops(x, y))


@pytest.mark.parametrize("shape", [(2, 2, 1), (9, 7, 1), (30, 20, 80)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_narrow_types_lose_nothing(
    dtype: torch.dtype, shape: tuple[int, int, int], rows: int
) -> None:
    n, m, d = shape
    x, y = randn(n, d).to(dtype), (0.3 + 0.9 * randn(m, d, seed=1)).to(dtype)
    expected = kernel_mean(x) + kernel_mean(y) - 2 * kernel_mean(x, y)
    with torch.autocast("cpu", torch.bfloat16):
        assert_near(kernel_distance(x, y), expected, 1e-8)


@pytest.mark.parametrize("kind", ["ball", "offset", "copies", "plane"])
def test_products_of_float32_suffice(kind: str) -> None:
    """Eight decimals are kept, and a common offset drops out of what is rounded."""
    x, y = randn(300, 128).float(), 1.02 * randn(250, 128, seed=1).float()
    if kind == "offset":
        x, y = x + 30, y + 30
    elif kind == "copies":
        x, y = x[:1].expand(300, -1), x[:1].expand(250, -1)
    elif kind == "plane":
        basis = randn(2, 128, seed=2).float() / 2**0.5
        x, y = x[:, :2] @ basis, y[:, :2] @ basis
    for pairs, expected in (
        (Pairs.among(x), kernel_mean(x)),
        (Pairs.between(x, y), kernel_mean(x, y)),
    ):
        kernel = KernelMean(pairs)
        visit(pairs, kernel)
        assert pairs.dtype == torch.float32
        assert_near(kernel.mean(), expected, 1e-8)


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
        metric = kid.KernelInceptionDistance(feature=GivenFeatures(5), subsets=2, subset_size=20)
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


def test_no_gradient_flows() -> None:
    x = randn(9, 3).requires_grad_()
    assert not kernel_distance(x, randn(9, 3)).requires_grad
    assert not kernel_distance_of_subsets(x, x, 2, 2)[0].requires_grad


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: kernel_distance(x, x[:1]), "'fake' to hold at least 2 samples, got 1"),
        (lambda x: kernel_distance(x / 0, x), "'real' to be finite, got NaN or infinity in 5"),
        (
            lambda x: kernel_distance_of_subsets(x, x[:, :1], 1, 2),
            "'real' and 'fake' to have the same number of features, got 2 and 1",
        ),
        (
            lambda x: kernel_distance_of_subsets(x, x),
            "'subset_size' to be from 2 to 5, .* got 1000",
        ),
        (lambda x: kernel_distance_of_subsets(x, x, 1, 1), "'subset_size' to be .*, got 1"),
        (lambda x: kernel_distance_of_subsets(x, x, 0, 3), "'subsets' to be at least 1, got 0"),
    ],
)
def test_refuses(call: Callable[[Tensor], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(torch.ones(5, 2))
