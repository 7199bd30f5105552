"""Sets of features and float64 oracles of what is computed from them."""

import math

import numpy as np
import torch
from torch import Tensor


def randn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def white(n: int, d: int) -> Tensor:
    """Return (n, d) whose mean is zero and whose unbiased covariance is one, exactly."""
    x = randn(n, d)
    unit: Tensor = torch.linalg.qr(x - x.mean(dim=0)).Q
    return math.sqrt(n - 1) * unit


def assert_near(actual: Tensor, expected: Tensor | float, tolerance: float = 1e-10) -> None:
    expected = torch.as_tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def distances(a: Tensor, b: Tensor) -> np.ndarray:
    """All distances, from differences in float64."""
    rows = b.double().numpy()
    apart = [np.linalg.norm(row - rows, axis=1) for row in a.double().numpy()]
    return np.stack(apart)


def radii(features: Tensor, k: int) -> np.ndarray:
    matrix = distances(features, features)
    np.fill_diagonal(matrix, np.inf)
    return np.asarray(np.sort(matrix, axis=1)[:, k - 1])


def manifold_scores(real: Tensor, fake: Tensor, k: tuple[int, int]) -> list[float]:
    """The four scores by the definitions, each over whole matrices."""
    apart = distances(real, fake)
    narrow, wide, fakes = radii(real, k[0]), radii(real, k[1]), radii(fake, k[0])
    held = apart <= wide[:, None]
    precision = (apart <= narrow[:, None]).any(axis=0).mean()
    recall = (apart <= fakes).any(axis=1).mean()
    density = held.sum() / (k[1] * len(fake))
    return [float(precision), float(recall), float(density), float(held.any(axis=1).mean())]


def kernel_mean(x: Tensor, y: Tensor | None = None) -> float:
    """The mean of (x.y / d + 1)^3 over pairs, of different samples within one set."""
    a = x.double().numpy()
    b = a if y is None else y.double().numpy()
    kernel = (a @ b.T / a.shape[1] + 1) ** 3
    if y is None:
        np.fill_diagonal(kernel, 0)
    return float(kernel.sum() / (len(a) * (len(b) - (y is None))))


class GivenFeatures(torch.nn.Module):
    """What torchmetrics takes for an extractor, of features that are there already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features
