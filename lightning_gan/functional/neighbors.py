"""Distances to nearest neighbours, and what they tell of two sets of features.

Which samples are near follows from matrix products, block by block: never are all N x M distances
held. The features enter these in float64 and centred, so that a large offset which all of them
share costs no digits. A distance that is returned, or that is the radius of a ball, is then
computed anew from the difference of the two samples, so that exact copies are at exactly 0. What is
left, the rounding of the products when they are compared with the radii, is met by ``TOLERANCE``.
"""

from typing import NamedTuple

import torch
from torch import Tensor

# In shares of the two squared norms: far above the rounding of their product, about 1e-15 in
# float64. A sample that lies 1e-6 of its norm outside a ball may so count as inside, which is what
# a network that computes in float32 cannot tell apart either.
TOLERANCE = 1e-12


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


def neighbor_radii(features: Tensor, k: int | tuple[int, ...], block_size: int = 1024) -> Tensor:
    """Compute how far each sample is from its k-th nearest other one.

    A sample is no neighbour of itself, but its copies are: among more than k equal samples the
    radius is exactly 0.

    Args:
        features: One row for each sample, (N, d).
        k: Which neighbour, in [1, N - 1]; with several numbers all are found in one search.
        block_size: How many rows are compared with as many others at a time.

    Returns:
        Euclidean distances in float64, (N,), or (N, K) for K numbers.

    Raises:
        ValueError: If the features are no finite matrix, or ``k`` or ``block_size`` is out of
            range.

    Example:
        >>> import torch
        >>> neighbor_radii(torch.tensor([[0.0], [1.0], [3.0]]), k=1)
        tensor([1., 1., 2.], dtype=torch.float64)

    Reference:
        Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative
        Models", NeurIPS 2019, https://arxiv.org/abs/1904.06991, eq. (1).
    """
    _check_features(block_size, features=features)
    ranks = (k,) if isinstance(k, int) else k
    _check_ranks(ranks, features=features)
    radii = _neighbor_distances(features, features, ranks, block_size, skip_self=True)
    return radii[:, 0] if isinstance(k, int) else radii


def nearest_distances(queries: Tensor, reference: Tensor, block_size: int = 1024) -> Tensor:
    """Compute how far each query is from the nearest sample of a reference.

    Distances of generated samples to the training set that are smaller than those of held-out real
    ones tell of memorisation; an exact copy is at exactly 0.

    Args:
        queries: One row for each sample, (M, d).
        reference: Samples to look for neighbours in, (N, d).
        block_size: How many rows are compared with as many others at a time.

    Returns:
        Euclidean distances in float64, (M,).

    Raises:
        ValueError: If the features are no finite matrices of one width, or ``block_size`` is
            below 1.

    Example:
        >>> import torch
        >>> nearest_distances(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [6.0, 8.0]]))
        tensor([5.], dtype=torch.float64)
    """
    _check_features(block_size, queries=queries, reference=reference)
    return _neighbor_distances(queries, reference, (1,), block_size, skip_self=False)[:, 0]


