"""How far features of generated samples lie from those of real ones; how varied their classes are.

Everything is computed in float64 on the tensors' own device, in blocks of rows: beside the features
themselves, which keep their type, nothing grows with the number of samples. No gradient flows.
"""

import math

import torch
from torch import Tensor

from lightning_gan.functional.features import check_features, check_widths
from lightning_gan.functional.kernels import permutation
from lightning_gan.functional.moments import Moments, covariance_root, moments


@torch.no_grad()
def frechet_distance(real: Tensor | Moments, fake: Tensor | Moments) -> Tensor:
    r"""Compute the squared Fréchet distance of two normal distributions fitted to features.

    .. math::
        \lVert\mu_r - \mu_f\rVert_2^2 + \mathrm{tr}\,\Sigma_r + \mathrm{tr}\,\Sigma_f
        - 2\,\mathrm{tr}\big(\Sigma_r^{1/2} \Sigma_f \Sigma_r^{1/2}\big)^{1/2}

    with unbiased covariances (divisor N - 1). On Inception's 2048 features it is the FID.

    The trace of the root is the sum of the singular values of :math:`A_r A_f^T`, where
    :math:`\Sigma = A^T A`. Where both covariances are regular, they are the roots of eigenvalues,
    which are found faster. Where one is singular, as with no more samples than features, rounding
    errors in eigenvalues that should be zero would lower the distance.

    Args:
        real: Features of real samples, (N, d), N at least 2, or their moments, which spare a set
            that stays most of the work.
        fake: Features of generated samples, (M, d), M at least 2, or their moments.

    Returns:
        Scalar, float64; 0 for equal means and covariances, and not below it but for rounding.
        Only distances of equally many samples can be compared, see
        :func:`frechet_distance_floor`.

    Raises:
        ValueError: If a set is not (N, d), has fewer than 2 samples or values that are not finite,
            or if the sets differ in d.

    Example:
        >>> import torch
        >>> real = torch.tensor([[-1.0], [0.0], [1.0]])
        >>> frechet_distance(real, 2 * real + 3)
        tensor(10., dtype=torch.float64)
        >>> frechet_distance(moments(real), real)
        tensor(0., dtype=torch.float64)

    Reference:
        Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash
        Equilibrium", NeurIPS 2017, https://arxiv.org/abs/1706.08500, eq. (6).
    """
    sets = {"real": real, "fake": fake}
    for name, given in sets.items():
        if isinstance(given, Tensor):
            check_features(2, **{name: given})
    check_widths(**{name: _width(given) for name, given in sets.items()})
    a, b = (given if isinstance(given, Moments) else moments(given) for given in (real, fake))
    regular = min(a.rank, b.rank) == _width(real)
    return _distance(a.mean, a.root, b.mean, b.root, regular)


@torch.no_grad()
def frechet_distance_floor(real: Moments, n_real: int, n_fake: int) -> Tensor:
    r"""Compute the Fréchet distance that finite samples of one and the same distribution have.

    Two samples of one normal distribution, whose covariance has the eigenvalues
    :math:`\lambda_i`, are on average at

    .. math::
        \Big(\tfrac{1}{N} + \tfrac{1}{M}\Big) \sum_i \lambda_i
        + \frac{1}{2} \Big(\tfrac{1}{N - 1} + \tfrac{1}{M - 1}\Big)
        \Big(\sum_{i,j} \frac{\lambda_i \lambda_j}{\lambda_i + \lambda_j}
        + \tfrac{1}{2} \sum_i \lambda_i\Big)

    to second order in the errors of the means, of variance :math:`\lambda_i / N`, and in those of
    the covariances, :math:`\lambda_i \lambda_j (1 + \delta_{ij}) / (N - 1)` in the eigenvectors'
    basis. With unit variances and N = M it is :math:`2 d / N + d (d + 1) / (2 (N - 1))`. A perfect
    generator cannot be expected below this floor.

    Args:
        real: Moments of the distribution, as good as there are.
        n_real: N, at least 2.
        n_fake: M, at least 2.

    Returns:
        Scalar, float64. It holds where N and M are well above d; with fewer samples the distance
        stays below it, and says nothing anyway.

    Raises:
        ValueError: If there are fewer than 2 samples in a set.

    Example:
        >>> import torch
        >>> unit = Moments(1000, torch.zeros(2), torch.eye(2))
        >>> frechet_distance_floor(unit, 31, 31)  # 4 / 31 + 3 / 30
        tensor(0.2290)

    Reference:
        The second-order term is the Bures metric's: Bhatia et al., "On the Bures-Wasserstein
        distance between positive definite matrices", Expositiones Mathematicae 37, 2019,
        https://arxiv.org/abs/1712.01504.
    """
    for name, count in (("n_real", n_real), ("n_fake", n_fake)):
        if count < 2:
            raise ValueError(f"Expected '{name}' to be at least 2, got {count}.")
    variances = torch.linalg.eigvalsh(real.root @ real.root.T)
    variances = variances[variances > 0]
    total: Tensor = variances.sum()
    pairs = variances[:, None] * variances / (variances[:, None] + variances)
    of_means = (1 / n_real + 1 / n_fake) * total
    of_covariances = (1 / (n_real - 1) + 1 / (n_fake - 1)) * (pairs.sum() + total / 2) / 2
    floor: Tensor = of_means + of_covariances
    return floor


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
        Scalar, float64, not below 0 but for rounding. With no more samples than features,
        :func:`frechet_distance` of the features themselves keeps more digits.

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
    a, b = covariance_root(cov_a.double()), covariance_root(cov_b.double())
    regular = min(len(a), len(b)) == len(mean_a)
    return _distance(mean_a.double(), a, mean_b.double(), b, regular)


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
    check_features(logits=logits)
    n = len(logits)
    if not 1 <= splits <= n:
        raise ValueError(
            f"Expected 'splits' to be from 1 to {n}, the number of samples, got {splits}."
        )
    if generator is not None:
        logits = logits[permutation(logits, generator)]
    scores = []
    for i in range(splits):
        log_p = logits[i * n // splits : (i + 1) * n // splits].double().log_softmax(dim=1)
        # A class that no sample has keeps a finite logarithm, which that of the mean would not.
        log_marginal = log_p.logsumexp(dim=0) - math.log(len(log_p))
        divergences = (log_p.exp() * (log_p - log_marginal)).sum(dim=1)
        scores.append(divergences.mean().exp())
    values = torch.stack(scores)
    return values.mean(), values.std(correction=0)


def _distance(mean_a: Tensor, a: Tensor, mean_b: Tensor, b: Tensor, regular: bool) -> Tensor:
    """Return the distance of two means and two roots of covariances."""
    product = a @ b.T
    if regular:
        roots = torch.linalg.eigvalsh(product @ product.T).clamp(min=0).sqrt()
    else:
        roots = torch.linalg.svdvals(product)
    overlap: Tensor = roots.sum()
    apart = (mean_a - mean_b).square().sum()
    return apart + a.square().sum() + b.square().sum() - 2 * overlap


def _width(features: Tensor | Moments) -> int:
    return features.shape[1] if isinstance(features, Tensor) else len(features.mean)


def _check_moments(**moments: Tensor) -> None:
    d = moments["mean_a"].numel()
    for name, value in moments.items():
        shape = (d,) if name.startswith("mean") else (d, d)
        if value.shape != shape:
            raise ValueError(f"Expected '{name}' to have shape {shape}, got {tuple(value.shape)}.")
        if wrong := int((~value.isfinite()).sum()):
            raise ValueError(
                f"Expected '{name}' to be finite, got NaN or infinity in {wrong} values."
            )
