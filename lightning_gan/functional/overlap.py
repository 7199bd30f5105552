"""How two sets of samples overlap, all of it from one pass over their pairs."""

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_gan.functional.features import check_features
from lightning_gan.functional.kernels import KernelMean
from lightning_gan.functional.neighbors import Nearest, check_ranks
from lightning_gan.functional.pairs import Pairs, visit

# What rounding may take of a squared radius, so that the very sample to which it reaches, or a copy
# of that, lies inside.
_EDGE = 1e-12
_MOST = 2**15  # pairs of a tile whose differences are looked at


class Neighborhood(NamedTuple):
    """What a set is compared by, beside its features; worth keeping for one that stays.

    Attributes:
        radii: Distance of each sample to its k-th nearest other one, for both k, (N, 2) float64.
        kernel: Mean of the cubic kernel over pairs of different samples, float64 scalar.
    """

    radii: Tensor
    kernel: Tensor


class ManifoldScores(NamedTuple):
    """How two sets of features overlap; each a float64 scalar.

    Attributes:
        precision: Share of the generated samples that lie in a ball around a real one, in [0, 1].
        recall: Share of the real samples that lie in a ball around a generated one, in [0, 1].
        density: How many balls of real samples hold a generated one, over k; not below 0, and 1 in
            expectation for two draws from one distribution.
        coverage: Share of the real samples whose ball holds a generated one, in [0, 1]; 1 - 2^-k
            in expectation for two large, equally large draws from one distribution.
    """

    precision: Tensor
    recall: Tensor
    density: Tensor
    coverage: Tensor


class Overlap(NamedTuple):
    """How generated samples lie among real ones; all float64.

    Attributes:
        kernel_distance: That of :func:`~lightning_gan.functional.kernel_distance`, a scalar.
        precision: Share of the generated samples in a ball around a real one, a scalar.
        recall: Share of the real samples in a ball around a generated one, a scalar.
        density: How many balls of real samples hold a generated one, over k, a scalar.
        coverage: Share of the real samples whose ball holds a generated one, a scalar.
        fake_radii: Distance of each generated sample to its k-th nearest other one for the first
            k, (M,).
        nearest: Distance of each generated sample to the nearest real one, exactly 0 for a copy,
            (M,).
    """

    kernel_distance: Tensor
    precision: Tensor
    recall: Tensor
    density: Tensor
    coverage: Tensor
    fake_radii: Tensor
    nearest: Tensor


