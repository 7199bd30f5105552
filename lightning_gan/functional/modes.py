"""What is missing and what is repeated in generated samples, and how real ones compare."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

_QUANTILE = 0.01
_NEAR = 0.1

HIGH_QUALITY = 3.0  # standard deviations from a mode within which a sample is good


class ClassCoverage(NamedTuple):
    """How the classes of generated samples are spread.

    Attributes:
        modes: Number of classes that occur, int64 scalar.
        kl: KL divergence of their shares from the real ones in nats, float64 scalar: not below 0,
            and infinite where a class occurs that the real data lack.
    """

    modes: Tensor
    kl: Tensor


class MixtureCoverage(NamedTuple):
    """How generated points are spread over a mixture's modes.

    Attributes:
        modes: Number of modes with at least one sample of high quality, int64 scalar.
        high_quality: Share of the samples that are of high quality, float64 scalar.
        reverse_kl: KL divergence of the modes of those from equal shares in nats, float64 scalar:
            between 0 and ln K for K modes; NaN where there are none.
    """

    modes: Tensor
    high_quality: Tensor
    reverse_kl: Tensor


class Memorization(NamedTuple):
    """How much nearer to the training set generated samples are than held-out real ones.

    Attributes:
        score: Probability that a generated sample is the nearer one, in [0, 1], float64 scalar: 0.5
            for new samples of the training distribution, 1 for copies.
        copies: Share of generated samples as near as the nearest 1 % of held-out ones, float64
            scalar.
    """

    score: Tensor
    copies: Tensor


class Repetition(NamedTuple):
    """How much closer together generated samples lie than real ones; each a float64 scalar.

    Attributes:
        spread: Median distance of a generated sample to its neighbour, over that of a real one: 1
            for as many samples of one distribution, 0 if half of the samples are copies of each
            other.
        repeats: Share of generated samples whose neighbour is nearer than a tenth of the real
            median.
    """

    spread: Tensor
    repeats: Tensor


@torch.no_grad()
def class_coverage(
    predictions: Tensor, num_classes: int, real_shares: Tensor | None = None
) -> ClassCoverage:
    r"""Count the classes of generated samples and compare their shares with those of real data.

    .. math:: \mathrm{KL}(q \Vert p) = \sum_c q_c \log \frac{q_c}{p_c}

    with shares q of the generated and p of the real samples. For M samples of the real
    distribution it is (K - 1) / (2M) on average, for M much larger than the number of classes K.

    Args:
        predictions: Class of each generated sample, as a classifier finds it, (M,) int64.
        num_classes: Number K of classes.
        real_shares: Shares or counts of the classes among real samples, (K,), best as the same
            classifier finds them; equal by default.

    Returns:
        Number of classes and divergence.

    Raises:
        TypeError: If the predictions are not int64.
        ValueError: If they are empty, not (M,) or out of range, or ``real_shares`` are no K
            shares.

    Example:
        >>> import torch
        >>> found = class_coverage(torch.tensor([0, 0, 3, 3]), num_classes=4)
        >>> found.modes.item(), round(found.kl.item(), 4)
        (2, 0.6931)

    Reference:
        Lin et al., "PacGAN: The power of two samples in generative adversarial networks", NeurIPS
        2018, https://arxiv.org/abs/1712.04086, section 4, after Srivastava et al., "VEEGAN:
        Reducing Mode Collapse in GANs using Implicit Variational Learning", NeurIPS 2017,
        https://arxiv.org/abs/1705.07761, section 5.
    """
    _check_predictions(predictions, num_classes)
    counts = torch.bincount(predictions, minlength=num_classes).double()
    real = torch.ones_like(counts) if real_shares is None else real_shares.double()
    _check_shares(real, num_classes)
    fake, real = counts / counts.sum(), real / real.sum()
    kl = torch.special.xlogy(fake, fake / real).nansum()  # a class of neither side is 0 / 0
    return ClassCoverage((counts > 0).sum(), kl)


@torch.no_grad()
def mixture_coverage(
    samples: Tensor, centers: Tensor, std: float, radius: float = HIGH_QUALITY
) -> MixtureCoverage:
    r"""Count the modes of a mixture of Gaussians that generated points cover.

    A sample is of high quality if it lies nearer than ``radius`` standard deviations to the nearest
    centre, and that mode is then covered. With the shares q of the K modes among those samples, the
    reverse divergence is

    .. math:: \mathrm{KL}(q \Vert u) = \sum_c q_c \log (K q_c)

    Of the mixture's own samples in two dimensions :math:`1 - e^{-9/2} = 98.889\,\%` are of high
    quality, and the divergence of M of those is (K - 1) / (2M) on average: nothing below means
    anything.

    Args:
        samples: Generated points, (M, d); 2,500 in VEEGAN's and PacGAN's tables.
        centers: Means of the modes, (K, d).
        std: Standard deviation of each mode in each direction.
        radius: How many standard deviations samples of high quality may lie away.

    Returns:
        Number of modes, share of samples of high quality, and divergence.

    Raises:
        ValueError: If there are no samples or no centres, their dimensions differ, the samples are
            not finite, or ``std`` or ``radius`` is not positive.

    Example:
        >>> import torch
        >>> centers = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
        >>> samples = torch.tensor([[0.1, 0.0], [0.0, 0.2], [0.5, 0.5], [9.0, 9.0]])
        >>> found = mixture_coverage(samples, centers, std=0.1)
        >>> found.modes.item(), found.high_quality.item(), round(found.reverse_kl.item(), 4)
        (1, 0.5, 0.6931)

    Reference:
        Srivastava et al., "VEEGAN: Reducing Mode Collapse in GANs using Implicit Variational
        Learning", NeurIPS 2017, https://arxiv.org/abs/1705.07761, section 5.1; Lin et al., "PacGAN:
        The power of two samples in generative adversarial networks", NeurIPS 2018,
        https://arxiv.org/abs/1712.04086, section 4.1 (divergence; of samples of high quality alone
        in the authors' code).
    """
    _check_points(samples, centers)
    for name, value in {"std": std, "radius": radius}.items():
        if not value > 0:
            raise ValueError(f"Expected '{name}' to be positive, got {value}.")
    distances, nearest = torch.cdist(
        samples.double(), centers.double(), compute_mode="donot_use_mm_for_euclid_dist"
    ).min(dim=1)
    good = distances < radius * std
    if not bool(good.any()):
        nothing = torch.full_like(distances[0], math.nan)
        return MixtureCoverage(good.sum(), good.double().mean(), nothing)
    modes, kl = class_coverage(nearest[good], len(centers))
    return MixtureCoverage(modes, good.double().mean(), kl)


@torch.no_grad()
def memorization(fake_nearest: Tensor, held_out_nearest: Tensor) -> Memorization:
    r"""Tell from distances to the training set whether generated samples are copies of it.

    With the distance of each generated sample :math:`f_i` and each held-out real one :math:`h_j` to
    the nearest training sample (:func:`~lightning_gan.functional.neighbors.nearest_distances`), the
    score is the statistic of Mann and Whitney's test as a share of all pairs:

    .. math::
        \frac{1}{MN} \sum_{i,j} 1[f_i < h_j] + \tfrac{1}{2}\, 1[f_i = h_j]

    Samples of denser regions, as of a collapsed generator, are nearer without being copies.

    Args:
        fake_nearest: Distances of generated samples, (M,).
        held_out_nearest: Distances of real samples that are not in the training set, (N,).

    Returns:
        Score and share of copies.

    Raises:
        ValueError: If there are no distances, or they are not (N,) or not numbers.

    Example:
        >>> import torch
        >>> found = memorization(torch.tensor([0.0, 2.0]), torch.tensor([1.0, 2.0, 3.0, 4.0]))
        >>> found.score.item(), found.copies.item()
        (0.8125, 0.5)

    Reference:
        Meehan et al., "A Non-Parametric Test to Detect Data-Copying in Generative Models", AISTATS
        2020, https://arxiv.org/abs/2004.05675, section 3, in one cell and before it is normalised.
    """
    _check_distances(fake_nearest=fake_nearest, held_out_nearest=held_out_nearest)
    fake = fake_nearest.double()
    held_out = held_out_nearest.double().sort().values
    below = torch.searchsorted(held_out, fake)
    up_to = torch.searchsorted(held_out, fake, right=True)
    score = 1 - (below + up_to).double().mean() / (2 * len(held_out))
    near = held_out[math.ceil(_QUANTILE * len(held_out)) - 1]
    return Memorization(score, (fake <= near).double().mean())


@torch.no_grad()
def repetition(real_radii: Tensor, fake_radii: Tensor) -> Repetition:
    """Tell from distances within each set whether generated samples repeat each other.

    Args:
        real_radii: Distance of each real sample to its k-th nearest other one, (N,), of
            :func:`~lightning_gan.functional.neighbors.neighbor_radii`.
        fake_radii: The same of generated samples, (M,), with the same k; fewer than k + 1 equal
            samples are not seen.

    Returns:
        Spread, which is NaN or infinite if half of the real samples are copies of each other, and
        share of repeats.

    Raises:
        ValueError: If there are no distances, or they are not (N,) or not numbers.

    Example:
        >>> import torch
        >>> found = repetition(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 1.0, 2.0]))
        >>> found.spread.item(), round(found.repeats.item(), 4)
        (0.5, 0.3333)
    """
    _check_distances(real_radii=real_radii, fake_radii=fake_radii)
    real, fake = real_radii.double(), fake_radii.double()
    typical = real.median()
    return Repetition(fake.median() / typical, (fake < _NEAR * typical).double().mean())


def expected_coverage(num_real: int, num_fake: int, k: int = 5) -> float:
    r"""Return the coverage on average of real samples by others of the same distribution.

    .. math:: 1 - \prod_{i=1}^k \frac{N - i}{M + N - i}

    It is the probability that not all k nearest neighbours of a real sample are real, and so the
    same for all distributions without copies.

    Args:
        num_real: Number N of real samples.
        num_fake: Number M of generated samples.
        k: Which neighbour a ball around a real sample reaches to, below N.

    Raises:
        ValueError: If ``k`` is not in [1, N - 1], or there are no generated samples.

    Example:
        >>> round(expected_coverage(500, 250), 5)
        0.86963

    Reference:
        Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative Models", ICML 2020,
        https://arxiv.org/abs/2002.09797, section 3.3.
    """
    if not 1 <= k < num_real:
        raise ValueError(
            f"Expected 'k' to be at least 1 and below the {num_real} real samples, got {k}."
        )
    if num_fake < 1:
        raise ValueError(f"Expected 'num_fake' to be at least 1, got {num_fake}.")
    missed = ((num_real - i) / (num_fake + num_real - i) for i in range(1, k + 1))
    return 1 - math.prod(missed)


def _check_points(samples: Tensor, centers: Tensor) -> None:
    for name, points in {"samples": samples, "centers": centers}.items():
        if points.dim() != 2 or not points.numel():
            raise ValueError(
                f"Expected '{name}' to be points (N, d), got shape {tuple(points.shape)}."
            )
    if samples.shape[1] != centers.shape[1]:
        raise ValueError(
            f"Expected 'samples' and 'centers' of one dimension, got {samples.shape[1]} and "
            f"{centers.shape[1]}."
        )
    if not bool(samples.isfinite().all()):
        raise ValueError("Expected finite 'samples', got NaN or infinity.")


def _check_predictions(predictions: Tensor, num_classes: int) -> None:
    if predictions.dtype != torch.int64:
        raise TypeError(f"Expected 'predictions' to be int64, got {predictions.dtype}.")
    if predictions.dim() != 1 or not len(predictions):
        raise ValueError(
            f"Expected 'predictions' to be classes (M,), got shape {tuple(predictions.shape)}."
        )
    low, high = int(predictions.min()), int(predictions.max())
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"Expected 'predictions' to be in [0, {num_classes - 1}], "
            f"got {low if low < 0 else high}."
        )


def _check_shares(shares: Tensor, num_classes: int) -> None:
    if shares.shape != (num_classes,):
        raise ValueError(
            f"Expected 'real_shares' to have shape ({num_classes},), got {tuple(shares.shape)}."
        )
    if not bool((shares >= 0).all()) or not 0 < float(shares.sum()) < math.inf:
        raise ValueError(
            f"Expected 'real_shares' not to be below 0 and not all 0, got {shares.tolist()}."
        )


def _check_distances(**distances: Tensor) -> None:
    for name, values in distances.items():
        if values.dim() != 1 or not len(values):
            raise ValueError(
                f"Expected '{name}' to be distances (N,), got shape {tuple(values.shape)}."
            )
        if bool(values.isnan().any()):
            raise ValueError(f"Expected '{name}' to be numbers, got NaN.")
