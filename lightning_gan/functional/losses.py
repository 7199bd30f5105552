"""Adversarial losses on logits.

Every loss takes logits of any shape, real before fake, and returns a scalar: the mean over all of
them. No discriminator ends in a sigmoid; where a probability is needed, it is taken here with
softplus, which neither overflows nor loses its gradient.
"""

from torch import Tensor
from torch.nn.functional import softplus


def non_saturating_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    r"""Compute the cross-entropy of a discriminator that tells real from fake.

    .. math:: \mathbb{E}[-\log D(x)] + \mathbb{E}[-\log(1 - D(G(z)))], \quad D = \sigma(s)

    Args:
        real_logits: Logits of real samples, any shape.
        fake_logits: Logits of generated samples, any shape.

    Returns:
        Scalar, not below 0; log 4 where the discriminator cannot tell the two apart.

    Example:
        >>> import torch
        >>> non_saturating_discriminator_loss(torch.zeros(2), torch.zeros(2))
        tensor(1.3863)

    Reference:
        Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014,
        https://arxiv.org/abs/1406.2661, eq. (1).
    """
    return softplus(-real_logits).mean() + softplus(fake_logits).mean()


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
