"""Geometric GAN (Lim and Ye, 2017): the hinge loss."""

from lightning_gan.functional import hinge_discriminator_loss, hinge_generator_loss
from lightning_gan.gans.base import AdversarialModule
from lightning_gan.training.batch import Batch
from lightning_gan.training.penalty import Terms


class HingeGAN(AdversarialModule):
    r"""GAN whose discriminator stops pushing samples that it already judges with a margin.

    .. math::
        \min_D\; \mathbb{E}[\max(0, 1 - D(x))] + \mathbb{E}[\max(0, 1 + D(G(z)))], \qquad
        \min_G\; -\mathbb{E}[D(G(z))]

    The arguments are those of :class:`~lightning_gan.gans.base.AdversarialModule`; the optimisers'
    defaults are DCGAN's, Adam with a rate of 2e-4 and betas (0.5, 0.999). (The authors' code has
    RMSprop and ten updates of the generator to one of the discriminator, which nobody took over.)

    Reference:
        Lim and Ye, "Geometric GAN", 2017, https://arxiv.org/abs/1705.02894.
    """

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        """Separate real from generated samples by a margin."""
        return {"hinge": hinge_discriminator_loss(*self.discriminate(real, fake))}

    def generator_loss(self, real: Batch, fake: Batch) -> Terms:
        """Move generated samples to the side of the real ones."""
        return {"hinge": hinge_generator_loss(self.logits(fake))}
