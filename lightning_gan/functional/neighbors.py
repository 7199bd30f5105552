"""Distances to nearest neighbours.

Which samples are near follows from matrix products, tile by tile: never are all N x M distances
held. Of each sample some more candidates are kept than are asked for, and a distance that is
returned is computed from the difference of the two samples, so that exact copies are at exactly 0.
Where rounding may have kept a nearer one from the candidates, the search is repeated in float64.
"""

import torch
from torch import Tensor

from lightning_gan.functional.features import check_features
from lightning_gan.functional.pairs import Pairs, visit

_SPARE = 3  # candidates beside those asked for, among which rounding may choose


class Nearest:
    """The nearest samples of the second set for each of the first, no sample being its own.

    Args:
        pairs: The pairs, to be shown tile by tile.
        count: How many; there must be as many others.
    """

    def __init__(self, pairs: Pairs, count: int) -> None:
        self.pairs = pairs
        self.count = count
        self.others = len(pairs.right) - pairs.within
        kept = min(count + _SPARE, self.others)
        self._floor = 1 - pairs.tolerance(pairs.dtype)
        # The least squared distance that a product allows, less the query's own share of it, which
        # does not change the order.
        self._reach = (self._floor * pairs.right.norms).to(pairs.dtype)
        self._best = self._reach.new_full((len(pairs.left), kept), torch.inf)
        self._found = torch.zeros_like(self._best, dtype=torch.int64)

    def add(self, rows: slice, columns: slice, products: Tensor) -> None:
        """Take in the pairs of one tile, and within one set those of its mirror image."""
        self._merge(rows, columns, products)
        if self.pairs.within and rows != columns:
            self._merge(columns, rows, products.T)

    def _merge(self, rows: slice, columns: slice, products: Tensor) -> None:
        gap = torch.add(self._reach[columns], products, alpha=-2)
        if self.pairs.within and rows == columns:
            gap.fill_diagonal_(torch.inf)
        near = gap.topk(min(self._best.shape[1], gap.shape[1]), largest=False, sorted=False)
        best = torch.cat([self._best[rows], near.values], dim=1)
        found = torch.cat([self._found[rows], near.indices + columns.start], dim=1)
        self._best[rows], order = best.topk(self._best.shape[1], largest=False)
        self._found[rows] = found.gather(1, order)

    def distances(self) -> Tensor:
        """Return the distances to them, (N, count) float64, ascending.

        All tiles must have been shown.
        """
        return torch.cat([self._distances(rows) for rows in self.pairs.left.blocks()])

    def _distances(self, rows: slice) -> Tensor:
        found = self._found[rows]
        queries = torch.arange(rows.start, rows.stop, device=found.device)
        distances = self.pairs.distances(queries.repeat_interleave(found.shape[1]), found.flatten())
        distances = distances.view_as(found).sort(dim=1).values[:, : self.count]
        if found.shape[1] < self.others and self.pairs.dtype != torch.float64:
            # No sample that was left out is nearer than the last candidate may be.
            left_out = self._best[rows, -1].double() + self._floor * self.pairs.left.norms[rows]
            unsure = (distances[:, -1].square() > left_out.clamp(min=0)).nonzero()[:, 0]
            if len(unsure):
                distances[unsure] = self._search_again(unsure + rows.start)
        return distances

    def _search_again(self, queries: Tensor) -> Tensor:
        """Return the same for some samples of the first set, from products in float64."""
        own = int(self.pairs.within)  # each finds itself, or a copy, at 0
        search = Nearest(self.pairs.of(queries), self.count + own)
        visit(search.pairs, search)
        return search.distances()[:, own:]


@torch.no_grad()
def neighbor_radii(features: Tensor, k: int | tuple[int, ...], progress: bool = False) -> Tensor:
    """Compute how far each sample is from its k-th nearest other one.

    A sample is no neighbour of itself, but its copies are: among more than k equal samples the
    radius is exactly 0.

    Args:
        features: One row for each sample, (N, d).
        k: Which neighbour, in [1, N - 1]; with several numbers all are found in one search.
        progress: Whether a bar is shown.

    Returns:
        Euclidean distances in float64, (N,), or (N, K) for K numbers.

    Raises:
        ValueError: If the features are no finite matrix, or ``k`` is out of range.

    Example:
        >>> import torch
        >>> neighbor_radii(torch.tensor([[0.0], [1.0], [3.0]]), k=1)
        tensor([1., 1., 2.], dtype=torch.float64)

    Reference:
        Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative
        Models", NeurIPS 2019, https://arxiv.org/abs/1904.06991, eq. (1).
    """
    check_features(features=features)
    ranks = (k,) if isinstance(k, int) else k
    check_ranks(ranks, features=features)
    nearest = Nearest(Pairs.among(features), max(ranks))
    visit(nearest.pairs, nearest, progress=progress, title="Distances within the set")
    radii = nearest.distances()[:, [rank - 1 for rank in ranks]]
    return radii[:, 0] if isinstance(k, int) else radii


@torch.no_grad()
def nearest_distances(queries: Tensor, reference: Tensor, progress: bool = False) -> Tensor:
    """Compute how far each query is from the nearest sample of a reference.

    Distances of generated samples to the training set that are smaller than those of held-out real
    ones tell of memorisation; an exact copy is at exactly 0.

    Args:
        queries: One row for each sample, (M, d).
        reference: Samples to look for neighbours in, (N, d).
        progress: Whether a bar is shown.

    Returns:
        Euclidean distances in float64, (M,).

    Raises:
        ValueError: If the features are no finite matrices of one width.

    Example:
        >>> import torch
        >>> nearest_distances(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [6.0, 8.0]]))
        tensor([5.], dtype=torch.float64)
    """
    check_features(queries=queries, reference=reference)
    nearest = Nearest(Pairs.between(queries, reference), 1)
    visit(nearest.pairs, nearest, progress=progress, title="Distances to the reference")
    return nearest.distances()[:, 0]


def check_ranks(ranks: tuple[int, ...], **features: Tensor) -> None:
    """Refuse numbers of neighbours that a set does not have.

    Args:
        ranks: The numbers.
        **features: Sets of samples, each under the name that the caller gave it.

    Raises:
        ValueError: If one is below 1, or no sample has so many others.
    """
    for name, matrix in features.items():
        for rank in ranks:
            if not 1 <= rank < len(matrix):
                raise ValueError(
                    f"Expected 'k' to be at least 1 and below the {len(matrix)} samples of "
                    f"'{name}', got {rank}."
                )
