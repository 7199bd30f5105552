"""Distances between features, logits or samples that should, or should not, agree.

Those of two batches of images, or of logits, are means over all values: a weight keeps its meaning
when the images or the maps of logits grow.
"""

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from lightning_gan.functional.shapes import check_same_shape


def feature_matching_loss(real_features: Tensor, fake_features: Tensor) -> Tensor:
    r"""Compute the squared distance between the mean features of real and generated samples.

    .. math:: \lVert \mathbb{E}[f(x)] - \mathbb{E}[f(G(z))] \rVert_2^2

    It is a loss of the generator, whose gradient is to reach the generated features only.

    Args:
        real_features: What a layer of the discriminator makes of real samples, (N, ...).
        fake_features: Likewise of generated samples, (M, ...), where M may differ from N.

    Returns:
        Scalar, not below 0: the sum over all features, as in the paper.

    Raises:
        ValueError: If the features of one sample differ in shape.

    Example:
        >>> import torch
        >>> feature_matching_loss(torch.zeros(4, 2), torch.tensor([[2.0, 4.0], [4.0, 4.0]]))
        tensor(25.)

    Reference:
        Salimans et al., "Improved Techniques for Training GANs", NeurIPS 2016,
        https://arxiv.org/abs/1606.03498, section 3.1.
    """
    real_mean, fake_mean = _batch_mean(real_features), _batch_mean(fake_features)
    check_same_shape(real_features=real_mean, fake_features=fake_mean)
    return (real_mean - fake_mean).square().sum()


def _batch_mean(features: Tensor) -> Tensor:
    # At least in float32: in half precision the difference of two near means is mostly rounding.
    return features.mean(dim=0, dtype=torch.promote_types(features.dtype, torch.float32))


def consistency_penalty(logits: Tensor, augmented_logits: Tensor) -> Tensor:
    r"""Penalise a discriminator that judges a sample and its augmented copy differently.

    .. math:: \mathbb{E}\big[(D(x) - D(T(x)))^2\big]

    On real samples it is CR; on real and on generated ones, with a weight each, it is bCR; on
    samples of a latent and of the latent with a little noise it is the discriminator's part of zCR.
    The gradient flows into both arguments.

    Args:
        logits: Logits of samples, any shape.
        augmented_logits: Logits of the same samples augmented, of the same shape.

    Returns:
        Unweighted scalar, not below 0. The papers weigh CR and either part of bCR with 10.

    Raises:
        ValueError: If the logits differ in shape.

    Example:
        >>> import torch
        >>> consistency_penalty(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]))
        tensor(2.)

    Reference:
        Zhang et al., "Consistency Regularization for Generative Adversarial Networks", ICLR 2020,
        https://arxiv.org/abs/1910.12027, eq. (2); Zhao et al., "Improved Consistency Regularization
        for GANs", AAAI 2021, https://arxiv.org/abs/2002.04724 (bCR and zCR).
    """
    check_same_shape(logits=logits, augmented_logits=augmented_logits)
    return mse_loss(augmented_logits, logits)


def latent_diversity(samples: Tensor, moved_samples: Tensor) -> Tensor:
    r"""Compute the generator's part of zCR, which rewards samples that follow their latents.

    .. math:: -\mathbb{E}\big[(G(z) - G(z + \epsilon))^2\big]

    Args:
        samples: Generated samples, any shape.
        moved_samples: Samples of the same latents with a little noise, of the same shape.

    Returns:
        Unweighted scalar, not above 0; not below -4 for images in [-1, 1].

    Raises:
        ValueError: If the samples differ in shape.

    Example:
        >>> import torch
        >>> latent_diversity(torch.zeros(2, 1, 4, 4), torch.full((2, 1, 4, 4), 0.5))
        tensor(-0.2500)

    Reference:
        Zhao et al., "Improved Consistency Regularization for GANs", AAAI 2021,
        https://arxiv.org/abs/2002.04724, algorithms 2 and 3.

    Note:
        The paper writes a squared norm, the sum over the pixels. This is their mean, as in the
        implementation of PyTorch-StudioGAN.
    """
    check_same_shape(samples=samples, moved_samples=moved_samples)
    return -mse_loss(moved_samples, samples)
