"""The penalty that keeps a discriminator's two kinds of logits near each other."""

from torch import Tensor


def lecam_penalty(
    real_logits: Tensor,
    fake_logits: Tensor,
    real_anchor: Tensor | float,
    fake_anchor: Tensor | float,
    *,
    one_sided: bool = False,
) -> Tensor:
    r"""Penalise logits far from what the other kind of samples used to get.

    .. math::
        \mathbb{E}\big[(D(x) - \alpha_F)^2\big] + \mathbb{E}\big[(D(G(z)) - \alpha_R)^2\big]

    With the Wasserstein loss and :math:`\alpha_R = -\alpha_F`, the best discriminator measures the
    LeCam divergence, :math:`\int (p - q)^2 / (p + q)` for densities p of real and q of generated
    samples.

    Args:
        real_logits: Logits of real samples, any shape.
        fake_logits: Logits of generated samples, any shape.
        real_anchor: :math:`\alpha_R`, the moving average of real samples' logits.
        fake_anchor: :math:`\alpha_F`, that of generated samples' logits.
        one_sided: Whether real logits below :math:`\alpha_F` and generated ones above
            :math:`\alpha_R` are free, which is the form of the authors' code.

    Returns:
        Unweighted scalar, not below 0.

    Example:
        >>> import torch
        >>> lecam_penalty(torch.tensor([2.0]), torch.tensor([-1.0]), 1.0, 0.0)
        tensor(8.)

    Reference:
        Tseng et al., "Regularizing Generative Adversarial Networks under Limited Data", CVPR 2021,
        https://arxiv.org/abs/2104.03310, eq. (4).

    Note:
        The default is the paper's form. Its authors' code is one-sided: early in training generated
        samples may have the larger logits, and the paper's form would then keep them so
        (https://github.com/google/lecam-gan/issues/1).
    """
    real_excess, fake_excess = real_logits - fake_anchor, real_anchor - fake_logits
    if one_sided:
        real_excess, fake_excess = real_excess.relu(), fake_excess.relu()
    return real_excess.square().mean() + fake_excess.square().mean()
