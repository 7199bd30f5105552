import math

import numpy as np
import pytest
import torch

from lightning_gan.functional import expected_coverage, precision_recall_density_coverage
from lightning_gan.metrics import calibrate


def test_levels_are_those_of_the_splits() -> None:
    features = torch.randn(61, 3)
    splits = torch.Generator().manual_seed(4)
    scores, small = [], []
    for _ in range(3):
        a, b = features[torch.randperm(61, generator=splits)][:60].split(30)
        scores.append(torch.stack(precision_recall_density_coverage(a, b)).numpy())
        small.append(torch.stack(precision_recall_density_coverage(a[:7], b[:7])).numpy())
    levels = calibrate(features, repeats=3, generator=torch.Generator().manual_seed(4))
    assert levels.size == 30
    np.testing.assert_allclose(levels[1:5], np.mean(scores, axis=0), rtol=1e-12)
    np.testing.assert_allclose(levels[5:9], np.std(scores, axis=0, ddof=1), rtol=1e-9, atol=1e-12)
    drift = (np.mean(scores, axis=0) - np.mean(small, axis=0))[:2].mean() / math.log(30 / 7)
    torch.testing.assert_close(levels.drift, float(drift), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dim", [1, 2, 4])
def test_levels_of_uniform_samples(dim: int) -> None:
    levels = calibrate(torch.rand(1200, dim), sample_size=400)
    assert levels.size == 400
    torch.testing.assert_close(levels.density, 1.0, rtol=0.05, atol=0)
    torch.testing.assert_close(levels.coverage, expected_coverage(400, 400), rtol=0.02, atol=0)
    torch.testing.assert_close(levels.radius_drift, -1 / dim, rtol=0.25, atol=0)


def test_levels_are_always_the_same() -> None:
    features = torch.randn(100, 2)
    state = torch.get_rng_state()
    assert calibrate(features) == calibrate(features)
    assert torch.equal(torch.get_rng_state(), state)
    other = calibrate(features, generator=torch.Generator().manual_seed(1))
    assert other != calibrate(features)


def test_levels_of_copies_are_finite() -> None:
    assert all(map(math.isfinite, calibrate(torch.zeros(40, 2))))


def test_too_few_samples_for_levels() -> None:
    with pytest.raises(ValueError, match=r"10 real samples in each part .*, got 9"):
        calibrate(torch.randn(19, 2))
    with pytest.raises(ValueError, match="'repeats' to be at least 2, got 1"):
        calibrate(torch.randn(40, 2), repeats=1)
    with pytest.raises(ValueError, match="NaN"):
        calibrate(torch.full((40, 2), math.nan))
