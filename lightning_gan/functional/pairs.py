"""All pairs of two sets of samples, tile by tile, as fast as float32 and as right as float64.

Of each pair a matrix product gives the inner product, from which follow the distance and every
polynomial kernel. Wide features of float32 or less are multiplied in float32, twice as fast as
in float64. How far rounding can have moved a squared distance is known, so that whatever has to be
decided from one is decided from the product where it is sure, and from the difference of the two
samples in float64 where it is not.

Both sets are centred first, so that a large offset which they share costs no digits.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor
from tqdm.auto import tqdm

from lightning_gan.functional.features import blocks, feature_means

# Squared norms with which float32 can hold the cubes of products and tell small ones from 0.
_SAFE = (1e-24, 1e11)
_WIDE = 64  # with fewer features, products in float64 cost little beside what is done with them
_CHUNK = 2**21  # coordinates of differences at a time
_PATIENCE = 1.0  # seconds without a bar


class Cloud:
    """A set of samples as it is seen from a centre.

    Args:
        features: One row for each sample, (N, d).
        centre: (d,) float64.
        norms: Squared distance of each sample from the centre, (N,) float64; None computes them.
    """

    def __init__(self, features: Tensor, centre: Tensor, norms: Tensor | None = None) -> None:
        self.features = features
        self.centre = centre
        if norms is None:
            parts = [self.block(rows, torch.float64).square().sum(dim=1) for rows in self.blocks()]
            norms = torch.cat(parts)
        self.norms = norms

    def __len__(self) -> int:
        return len(self.features)

    def blocks(self) -> list[slice]:
        """Return the slices into which the samples are cut."""
        return blocks(len(self))

    def block(self, rows: slice, dtype: torch.dtype) -> Tensor:
        """Return some of the samples less the centre."""
        return self.features[rows].to(dtype) - self.centre.to(dtype)

    def some(self, rows: Tensor) -> "Cloud":
        """Return a set of only some of the samples."""
        return Cloud(self.features[rows], self.centre, self.norms[rows])


class Pairs:
    """Each sample of one set with each of another, or with each other one of the same set.

    Args:
        left: The first set, N samples.
        right: The second, M samples seen from the same centre; the very same object for the pairs
            within one set.
        dtype: In which type products are taken.
    """

    def __init__(self, left: Cloud, right: Cloud, dtype: torch.dtype) -> None:
        self.left = left
        self.right = right
        self.dtype = dtype

    @classmethod
    def between(cls, left: Tensor, right: Tensor) -> "Pairs":
        """Return the pairs of two sets of features, (N, d) and (M, d)."""
        dtype = _product_type(left, right)
        centre = _centre(right, dtype)
        a, b = Cloud(left, centre), Cloud(right, centre)
        return cls(a, b, dtype if _is_safe(a) and _is_safe(b) else torch.float64)

    @classmethod
    def among(cls, features: Tensor) -> "Pairs":
        """Return the pairs of different samples of one set, (N, d)."""
        dtype = _product_type(features)
        cloud = Cloud(features, _centre(features, dtype))
        return cls(cloud, cloud, dtype if _is_safe(cloud) else torch.float64)

    def of(self, rows: Tensor) -> "Pairs":
        """Return the pairs of some samples of the first set with all of the second, in float64."""
        return Pairs(self.left.some(rows), self.right, torch.float64)

    @property
    def within(self) -> bool:
        """Whether the pairs are those within one set."""
        return self.left is self.right

    def tolerance(self, dtype: torch.dtype) -> float:
        """Return how far a squared distance from products may be off.

        It is a share of the sum of the two squared norms. Each of the d terms of a product is
        rounded once when it is added, in whatever order; the rest is for all else.
        """
        return (self.left.features.shape[1] + 16) * torch.finfo(dtype).eps / 2

    def products(self, rows: slice, columns: slice, dtype: torch.dtype) -> Tensor:
        """Return the inner products of some samples with some others, centred."""
        return self.left.block(rows, dtype) @ self.right.block(columns, dtype).T

    def distances(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Return the distance of each given pair, from its difference, (P,) float64."""
        size = max(1, _CHUNK // self.left.features.shape[1])
        distances = []
        for i, j in zip(rows.split(size), columns.split(size), strict=True):
            difference = self.left.features[i].double() - self.right.features[j].double()
            distances.append(torch.linalg.vector_norm(difference, dim=1))
        return torch.cat(distances)

    def tiles(self) -> list[tuple[slice, slice]]:
        """Return the tiles that hold every pair; within a set, one of each two mirrored ones."""
        rows, columns = self.left.blocks(), self.right.blocks()
        return [(a, b) for a in rows for b in columns if not self.within or a.start <= b.start]


class Observer(Protocol):
    """What wants to see every pair."""

    def add(self, rows: slice, columns: slice, products: Tensor) -> None:
        """Look at one tile."""


def visit(pairs: Pairs, *observers: Observer, progress: bool = False, title: str = "Pairs") -> None:
    """Show every pair to all observers in one pass.

    Args:
        pairs: The pairs.
        observers: What looks at them.
        progress: Whether a bar tells how far it is.
        title: What stands before the bar.
    """
    with full_precision(pairs.left.features.device.type):
        tiles = pairs.tiles()
        for rows, columns in tqdm(tiles, title, unit="tile", disable=not progress, delay=_PATIENCE):
            products = pairs.products(rows, columns, pairs.dtype)
            for observer in observers:
                observer.add(rows, columns, products)


@contextmanager
def full_precision(kind: str) -> Iterator[None]:
    """Multiply float32 matrices in float32, whatever is faster.

    Args:
        kind: Type of the device whose autocasting is off inside.
    """
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        with torch.autocast(kind, enabled=False):
            yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def _product_type(*sets: Tensor) -> torch.dtype:
    exact = all(part.dtype in (torch.float32, torch.float16, torch.bfloat16) for part in sets)
    return torch.float32 if exact and sets[0].shape[1] >= _WIDE else torch.float64


def _centre(features: Tensor, dtype: torch.dtype) -> Tensor:
    return feature_means(features).to(dtype).double()  # so that centring in that type rounds once


def _is_safe(cloud: Cloud) -> bool:
    low, high = _SAFE
    return bool(((cloud.norms == 0) | ((cloud.norms > low) & (cloud.norms < high))).all())
