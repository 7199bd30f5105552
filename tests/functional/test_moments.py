import numpy as np
import pytest
import torch

from lightning_gan.functional import features
from lightning_gan.functional.moments import covariance_root, moments
from tests.functional.feature_sets import assert_near, randn, white


@pytest.mark.parametrize("block", [3, 7, 2048])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.uint8])
@pytest.mark.parametrize("n", [2, 5, 6, 7, 40])
def test_moments_are_numpys(
    n: int, dtype: torch.dtype, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "BLOCK", block)
    x = (100 + 30 * randn(n, 6)).to(dtype)
    found = moments(x)
    expected = np.cov(x.double().numpy(), rowvar=False)
    assert_near(found.mean, torch.from_numpy(x.double().numpy().mean(axis=0)), 1e-13)
    torch.testing.assert_close(
        found.root.T @ found.root, torch.from_numpy(expected), rtol=1e-12, atol=1e-10
    )
    assert found.n == n
    assert len(found.root) == min(n, 6)
    assert found.rank == np.linalg.matrix_rank(expected, hermitian=True)


def test_root_of_few_samples_is_the_samples() -> None:
    x = white(5, 3) @ randn(3, 9, seed=1)
    assert_near(moments(x + 3).root, x / 2, 1e-14)


def test_root_keeps_only_what_is_not_rounding() -> None:
    """Dead features, copied ones and sums of others add no dimension."""
    x = randn(60, 4)
    wide = torch.cat([x, x[:, :2], x.sum(dim=1, keepdim=True), torch.ones(60, 3)], dim=1)
    found = moments(wide)
    assert found.root.shape == (4, 10)
    assert found.rank == 4
    torch.testing.assert_close(found.root.T @ found.root, torch.cov(wide.T), rtol=1e-12, atol=1e-12)


def test_features_of_very_different_scales_are_all_kept() -> None:
    scales = torch.tensor([1e6, 1.0, 1e-6], dtype=torch.float64)
    found = moments(white(50, 3) * scales)
    torch.testing.assert_close(
        found.root.T @ found.root, scales.square().diag(), rtol=1e-12, atol=1e-6
    )
    assert found.rank == 3


def test_root_of_an_indefinite_matrix_leaves_out_what_is_negative() -> None:
    root = covariance_root(torch.tensor([[4.0, 0.0], [0.0, -1e-3]], dtype=torch.float64))
    assert_near(root.abs(), torch.tensor([[2.0, 0.0]]))


def test_moments_of_constants() -> None:
    for n in (3, 30):
        found = moments(torch.full((n, 5), 7.0))
        assert found.root.square().sum() == 0
        assert_near(found.mean, torch.full((5,), 7.0))


def test_refuses_a_single_sample() -> None:
    with pytest.raises(ValueError, match="'features' to hold at least 2 samples, got 1"):
        moments(torch.ones(1, 3))
