"""What a normal distribution fitted to features needs to know of them."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_gan.functional.features import blocks, check_features, feature_means


class Moments(NamedTuple):
    r"""Mean and covariance of a set of features, the latter by a root of it.

    Attributes:
        n: Number of samples.
        mean: Their mean, (d,) float64.
        root: :math:`A` with :math:`A^T A` their unbiased covariance, (r, d) float64, r at most d.
    """

    n: int
    mean: Tensor
    root: Tensor

    @property
    def rank(self) -> int:
        """Number of dimensions in which the samples vary."""
        return min(self.n - 1, len(self.root))


@torch.no_grad()
def moments(features: Tensor) -> Moments:
    """Compute mean and covariance of features, in float64 and block by block.

    The root of the covariance is its Cholesky factor; where that is singular, what its eigenvectors
    make of it; and with no more samples than features the centred samples themselves, so that no
    digit is lost to the covariance.

    Args:
        features: One row for each sample, (N, d), N at least 2.

    Returns:
        The moments, on the features' device.

    Raises:
        ValueError: If the features are no finite matrix of at least 2 rows.

    Example:
        >>> import torch
        >>> moments(torch.tensor([[-1.0], [0.0], [1.0], [2.0]])).mean
        tensor([0.5000], dtype=torch.float64)
    """
    check_features(2, features=features)
    n, d = features.shape
    mean = feature_means(features)
    if n <= d:
        return Moments(n, mean, (features.double() - mean) / math.sqrt(n - 1))
    scatter = mean.new_zeros(d, d)
    for rows in blocks(n):
        centred = features[rows].double() - mean
        scatter.addmm_(centred.T, centred)
    return Moments(n, mean, covariance_root(scatter / (n - 1)))


def covariance_root(covariance: Tensor) -> Tensor:
    """Return A of (rank, d) with A^T A the covariance, without directions that rounding has made.

    Args:
        covariance: (d, d) float64, symmetric; its lower triangle is read.
    """
    rounding = len(covariance) * torch.finfo(covariance.dtype).eps
    root: Tensor
    factor, failed = torch.linalg.cholesky_ex(covariance)
    pivots = factor.diagonal().square()
    # Each pivot is the variance that a feature has beside those before it.
    if not failed and bool((pivots > rounding * covariance.diagonal()).all()):
        root = factor.T
        return root
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > rounding * values[-1]
    root = values[kept].sqrt()[:, None] * vectors[:, kept].T
    return root
