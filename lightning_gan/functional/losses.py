"""Adversarial losses on logits.

Every loss takes logits of any shape, real before fake, and returns a scalar: the mean over all of
them. No discriminator ends in a sigmoid; where a probability is needed, it is taken here with
softplus, which neither overflows nor loses its gradient.
"""

from torch import Tensor
from torch.nn.functional import softplus

from lightning_gan.functional.shapes import check_same_shape


def _cross_entropy(logits: Tensor, target: float) -> Tensor:
    """Return the mean cross-entropy of probabilities, given as logits, against one target."""
    return (target * softplus(-logits) + (1 - target) * softplus(logits)).mean()


def _squared_distance(logits: Tensor, target: float) -> Tensor:
    """Return half the mean squared distance from a target."""
    return 0.5 * (logits - target).square().mean()


def minimax_discriminator_loss(
    real_logits: Tensor,
    fake_logits: Tensor,
    *,
    real_target: float = 1.0,
    fake_target: float = 0.0,
) -> Tensor:
    r"""Compute the cross-entropy of a discriminator that tells real from fake.

    .. math:: \mathbb{E}[-\log D(x)] + \mathbb{E}[-\log(1 - D(G(z)))], \quad D = \sigma(s)

    Targets b for real and a for generated samples other than 1 and 0 are smoothed labels: the
    optimal discriminator is then :math:`(b p + a q) / (p + q)` for densities p of real and q of
    generated samples. The paper smooths one side, b = 0.9: with a > 0 generated samples would
    attract the generator where there is no data.

    Args:
        real_logits: Logits of real samples, any shape.
        fake_logits: Logits of generated samples, any shape.
        real_target: Probability of being real that real samples should get, in [0, 1].
        fake_target: Probability of being real that generated samples should get, in [0, 1].

    Returns:
        Scalar, not below 0; log 4 where the discriminator cannot tell the two apart.

    Raises:
        ValueError: If a target lies outside [0, 1].

    Example:
        >>> import torch
        >>> minimax_discriminator_loss(torch.zeros(2), torch.zeros(2))
        tensor(1.3863)

    Reference:
        Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014,
        https://arxiv.org/abs/1406.2661, eq. (1); Salimans et al., "Improved Techniques for
        Training GANs", NeurIPS 2016, https://arxiv.org/abs/1606.03498, section 3.4 (smoothing).
    """
    for name, target in {"real_target": real_target, "fake_target": fake_target}.items():
        if not 0 <= target <= 1:
            raise ValueError(f"Expected '{name}' to be in [0, 1], got {target}.")
    return _cross_entropy(real_logits, real_target) + _cross_entropy(fake_logits, fake_target)


def minimax_generator_loss(fake_logits: Tensor) -> Tensor:
    r"""Compute the generator's loss of the zero-sum game, which saturates.

    .. math:: \mathbb{E}[\log(1 - D(G(z)))]

    Its gradient at a logit is :math:`-D`, which vanishes on samples that the discriminator
    rejects; see :func:`non_saturating_generator_loss`.

    Args:
        fake_logits: Logits of generated samples, any shape.

    Returns:
        Scalar, not above 0; -log 2 where the discriminator cannot tell real from fake.

    Reference:
        Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014,
        https://arxiv.org/abs/1406.2661, eq. (1).
    """
    return -softplus(fake_logits).mean()


def non_saturating_generator_loss(fake_logits: Tensor) -> Tensor:
    r"""Compute the generator's loss that keeps its gradient while the discriminator wins.

    .. math:: \mathbb{E}[-\log D(G(z))]

    Its gradient at a logit is :math:`-(1 - D)`, where the minimax form has :math:`-D`, which
    vanishes on samples that the discriminator rejects.

    Args:
        fake_logits: Logits of generated samples, any shape.

    Returns:
        Scalar, not below 0; log 2 where the discriminator cannot tell real from fake.

    Reference:
        Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014,
        https://arxiv.org/abs/1406.2661, section 3.
    """
    return softplus(-fake_logits).mean()


def least_squares_discriminator_loss(
    real_logits: Tensor,
    fake_logits: Tensor,
    *,
    real_target: float = 1.0,
    fake_target: float = 0.0,
) -> Tensor:
    r"""Compute the squared distance of a discriminator's values from one target for each kind.

    .. math:: \tfrac{1}{2}\,\mathbb{E}[(D(x) - b)^2] + \tfrac{1}{2}\,\mathbb{E}[(D(G(z)) - a)^2]

    The optimum is :math:`(b p + a q) / (p + q)` for densities p of real and q of generated
    samples. With the generator's target c such that b - c = 1 and b - a = 2, of which
    (b, a, c) = (1, -1, 0) is one choice, the generator minimises the Pearson divergence between
    p + q and 2q; the defaults are the paper's 0-1 coding, (1, 0, 1).

    Args:
        real_logits: Discriminator values of real samples, any shape.
        fake_logits: Discriminator values of generated samples, any shape.
        real_target: b, the value that real samples should get.
        fake_target: a, the value that generated samples should get.

    Returns:
        Scalar, not below 0; 1/4 at the optimum of equal distributions under the default targets.

    Example:
        >>> import torch
        >>> least_squares_discriminator_loss(torch.full((2,), 0.5), torch.full((2,), 0.5))
        tensor(0.2500)

    Reference:
        Mao et al., "Least Squares Generative Adversarial Networks", ICCV 2017,
        https://arxiv.org/abs/1611.04076, eq. (2); targets in eq. (8) and (9).
    """
    real_term = _squared_distance(real_logits, real_target)
    return real_term + _squared_distance(fake_logits, fake_target)


