"""The same figures as torch-fidelity's, of the same features."""

import pytest
import torch
from torch import Tensor
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from lightning_gan.functional import (
    frechet_distance,
    inception_score,
    kernel_distance,
    precision_recall_density_coverage,
)
from tests.functional.feature_sets import assert_near, randn

N, D = 150, 20


@pytest.fixture(scope="module")
def features() -> tuple[Tensor, Tensor]:
    """Those of real samples and of generated ones, which are noisier."""
    mixing = randn(D, D)
    real, fake = randn(N, D, seed=1) @ mixing, randn(N, D, seed=2) @ mixing
    return real + 3, fake + 3 + 2 * randn(N, D, seed=3)


def test_frechet_distance(features: tuple[Tensor, Tensor]) -> None:
    theirs = [fid_features_to_statistics(part) for part in features]
    expected = fid_statistics_to_metric(*theirs, verbose=False)["frechet_inception_distance"]
    assert_near(frechet_distance(*features), expected, 1e-10)


def test_kernel_distance(features: tuple[Tensor, Tensor]) -> None:
    """Of one subset that holds all samples, so that nothing is drawn."""
    real, fake = features
    theirs = kid_features_to_metric(
        fake, real, kid_subsets=1, kid_subset_size=N, kid_kernel="poly", verbose=False
    )
    assert_near(kernel_distance(real, fake), theirs["kernel_inception_distance_mean"], 1e-10)


@pytest.mark.parametrize("splits", [1, 10, 7])
def test_inception_score(splits: int) -> None:
    logits = 2 * randn(N, 30)
    theirs = isc_features_to_metric(logits, splits, shuffle=False)
    mean, std = inception_score(logits, splits)
    assert_near(mean, theirs["inception_score_mean"], 1e-12)
    assert_near(std, theirs["inception_score_std"], 1e-12)


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_precision_and_recall(features: tuple[Tensor, Tensor], k: int, dtype: torch.dtype) -> None:
    real, fake = (part.to(dtype) for part in features)
    theirs = prc_features_to_metric(fake, real, prc_neighborhood=k, verbose=False)
    found = precision_recall_density_coverage(real, fake, k)
    assert 0.1 < found.precision < 0.95
    assert 0.1 < found.recall < 0.95
    assert found.precision.item() == pytest.approx(theirs["precision"], abs=1e-7)
    assert found.recall.item() == pytest.approx(theirs["recall"], abs=1e-7)
