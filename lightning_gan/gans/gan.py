"""Generative Adversarial Nets (Goodfellow et al., 2014), with the non-saturating loss."""

from torch import Tensor

from lightning_gan.functional import (
    non_saturating_discriminator_loss,
    non_saturating_generator_loss,
)
from lightning_gan.gans.base import AdversarialModule, Terms


class GAN(AdversarialModule):
    r"""Cross-entropy GAN whose generator maximises :math:`\log D(G(z))`.

    .. math::
        \min_D\; \mathbb{E}[-\log D(x)] + \mathbb{E}[-\log(1 - D(G(z)))], \qquad
        \min_G\; \mathbb{E}[-\log D(G(z))]

    The arguments are those of :class:`~lightning_gan.gans.base.AdversarialModule`; the optimisers'
    defaults are DCGAN's, Adam with a rate of 2e-4 and betas (0.5, 0.999).

    Reference:
        Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014,
        https://arxiv.org/abs/1406.2661; Radford et al., "Unsupervised Representation Learning with
        Deep Convolutional GANs", ICLR 2016, https://arxiv.org/abs/1511.06434.
    """

    def discriminator_loss(self, real: Tensor, fake: Tensor, labels: Tensor | None) -> Terms:
        """Tell real from generated samples."""
        real_logits, fake_logits = self.discriminate(real, fake, labels)
        return {"adversarial": non_saturating_discriminator_loss(real_logits, fake_logits)}

    def generator_loss(self, real: Tensor, fake: Tensor, labels: Tensor | None) -> Terms:
        """Have generated samples taken for real ones."""
        return {"adversarial": non_saturating_generator_loss(self.logits(fake, labels))}
