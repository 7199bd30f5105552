"""How far features of generated samples lie from those of real ones; how varied their classes are.

Everything is computed in float64 on the tensors' own device, in blocks of rows: beside the features
themselves, which keep their type, nothing grows with the number of samples. No gradient flows.
"""

import math

import torch
from torch import Tensor

_BLOCK = 2048  # rows; a tile of as many columns takes 32 MiB in float64


@torch.no_grad()
def frechet_distance(real: Tensor, fake: Tensor) -> Tensor:
    r"""Compute the squared Fréchet distance of two normal distributions fitted to features.

    .. math::
        \lVert\mu_r - \mu_f\rVert_2^2 + \mathrm{tr}\,\Sigma_r + \mathrm{tr}\,\Sigma_f
        - 2\,\mathrm{tr}\big(\Sigma_r^{1/2} \Sigma_f \Sigma_r^{1/2}\big)^{1/2}

    with unbiased covariances (divisor N - 1). On Inception's 2048 features it is the FID.

    Where a set has no more samples than features, its covariance is singular, and rounding errors
    in the product's eigenvalues, which should be zero, would lower the distance. The trace of the
    root is then the sum of the singular values of :math:`A_r A_f^T`, where
    :math:`\Sigma = A^T A`.

    Args:
        real: Features of real samples, (N, d), N at least 2.
        fake: Features of generated samples, (M, d), M at least 2.

    Returns:
        Scalar, float64; 0 for equal means and covariances, and not below it but for rounding.
        Two sets from one normal distribution of unit variances have on average
        :math:`2 d / N + d (d + 1) / (2 (N - 1))` at N = M much larger than d, so that only
        distances of equally many samples can be compared.

    Raises:
        ValueError: If a set is not (N, d), has fewer than 2 samples or values that are not finite,
            or if the sets differ in d.

    Example:
        >>> import torch
        >>> real = torch.tensor([[-1.0], [0.0], [1.0]])
        >>> frechet_distance(real, 2 * real + 3)
        tensor(10., dtype=torch.float64)

    Reference:
        Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash
        Equilibrium", NeurIPS 2017, https://arxiv.org/abs/1706.08500, eq. (6).
    """
    _check_pair(real, fake)
    if min(len(real), len(fake)) > real.shape[1]:
        return frechet_distance_from_moments(*_moments(real), *_moments(fake))
    apart = (_mean(real) - _mean(fake)).square().sum()
    a, b = _factor(real), _factor(fake)
    overlap: Tensor = torch.linalg.svdvals(a @ b.T).sum()
    return apart + a.square().sum() + b.square().sum() - 2 * overlap


@torch.no_grad()
def frechet_distance_from_moments(
    mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor
) -> Tensor:
    r"""Compute the squared Fréchet distance of two normal distributions.

    .. math::
        \lVert\mu_a - \mu_b\rVert_2^2 + \mathrm{tr}\,\Sigma_a + \mathrm{tr}\,\Sigma_b
        - 2\,\mathrm{tr}\big(\Sigma_a^{1/2} \Sigma_b \Sigma_a^{1/2}\big)^{1/2}

    Args:
        mean_a: Mean of the first, (d,).
        cov_a: Covariance of the first, (d, d), symmetric; its lower triangle is read.
        mean_b: Mean of the second, (d,).
        cov_b: Covariance of the second, (d, d).

    Returns:
        Scalar, float64, not below 0 but for rounding. If both covariances are singular, rounding
        lowers it by about 1e-8 of the largest variance per missing dimension;
        :func:`frechet_distance` of the features does not suffer from that.

    Raises:
        ValueError: If the shapes are not those above, or a value is not finite.

    Example:
        >>> import torch
        >>> mean, cov = torch.zeros(3), torch.eye(3)
        >>> frechet_distance_from_moments(mean, cov, torch.tensor([1.0, 2.0, 2.0]), 4 * cov)
        tensor(12., dtype=torch.float64)

    Reference:
        Dowson and Landau, "The Fréchet Distance between Multivariate Normal Distributions",
        Journal of Multivariate Analysis 12, 1982; Heusel et al., "GANs Trained by a Two Time-Scale
        Update Rule Converge to a Local Nash Equilibrium", NeurIPS 2017,
        https://arxiv.org/abs/1706.08500, eq. (6).
    """
    _check_moments(mean_a=mean_a, cov_a=cov_a, mean_b=mean_b, cov_b=cov_b)
    a, b = cov_a.double(), cov_b.double()
    root = _root(a)
    squares = torch.linalg.eigvalsh(root @ b @ root.T)
    overlap: Tensor = squares.clamp(min=0).sqrt().sum()
    apart = (mean_a.double() - mean_b.double()).square().sum()
    return apart + a.trace() + b.trace() - 2 * overlap