@torch.no_grad()
def precision_recall_density_coverage(
    real: Tensor,
    fake: Tensor,
    k: int | tuple[int, int] = (3, 5),
    block_size: int = 1024,
    real_radii: Tensor | None = None,
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
        k: Which neighbour a ball reaches to, for precision and recall and for density and coverage;
            one number for both. 3 and 5 as in the papers, below N and M.
        block_size: How many rows are compared with as many others at a time.
        real_radii: ``neighbor_radii(real, k)``, to be spared the search in a set that stays;
            computed by default.

    Returns:
        The four scores.

    Raises:
        ValueError: If the features are no finite matrices of one width, ``k`` or ``block_size`` is
            out of range, or ``real_radii`` do not fit the real samples.

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
    _check_features(block_size, real=real, fake=fake)
    ranks = (k, k) if isinstance(k, int) else k
    _check_ranks(ranks, real=real, fake=fake)
    if real_radii is None:
        real_radii = neighbor_radii(real, k, block_size)
    _check_radii(real_radii, (len(real),) if isinstance(k, int) else (len(real), 2))
    real_reach, dense_reach = real_radii.square().reshape(len(real), -1).expand(-1, 2).T
    fake_reach = neighbor_radii(fake, ranks[0], block_size).square()
    precise = real.new_zeros(len(fake), dtype=torch.bool)
    recalled, covered = (real.new_zeros(len(real), dtype=torch.bool) for _ in range(2))
    inside = real.new_zeros((), dtype=torch.int64)
    centre = _centre(real)
    for rows in _slices(fake, block_size):
        left = fake[rows].double() - centre
        for columns in _slices(real, block_size):
            gap = _least_squared_distances(left, real[columns].double() - centre)
            dense = gap <= dense_reach[columns]
            inside += dense.sum()
            covered[columns] |= dense.any(dim=0)
            near = dense if ranks[0] == ranks[1] else gap <= real_reach[columns]
            precise[rows] |= near.any(dim=1)
            recalled[columns] |= (gap <= fake_reach[rows, None]).any(dim=0)
    density = inside.double() / (ranks[1] * len(fake))
    precision, recall, coverage = (hits.double().mean() for hits in (precise, recalled, covered))
    return ManifoldScores(precision, recall, density, coverage)


def _least_squared_distances(left: Tensor, right: Tensor) -> Tensor:
    """Return the squared distance of each pair less what rounding may have added, (B, C)."""
    norms = left.square().sum(dim=1, keepdim=True) + right.square().sum(dim=1)
    return torch.addmm(norms, left, right.T, beta=1 - TOLERANCE, alpha=-2)


@torch.no_grad()
def _neighbor_distances(
    queries: Tensor, reference: Tensor, ranks: tuple[int, ...], block_size: int, *, skip_self: bool
) -> Tensor:
    """Return the distance of each query to its neighbours of the given ranks, (M, K)."""
    centre = _centre(reference)
    chosen = torch.tensor(ranks, device=queries.device) - 1
    distances = []
    for rows in _slices(queries, block_size):
        left = queries[rows].double() - centre
        best = left.new_empty(len(left), 0)
        found = best.long()
        for columns in _slices(reference, block_size):
            right = reference[columns].double() - centre
            # Less the query's own squared norm, which does not change the order.
            gap = torch.addmm(right.square().sum(dim=1), left, right.T, alpha=-2)
            if skip_self and rows == columns:
                gap.fill_diagonal_(torch.inf)
            nearest = gap.topk(min(max(ranks), len(right)), largest=False)
            found = torch.cat([found, nearest.indices + columns.start], dim=1)
            best = torch.cat([best, nearest.values], dim=1)
            best, order = best.topk(min(max(ranks), best.shape[1]), largest=False)
            found = found.gather(1, order)
        neighbors = reference[found[:, chosen]].double()
        difference = queries[rows, None].double() - neighbors
        distances.append(torch.linalg.vector_norm(difference, dim=2))
    return torch.cat(distances)


def _centre(features: Tensor) -> Tensor:
    # Any point amid the samples does, so that no copy of them all in float64 is needed.
    kind = torch.promote_types(features.dtype, torch.float32)
    return features.mean(dim=0, dtype=kind).double()


def _slices(features: Tensor, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, len(features), size)]


def _check_features(block_size: int, **features: Tensor) -> None:
    if block_size < 1:
        raise ValueError(f"Expected 'block_size' to be at least 1, got {block_size}.")
    for name, matrix in features.items():
        if matrix.dim() != 2 or not matrix.numel():
            raise ValueError(
                f"Expected '{name}' to be a filled matrix (N, d), got {tuple(matrix.shape)}."
            )
        if wrong := int((~matrix.isfinite()).any(dim=1).sum()):
            raise ValueError(
                f"Expected '{name}' to be finite, got NaN or infinity in {wrong} of "
                f"{len(matrix)} rows."
            )
    widths = {name: matrix.shape[1] for name, matrix in features.items()}
    if len(set(widths.values())) > 1:
        first, second = widths
        raise ValueError(
            f"Expected '{first}' and '{second}' to have the same number of features, "
            f"got {widths[first]} and {widths[second]}."
        )


def _check_ranks(ranks: tuple[int, ...], **features: Tensor) -> None:
    for name, matrix in features.items():
        for rank in ranks:
            if not 1 <= rank < len(matrix):
                raise ValueError(
                    f"Expected 'k' to be at least 1 and below the {len(matrix)} samples of "
                    f"'{name}', got {rank}."
                )


def _check_radii(radii: Tensor, shape: tuple[int, ...]) -> None:
    if radii.shape != shape or radii.dtype != torch.float64:
        raise ValueError(
            f"Expected 'real_radii' to be float64 of shape {shape}, "
            f"got {radii.dtype} of shape {tuple(radii.shape)}."
        )
