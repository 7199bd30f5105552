"""Distances of two sets of features by the mean of a kernel over pairs of samples."""

import math

import torch
from torch import Tensor

from lightning_gan.functional.features import check_features
from lightning_gan.functional.pairs import Cloud, Pairs, visit


class KernelMean:
    r"""Mean of the cubic kernel :math:`(x \cdot y / d + 1)^3` over pairs of different samples.

    With c the centre and :math:`x = x' + c`, the kernel is :math:`(t + \alpha + \beta)^3`, where
    :math:`t = x' \cdot y' / d` is all that a pair has of its own. The powers of t from the second
    on are summed from products of the pairs; whatever is linear in t follows in float64 from sums
    over single samples.

    Args:
        pairs: The pairs, to be shown tile by tile.
    """

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs
        self.left = _Offsets(pairs.left)
        self.right = self.left if pairs.within else _Offsets(pairs.right)
        self.total = self._linear_part()

    def add(self, rows: slice, columns: slice, products: Tensor) -> None:
        """Take in the pairs of one tile."""
        squares = products.square()
        if self.pairs.within and rows == columns:
            squares.fill_diagonal_(0)
        by_row, by_column = (squares.sum(dim=dim).double() for dim in (1, 0))
        cubes = squares.mul_(products).sum(dim=0).double().sum()
        width = self.pairs.left.features.shape[1]
        offsets = by_row @ self.left.each[rows] + by_column @ self.right.each[columns]
        mirrored = 2 if self.pairs.within and rows != columns else 1
        self.total += mirrored * (cubes / width**3 + 3 * offsets / width**2)

    def mean(self) -> Tensor:
        """Return the mean over the pairs of which all tiles were shown, a float64 scalar."""
        n, m = len(self.pairs.left), len(self.pairs.right)
        return self.total / (n * (n - 1 if self.pairs.within else m))

    def _linear_part(self) -> Tensor:
        a, b, width = self.left, self.right, len(self.pairs.left.centre)
        total = a.sums.new_zeros(())
        for p in range(4):
            total += math.comb(3, p) * a.powers[p] * b.powers[3 - p]
        for p in range(3):
            total += 3 * math.comb(2, p) * (a.sums[p] @ b.sums[2 - p]) / width
        if self.pairs.within:
            own = 2 * a.each
            total -= (own.pow(3) + 3 * own.square() * self.pairs.left.norms / width).sum()
        return total


class _Offsets:
    """What each sample adds to the kernel by itself, and sums over all of them.

    Attributes:
        each: (N,); with that of another sample, the part of (x . y / d + 1) beside t.
        powers: Sum of the powers 0 to 3 of ``each``, (4,).
        sums: Sum of the centred samples, weighed with the powers 0 to 2 of ``each``, (3, d).
    """

    def __init__(self, cloud: Cloud) -> None:
        centre = cloud.centre
        base = (centre @ centre / len(centre) + 1) / 2
        parts, self.sums = [], centre.new_zeros(3, len(centre))
        for rows in cloud.blocks():
            samples = cloud.block(rows, torch.float64)
            offsets = samples @ centre / len(centre) + base
            self.sums += _powers(offsets, 2) @ samples
            parts.append(offsets)
        self.each = torch.cat(parts)
        self.powers = _powers(self.each, 3).sum(dim=1)


def _powers(values: Tensor, highest: int) -> Tensor:
    return torch.stack([values**p for p in range(highest + 1)])


@torch.no_grad()
def kernel_distance(real: Tensor, fake: Tensor) -> Tensor:
    r"""Estimate the squared maximum mean discrepancy of two sets of features, without bias.

    .. math::
        \frac{1}{N (N - 1)} \sum_{i \ne j} k(x_i, x_j) + \frac{1}{M (M - 1)} \sum_{i \ne j}
        k(y_i, y_j) - \frac{2}{N M} \sum_{i, j} k(x_i, y_j), \quad
        k(x, y) = \big(\tfrac{1}{d}\, x \cdot y + 1\big)^3

    It takes every pair of samples. The published KID on Inception's 2048 features is the mean of
    the same over subsets, see :func:`kernel_distance_of_subsets`.

    Args:
        real: Features x of real samples, (N, d), N at least 2.
        fake: Features y of generated samples, (M, d), M at least 2.

    Returns:
        Scalar, float64, 0 on average for samples of one distribution, where it may be negative.

    Raises:
        ValueError: If a set is not (N, d), has fewer than 2 samples or values that are not finite,
            or if the sets differ in d.

    Example:
        >>> import torch
        >>> kernel_distance(torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [3.0]]))
        tensor(297.5000, dtype=torch.float64)

    Reference:
        Bińkowski et al., "Demystifying MMD GANs", ICLR 2018, https://arxiv.org/abs/1801.01401,
        eq. (4) and section 4.
    """
    check_features(2, real=real, fake=fake)
    return _kernel_distance(real, fake)


@torch.no_grad()
def kernel_distance_of_subsets(
    real: Tensor,
    fake: Tensor,
    subsets: int = 100,
    subset_size: int = 1000,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Estimate the squared maximum mean discrepancy on random subsets, as published for the KID.

    Each subset of either set is drawn without replacement, and its distance is that of
    :func:`kernel_distance`. The mean estimates the same as that function on all samples, with more
    variance; the deviation is that of single subsets, not of the mean.

    Args:
        real: Features of real samples, (N, d).
        fake: Features of generated samples, (M, d).
        subsets: How many, at least 1.
        subset_size: Samples of either set in each, from 2 to the smaller of N and M.
        generator: Source of the random numbers; the global one of the CPU by default.

    Returns:
        Mean and population standard deviation over the subsets, two scalars, float64.

    Raises:
        ValueError: If a set is not (N, d), has fewer than 2 samples or values that are not finite,
            if the sets differ in d, or if ``subsets`` or ``subset_size`` is out of its range.

    Reference:
        Bińkowski et al., "Demystifying MMD GANs", ICLR 2018, https://arxiv.org/abs/1801.01401,
        section 4.
    """
    check_features(2, real=real, fake=fake)
    most = min(len(real), len(fake))
    if subsets < 1:
        raise ValueError(f"Expected 'subsets' to be at least 1, got {subsets}.")
    if not 2 <= subset_size <= most:
        raise ValueError(
            f"Expected 'subset_size' to be from 2 to {most}, the samples of the smaller set, "
            f"got {subset_size}."
        )
    distances = []
    for _ in range(subsets):
        x, y = (part[permutation(part, generator)[:subset_size]] for part in (real, fake))
        distances.append(_kernel_distance(x, y))
    values = torch.stack(distances)
    return values.mean(), values.std(correction=0)


def permutation(features: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw where the generator is, so that every device sees the same numbers of one."""
    device = "cpu" if generator is None else generator.device
    return torch.randperm(len(features), generator=generator, device=device).to(features.device)


def _kernel_distance(real: Tensor, fake: Tensor) -> Tensor:
    within_real, within_fake, between = (
        _kernel_mean(pairs)
        for pairs in (Pairs.among(real), Pairs.among(fake), Pairs.between(fake, real))
    )
    return within_real + within_fake - 2 * between


def _kernel_mean(pairs: Pairs) -> Tensor:
    kernel = KernelMean(pairs)
    visit(pairs, kernel)
    return kernel.mean()