@torch.no_grad()
def kernel_distance(
    real: Tensor, fake: Tensor, degree: int = 3, gamma: float | None = None, coef: float = 1.0
) -> Tensor:
    r"""Estimate the squared maximum mean discrepancy of two sets of features, without bias.

    .. math::
        \frac{1}{N (N - 1)} \sum_{i \ne j} k(x_i, x_j) + \frac{1}{M (M - 1)} \sum_{i \ne j}
        k(y_i, y_j) - \frac{2}{N M} \sum_{i, j} k(x_i, y_j), \quad
        k(x, y) = (\gamma\, x \cdot y + c)^p

    It takes every pair of samples. The published KID on Inception's 2048 features is the mean of
    the same over subsets, see :func:`kernel_distance_of_subsets`.

    Args:
        real: Features x of real samples, (N, d), N at least 2.
        fake: Features y of generated samples, (M, d), M at least 2.
        degree: p, at least 1.
        gamma: Factor of the inner product; None takes 1 / d.
        coef: c.

    Returns:
        Scalar, float64, 0 on average for samples of one distribution, where it may be negative.

    Raises:
        ValueError: If a set is not (N, d), has fewer than 2 samples or values that are not finite,
            if the sets differ in d, or if ``degree`` is below 1.

    Example:
        >>> import torch
        >>> kernel_distance(torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [3.0]]))
        tensor(297.5000, dtype=torch.float64)

    Reference:
        Bińkowski et al., "Demystifying MMD GANs", ICLR 2018, https://arxiv.org/abs/1801.01401,
        eq. (4) and section 4.
    """
    _check_pair(real, fake)
    if degree < 1:
        raise ValueError(f"Expected 'degree' to be at least 1, got {degree}.")
    kernel = _Polynomial(degree, 1 / real.shape[1] if gamma is None else gamma, coef)
    return kernel.within(real) + kernel.within(fake) - 2 * kernel.between(real, fake)


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
    :func:`kernel_distance` with the cubic kernel. The mean estimates the same as that function on
    all samples, with more variance; the deviation is that of single subsets, not of the mean.

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
    _check_pair(real, fake)
    most = min(len(real), len(fake))
    if subsets < 1:
        raise ValueError(f"Expected 'subsets' to be at least 1, got {subsets}.")
    if not 2 <= subset_size <= most:
        raise ValueError(
            f"Expected 'subset_size' to be from 2 to {most}, the samples of the smaller set, "
            f"got {subset_size}."
        )
    kernel = _Polynomial(3, 1 / real.shape[1], 1.0)
    distances = []
    for _ in range(subsets):
        x = real[_permutation(real, generator)[:subset_size]]
        y = fake[_permutation(fake, generator)[:subset_size]]
        distances.append(kernel.within(x) + kernel.within(y) - 2 * kernel.between(x, y))
    values = torch.stack(distances)
    return values.mean(), values.std(correction=0)


