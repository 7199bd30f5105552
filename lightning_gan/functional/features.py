"""Matrices of features: what is refused of them, and how they are gone through block by block."""

import torch
from torch import Tensor

BLOCK = 2048  # rows at a time; a tile of as many columns takes 16 MiB in float32


def blocks(count: int) -> list[slice]:
    """Return the slices into which so many rows are cut."""
    return [slice(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)]


def feature_means(features: Tensor) -> Tensor:
    """Return the mean of each column, (d,) in float64, without a float64 copy of (N, d)."""
    sums = [features[rows].sum(dim=0, dtype=torch.float64) for rows in blocks(len(features))]
    return torch.stack(sums).sum(dim=0) / len(features)


def check_features(at_least: int = 1, **features: Tensor) -> None:
    """Refuse what is no finite matrix, and matrices of different widths.

    Args:
        at_least: How many rows each has to have.
        **features: One or two matrices, each under the name that the caller gave it.

    Raises:
        ValueError: If one is not (N, d), has too few rows or values that are not finite, or if two
            differ in d.
    """
    for name, matrix in features.items():
        if matrix.dim() != 2 or not matrix.shape[1]:
            raise ValueError(f"Expected '{name}' to have shape (N, d), got {tuple(matrix.shape)}.")
        if len(matrix) < at_least:
            raise ValueError(
                f"Expected '{name}' to hold at least {at_least} samples, got {len(matrix)}."
            )
        _check_finite(matrix, name)
    check_widths(**{name: matrix.shape[1] for name, matrix in features.items()})


def check_widths(**widths: int) -> None:
    """Refuse two sets of different numbers of features.

    Args:
        **widths: The numbers, each under the name that the caller gave to the set.

    Raises:
        ValueError: If they differ.
    """
    if len(set(widths.values())) > 1:
        names = " and ".join(f"'{name}'" for name in widths)
        raise ValueError(
            f"Expected {names} to have the same number of features, "
            f"got {' and '.join(map(str, widths.values()))}."
        )


def _check_finite(matrix: Tensor, name: str) -> None:
    wrong = [(~matrix[rows].isfinite()).any(dim=1) for rows in blocks(len(matrix))]
    found = torch.cat(wrong).nonzero()[:, 0]
    if len(found):
        raise ValueError(
            f"Expected '{name}' to be finite, got NaN or infinity in {len(found)} of "
            f"{len(matrix)} rows, first in row {int(found[0])}."
        )