def least_squares_generator_loss(fake_logits: Tensor, *, target: float = 1.0) -> Tensor:
    r"""Compute the squared distance of generated samples' values from the generator's target.

    .. math:: \tfrac{1}{2}\,\mathbb{E}[(D(G(z)) - c)^2]

    Args:
        fake_logits: Discriminator values of generated samples, any shape.
        target: c; 1 under the 0-1 coding, 0 for the Pearson divergence, see
            :func:`least_squares_discriminator_loss`.

    Returns:
        Scalar, not below 0; 1/8 at the optimum of equal distributions under the default targets.

    Reference:
        Mao et al., "Least Squares Generative Adversarial Networks", ICCV 2017,
        https://arxiv.org/abs/1611.04076, eq. (2); targets in eq. (8) and (9).
    """
    return _squared_distance(fake_logits, target)


def hinge_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    r"""Compute by how much samples lie on the wrong side of a margin of 1.

    .. math:: \mathbb{E}[\max(0, 1 - D(x))] + \mathbb{E}[\max(0, 1 + D(G(z)))]

    Samples beyond their margin have no gradient.

    Args:
        real_logits: Logits of real samples, any shape.
        fake_logits: Logits of generated samples, any shape.

    Returns:
        Scalar, not below 0; 2 where the discriminator cannot tell the two apart.

    Example:
        >>> import torch
        >>> hinge_discriminator_loss(torch.zeros(2), torch.zeros(2))
        tensor(2.)

    Reference:
        Lim and Ye, "Geometric GAN", 2017, https://arxiv.org/abs/1705.02894.
    """
    return (1 - real_logits).relu().mean() + (1 + fake_logits).relu().mean()


def hinge_generator_loss(fake_logits: Tensor) -> Tensor:
    r"""Compute the generator's loss against a discriminator with a margin.

    .. math:: -\mathbb{E}[D(G(z))]

    Args:
        fake_logits: Logits of generated samples, any shape.

    Returns:
        Scalar, unbounded; 0 where the discriminator cannot tell real from fake.

    Reference:
        Lim and Ye, "Geometric GAN", 2017, https://arxiv.org/abs/1705.02894.
    """
    return -fake_logits.mean()


def wasserstein_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    r"""Compute the critic's loss: the negative of its estimate of the Wasserstein distance.

    .. math:: \mathbb{E}[D(G(z))] - \mathbb{E}[D(x)]

    Args:
        real_logits: Critic values of real samples, any shape.
        fake_logits: Critic values of generated samples, any shape.

    Returns:
        Scalar, unbounded. It estimates a distance only for a critic that is 1-Lipschitz.

    Reference:
        Arjovsky et al., "Wasserstein GAN", ICML 2017, https://arxiv.org/abs/1701.07875, eq. (2).
    """
    return fake_logits.mean() - real_logits.mean()


def wasserstein_generator_loss(fake_logits: Tensor) -> Tensor:
    r"""Compute the generator's part of the Wasserstein distance.

    .. math:: -\mathbb{E}[D(G(z))]

    Args:
        fake_logits: Critic values of generated samples, any shape.

    Returns:
        Scalar, unbounded.

    Reference:
        Arjovsky et al., "Wasserstein GAN", ICML 2017, https://arxiv.org/abs/1701.07875,
        algorithm 1, line 10.
    """
    return -fake_logits.mean()


def relativistic_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    r"""Compute how little more real than its generated partner each real sample looks.

    .. math:: \mathbb{E}[\mathrm{softplus}(-(D(x) - D(G(z))))]

    Real row i is paired with generated row i. Only differences count: a constant added to all
    logits changes nothing. In theory this game lacks the bad local minima of the minimax game, in
    which the generator drops modes (Sun et al., NeurIPS 2020, https://arxiv.org/abs/2011.04926).

    Args:
        real_logits: Logits of real samples, any shape.
        fake_logits: Logits of generated samples, of the same shape.

    Returns:
        Scalar, not below 0; log 2 where the discriminator cannot tell the two apart.

    Raises:
        ValueError: If the logits differ in shape.

    Example:
        >>> import torch
        >>> relativistic_discriminator_loss(torch.zeros(2), torch.zeros(2))
        tensor(0.6931)

    Reference:
        Jolicoeur-Martineau, "The relativistic discriminator: a key element missing from standard
        GAN", ICLR 2019, https://arxiv.org/abs/1807.00734; Huang et al., "The GAN is dead; long
        live the GAN! A Modern GAN Baseline", NeurIPS 2024, https://arxiv.org/abs/2501.05441,
        eq. (2).
    """
    check_same_shape(real_logits=real_logits, fake_logits=fake_logits)
    return softplus(fake_logits - real_logits).mean()


def relativistic_generator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    r"""Compute how little more real than its real partner each generated sample looks.

    .. math:: \mathbb{E}[\mathrm{softplus}(-(D(G(z)) - D(x)))]

    It is :func:`relativistic_discriminator_loss` with the roles exchanged, and does not saturate.

    Args:
        real_logits: Logits of real samples, any shape.
        fake_logits: Logits of generated samples, of the same shape.

    Returns:
        Scalar, not below 0; log 2 where the discriminator cannot tell the two apart.

    Raises:
        ValueError: If the logits differ in shape.

    Reference:
        As of :func:`relativistic_discriminator_loss`.
    """
    check_same_shape(real_logits=real_logits, fake_logits=fake_logits)
    return softplus(real_logits - fake_logits).mean()