@torch.no_grad()
def inception_score(
    logits: Tensor, splits: int = 10, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    r"""Compute how sure a classifier is of each sample and how varied its answers are.

    .. math::
        \exp\big(\mathbb{E}_x\,\mathrm{KL}(p(y \mid x) \,\|\, p(y))\big), \quad
        p(y) = \mathbb{E}_x\,p(y \mid x)

    of each of several parts of the samples, which differ in size by at most one.

    Args:
        logits: The classifier's logits, (N, K).
        splits: Number of parts, from 1 to N.
        generator: Source of a permutation of the samples before they are split. None keeps their
            order, in which samples sorted by class would spoil the score.

    Returns:
        Mean and population standard deviation over the parts, two scalars, float64. Scores lie in
        [1, K].

    Raises:
        ValueError: If ``logits`` is not (N, K) or not finite, or ``splits`` is out of its range.

    Example:
        >>> import torch
        >>> inception_score(100 * torch.eye(4), splits=1)[0]
        tensor(4., dtype=torch.float64)

    Reference:
        Salimans et al., "Improved Techniques for Training GANs", NeurIPS 2016,
        https://arxiv.org/abs/1606.03498, section 4.
    """
    _check_features(logits, "logits", at_least=1)
    n = len(logits)
    if not 1 <= splits <= n:
        raise ValueError(
            f"Expected 'splits' to be from 1 to {n}, the number of samples, got {splits}."
        )
    if generator is not None:
        logits = logits[_permutation(logits, generator)]
    scores = []
    for i in range(splits):
        log_p = logits[i * n // splits : (i + 1) * n // splits].double().log_softmax(dim=1)
        # A class that no sample has keeps a finite logarithm, which that of the mean would not.
        log_marginal = log_p.logsumexp(dim=0) - math.log(len(log_p))
        divergences = (log_p.exp() * (log_p - log_marginal)).sum(dim=1)
        scores.append(divergences.mean().exp())
    values = torch.stack(scores)
    return values.mean(), values.std(correction=0)


class _Polynomial:
    """The kernel (gamma x.y + coef)^degree, summed over pairs of samples tile by tile."""

    def __init__(self, degree: int, gamma: float, coef: float) -> None:
        self.degree, self.gamma, self.coef = degree, gamma, coef

    def _tile(self, x: Tensor, y: Tensor) -> Tensor:
        return (x.double() @ y.double().T).mul_(self.gamma).add_(self.coef).pow_(self.degree)

    def within(self, x: Tensor) -> Tensor:
        """Return the mean over the pairs of different samples of one set."""
        blocks, sums = x.split(_BLOCK), []
        for i, block in enumerate(blocks):
            own = self._tile(block, block)
            sums.append(own.sum() - own.trace())
            sums += [2 * self._tile(block, other).sum() for other in blocks[i + 1 :]]
        return torch.stack(sums).sum() / (len(x) * (len(x) - 1))

    def between(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the mean over the pairs of two sets."""
        sums = [self._tile(a, b).sum() for a in x.split(_BLOCK) for b in y.split(_BLOCK)]
        return torch.stack(sums).sum() / (len(x) * len(y))


def _mean(features: Tensor) -> Tensor:
    sums = [block.double().sum(dim=0) for block in features.split(_BLOCK)]
    return torch.stack(sums).sum(dim=0) / len(features)


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean, (d,), and the unbiased covariance, (d, d)."""
    mean = _mean(features)
    scatter = mean.new_zeros(len(mean), len(mean))
    for block in features.split(_BLOCK):
        centred = block.double() - mean
        scatter.addmm_(centred.T, centred)
    return mean, scatter / (len(features) - 1)


def _root(cov: Tensor) -> Tensor:
    """Return A of (rank, d) with A^T A = cov, without the directions that rounding has made."""
    values, vectors = torch.linalg.eigh(cov)
    kept = values > values[-1] * len(values) * torch.finfo(values.dtype).eps
    root: Tensor = values[kept].sqrt()[:, None] * vectors[:, kept].T
    return root


def _factor(features: Tensor) -> Tensor:
    """Return A of at most d rows with A^T A the unbiased covariance of the features."""
    if len(features) > features.shape[1]:
        return _root(_moments(features)[1])
    return (features.double() - _mean(features)) / math.sqrt(len(features) - 1)


def _permutation(features: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw where the generator is, so that every device sees the same numbers of one."""
    device = "cpu" if generator is None else generator.device
    return torch.randperm(len(features), generator=generator, device=device).to(features.device)


def _check_finite(values: Tensor, name: str) -> None:
    bad = int((~values.isfinite()).sum())
    if bad:
        raise ValueError(f"Expected '{name}' to be finite, got {bad} values that are not.")


def _check_features(features: Tensor, name: str, at_least: int = 2) -> None:
    if features.dim() != 2 or not features.shape[1]:
        raise ValueError(f"Expected '{name}' to have shape (N, d), got {tuple(features.shape)}.")
    if len(features) < at_least:
        raise ValueError(
            f"Expected '{name}' to hold at least {at_least} samples, got {len(features)}."
        )
    _check_finite(features, name)


def _check_pair(real: Tensor, fake: Tensor) -> None:
    _check_features(real, "real")
    _check_features(fake, "fake")
    if real.shape[1] != fake.shape[1]:
        raise ValueError(
            "Expected 'real' and 'fake' to have as many features each, "
            f"got {real.shape[1]} and {fake.shape[1]}."
        )


def _check_moments(**moments: Tensor) -> None:
    d = moments["mean_a"].numel()
    for name, value in moments.items():
        shape = (d,) if name.startswith("mean") else (d, d)
        if value.shape != shape:
            raise ValueError(f"Expected '{name}' to have shape {shape}, got {tuple(value.shape)}.")
        _check_finite(value, name)
