"""What real samples reach against each other: the levels that generated ones are judged by."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_gan.functional import neighborhood, overlap

_K = (3, 5)
_FEWEST = 10


class Levels(NamedTuple):
    """What one part of the real samples reaches against another one of the same size.

    Attributes:
        size: Number of samples of each part.
        precision: Mean over the splits, as the next three.
        recall: See above.
        density: See above.
        coverage: See above.
        precision_std: Standard deviation over the splits, as the next three.
        recall_std: See above.
        density_std: See above.
        coverage_std: See above.
        drift: How precision grows with the logarithm of the number of real samples, and recall with
            that of the generated ones: below 0 in many dimensions.
        radius_drift: How the logarithm of the distance to the 3rd neighbour grows with that of the
            number of samples: about -1 / d in d intrinsic dimensions.
    """

    size: int
    precision: float
    recall: float
    density: float
    coverage: float
    precision_std: float
    recall_std: float
    density_std: float
    coverage_std: float
    drift: float
    radius_drift: float


def calibrate(
    features: Tensor,
    sample_size: int = 5000,
    repeats: int = 5,
    generator: torch.Generator | None = None,
) -> Levels:
    """Measure what one random part of the real samples reaches against another.

    Args:
        features: Features of real samples, (N, d), at least 20.
        sample_size: Largest number of samples of a part; halves of fewer samples are taken whole.
        repeats: Number of splits, at least 2.
        generator: Source of the splits; by default one of its own, so that they are always the same
            and other random numbers stay as they are.

    Returns:
        The levels.

    Raises:
        ValueError: If the features are no finite matrix, or there are too few samples or splits.
    """
    size = min(sample_size, len(features) // 2)
    if size < _FEWEST:
        raise ValueError(
            f"Expected at least {_FEWEST} real samples in each part of the split, got {size}."
        )
    if repeats < 2:
        raise ValueError(f"Expected 'repeats' to be at least 2, got {repeats}.")
    generator = generator or torch.Generator().manual_seed(0)
    few = max(size // 4, max(_K) + 1)
    whole, small = [], []
    for _ in range(repeats):
        order = torch.randperm(len(features), generator=generator, device=generator.device)
        real, fake = features[order[:size]], features[order[size : 2 * size]]
        whole.append(_compare(real, fake))
        small.append(_compare(real[:few], fake[:few]))
    mean, std = torch.stack(whole).mean(dim=0), torch.stack(whole).std(dim=0)
    growth = (mean - torch.stack(small).mean(dim=0)) / math.log(size / few)
    growth = growth.nan_to_num(0.0, 0.0, 0.0)  # without radii, where most real samples are copies
    drifts = growth[:2].mean().item(), growth[-1].item()
    return Levels._make((size, *mean[:-1].tolist(), *std[:-1].tolist(), *drifts))


def _compare(real: Tensor, fake: Tensor) -> Tensor:
    """Return the four scores and the logarithm of the typical radius, (5,)."""
    found = overlap(real, neighborhood(real, _K), fake, _K)
    scores = found.precision, found.recall, found.density, found.coverage
    return torch.stack([*scores, found.fake_radii.median().log()]).cpu()