class Balls:
    """Which samples of two sets lie in the balls around those of the other.

    Args:
        pairs: Pairs of generated with real samples, to be shown tile by tile.
        fake_radii: Radii of the balls around generated samples, (M,).
        real_radii: Two radii of balls around each real sample, (N, 2).
        k: How many other real samples those of the second radius hold.
    """

    def __init__(self, pairs: Pairs, fake_radii: Tensor, real_radii: Tensor, k: int) -> None:
        self.pairs = pairs
        self.k = k
        self._fake_reach = fake_radii.square() * (1 + _EDGE)
        self._real_reach = real_radii.square() * (1 + _EDGE)
        self._precise = torch.zeros_like(fake_radii, dtype=torch.bool)
        self._recalled, self._covered = self._precise.new_zeros(2, len(real_radii))
        self._held = torch.zeros_like(fake_radii[0], dtype=torch.int64)

    def add(self, rows: slice, columns: slice, products: Tensor) -> None:
        """Take in the pairs of one tile."""
        i, j, gap = self._near(rows, columns, products)
        narrow, wide = (gap <= reach for reach in self._real_reach[j].T)
        self._precise[i[narrow]] = True
        self._covered[j[wide]] = True
        self._recalled[j[gap <= self._fake_reach[i]]] = True
        self._held += wide.sum()

    def scores(self) -> ManifoldScores:
        """Return the scores of two sets of which all tiles were shown."""
        precision, recall, coverage = (
            hits.double().mean() for hits in (self._precise, self._recalled, self._covered)
        )
        density = self._held.double() / (self.k * len(self._precise))
        return ManifoldScores(precision, recall, density, coverage)

    def _near(self, rows: slice, columns: slice, products: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the pairs that may be in a ball, and squared distances that tell whether."""
        tolerance = self.pairs.tolerance(products.dtype)
        i, j = self._candidates(rows, columns, products, tolerance)
        norms = self.pairs.left.norms[i] + self.pairs.right.norms[j]
        gap = norms - 2 * products[i - rows.start, j - columns.start].double()
        slack = tolerance * norms
        doubtful = (gap - self._fake_reach[i]).abs() <= slack
        for reach in self._real_reach[j].T:
            doubtful |= (gap - reach).abs() <= slack
        unsure = doubtful.nonzero()[:, 0]
        if len(unsure) <= _MOST:
            gap[unsure] = self.pairs.distances(i[unsure], j[unsure]).square()
        elif products.dtype == torch.float64:
            gap[unsure] -= slack[unsure]
        else:
            products = self.pairs.products(rows, columns, torch.float64)
            return self._near(rows, columns, products)
        return i, j, gap

    def _candidates(
        self, rows: slice, columns: slice, products: Tensor, tolerance: float
    ) -> tuple[Tensor, Tensor]:
        """Return the pairs of which rounding allows that they are in a ball."""
        left, right, fake_reach, real_reach = (
            values.to(products.dtype)
            for values in (
                (1 - tolerance) * self.pairs.left.norms[rows],
                (1 - tolerance) * self.pairs.right.norms[columns],
                (1 + tolerance) * self._fake_reach[rows],
                (1 + tolerance) * self._real_reach[columns].amax(dim=1),
            )
        )
        least = torch.add(right, products, alpha=-2).add_(left[:, None])
        i, j = ((least <= real_reach) | (least <= fake_reach[:, None])).nonzero().T
        return i + rows.start, j + columns.start


@torch.no_grad()
def neighborhood(
    features: Tensor, k: tuple[int, int] = (3, 5), progress: bool = False
) -> Neighborhood:
    """Compute what :func:`overlap` needs to know of the real samples, in one pass.

    Args:
        features: One row for each sample, (N, d).
        k: To which neighbour the radii reach, each in [1, N - 1].
        progress: Whether a bar is shown.

    Returns:
        Radii and mean kernel.

    Raises:
        ValueError: If the features are no finite matrix of at least 2 rows, or ``k`` is out of
            range.

    Example:
        >>> import torch
        >>> neighborhood(torch.tensor([[0.0], [1.0], [3.0]]), k=(1, 2)).radii.tolist()
        [[1.0, 3.0], [1.0, 2.0], [2.0, 3.0]]
    """
    check_features(2, features=features)
    check_ranks(k, features=features)
    return _neighborhood(features, k, progress, "Pairs of real samples")


@torch.no_grad()
def overlap(
    real: Tensor,
    neighborhood: Neighborhood,
    fake: Tensor,
    k: tuple[int, int] = (3, 5),
    progress: bool = False,
) -> Overlap:
    """Compare generated with real samples by everything that their pairs tell, in two passes.

    One pass goes over the pairs of generated samples, one over those of generated with real ones;
    those of real samples are in ``neighborhood``. The figures are those of
    :func:`~lightning_gan.functional.precision_recall_density_coverage`,
    :func:`~lightning_gan.functional.kernel_distance` and
    :func:`~lightning_gan.functional.nearest_distances`.

    Args:
        real: Features of real samples, (N, d).
        neighborhood: ``neighborhood(real, k)``.
        fake: Features of generated samples, (M, d).
        k: To which neighbour a ball reaches, for precision and recall and for density and coverage.
            3 and 5 as in the papers.
        progress: Whether bars are shown.

    Returns:
        The figures, and two distances of each generated sample.

    Raises:
        ValueError: If the features are no finite matrices of one width and at least 2 rows, ``k``
            is out of range, or ``neighborhood`` does not fit the real samples.
    """
    check_features(2, real=real, fake=fake)
    check_ranks(k, real=real)
    check_ranks(k[:1], fake=fake)
    _check_radii(neighborhood.radii, (len(real), 2))
    fakes = _neighborhood(fake, k[:1], progress, "Pairs of generated samples")
    pairs = Pairs.between(fake, real)
    kernel, nearest = KernelMean(pairs), Nearest(pairs, 1)
    balls = Balls(pairs, fakes.radii[:, 0], neighborhood.radii, k[1])
    title = "Pairs of generated and real samples"
    visit(pairs, kernel, nearest, balls, progress=progress, title=title)
    return Overlap(
        neighborhood.kernel + fakes.kernel - 2 * kernel.mean(),
        *balls.scores(),
        fakes.radii[:, 0],
        nearest.distances()[:, 0],
    )


@torch.no_grad()
def precision_recall_density_coverage(
    real: Tensor, fake: Tensor, k: int | tuple[int, int] = (3, 5)
) -> ManifoldScores:
    r"""Compute by balls around the samples how two sets of features overlap.

    With :math:`B_k(x)` the closed ball around a sample that reaches to its k-th nearest other one
    in the same set, of N real samples :math:`x_i` and M generated ones :math:`y_j`:

    .. math::
        P = \tfrac{1}{M} \sum_j 1[\exists i: y_j \in B_k(x_i)], \quad
        R = \tfrac{1}{N} \sum_i 1[\exists j: x_i \in B_k(y_j)], \\
        D = \tfrac{1}{kM} \sum_{i,j} 1[y_j \in B_k(x_i)], \quad
        C = \tfrac{1}{N} \sum_i 1[\exists j: y_j \in B_k(x_i)]

    Args:
        real: Features of real samples, (N, d).
        fake: Features of generated samples, (M, d).
        k: Which neighbour a ball reaches to, for precision and recall, below N and M, and for
            density and coverage, below N; one number for both. 3 and 5 as in the papers.

    Returns:
        The four scores. :func:`overlap` gives them without the search among real samples.

    Raises:
        ValueError: If the features are no finite matrices of one width and at least 2 rows, or
            ``k`` is out of range.

    Example:
        >>> import torch
        >>> real = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
        >>> scores = precision_recall_density_coverage(real, real[:2] + 0.25, k=1)
        >>> [round(score.item(), 4) for score in scores]
        [1.0, 0.75, 2.0, 0.75]

    Reference:
        Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative
        Models", NeurIPS 2019, https://arxiv.org/abs/1904.06991, eq. (1) and (2); Naeem et al.,
        "Reliable Fidelity and Diversity Metrics for Generative Models", ICML 2020,
        https://arxiv.org/abs/2002.09797, eq. (3) and (4).

    Note:
        The authors' code of density and coverage leaves out the boundary of a ball; here, as in
        Kynkäänniemi et al., it belongs to the ball. They differ where samples are copies.
    """
    check_features(2, real=real, fake=fake)
    ranks = (k, k) if isinstance(k, int) else k
    check_ranks(ranks, real=real)
    result = overlap(real, neighborhood(real, ranks), fake, ranks)
    return ManifoldScores(result.precision, result.recall, result.density, result.coverage)


def _neighborhood(
    features: Tensor, ranks: tuple[int, ...], progress: bool, title: str
) -> Neighborhood:
    pairs = Pairs.among(features)
    kernel, nearest = KernelMean(pairs), Nearest(pairs, max(ranks))
    visit(pairs, kernel, nearest, progress=progress, title=title)
    radii = nearest.distances()[:, [rank - 1 for rank in ranks]]
    return Neighborhood(radii, kernel.mean())


def _check_radii(radii: Tensor, shape: tuple[int, int]) -> None:
    if radii.shape != shape or radii.dtype != torch.float64:
        raise ValueError(
            f"Expected 'neighborhood' to hold radii in float64 of shape {shape}, as many as there "
            f"are real samples, got {radii.dtype} of shape {tuple(radii.shape)}."
        )
