"""Least Squares Generative Adversarial Networks (Mao et al., 2017)."""

from typing import Any

from torch import nn

from lightning_gan.functional import (
    least_squares_discriminator_loss,
    least_squares_generator_loss,
)
from lightning_gan.gans.base import AdversarialModule
from lightning_gan.training.batch import Batch
from lightning_gan.training.penalty import Terms


class LSGAN(AdversarialModule):
    r"""GAN whose discriminator regresses targets, so that samples far from them keep a gradient.

    .. math::
        \min_D\; \tfrac{1}{2}\mathbb{E}[(D(x) - b)^2] + \tfrac{1}{2}\mathbb{E}[(D(G(z)) - a)^2],
        \qquad \min_G\; \tfrac{1}{2}\mathbb{E}[(D(G(z)) - c)^2]

    with :math:`(a, b, c) = (0, 1, 1)`, the 0-1 coding, or :math:`(-1, 1, 0)`, under which the
    generator minimises the Pearson :math:`\chi^2` divergence.

    Args:
        generator: See :class:`~lightning_gan.gans.base.AdversarialModule`.
        discriminator: Likewise; its outputs are taken as they are.
        real_target: :math:`b`.
        fake_target: :math:`a`.
        generator_target: :math:`c`.
        **kwargs: See :class:`~lightning_gan.gans.base.AdversarialModule`; the optimisers' defaults
            are Adam with a rate of 2e-4 and betas (0.5, 0.999), as the paper's for characters; for
            scenes it takes 1e-3.

    Raises:
        ValueError: If ``real_target`` equals ``fake_target``.

    Reference:
        Mao et al., "Least Squares Generative Adversarial Networks", ICCV 2017,
        https://arxiv.org/abs/1611.04076, eq. (2), (8) and (9).
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        real_target: float = 1.0,
        fake_target: float = 0.0,
        generator_target: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(generator, discriminator, **kwargs)
        if real_target == fake_target:
            raise ValueError(
                f"Expected 'real_target' and 'fake_target' to differ, got {real_target} twice."
            )
        self.real_target = real_target
        self.fake_target = fake_target
        self.generator_target = generator_target

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        """Regress the target of each kind of sample."""
        loss = least_squares_discriminator_loss(
            *self.discriminate(real, fake),
            real_target=self.real_target,
            fake_target=self.fake_target,
        )
        return {"least_squares": loss}

    def generator_loss(self, real: Batch, fake: Batch) -> Terms:
        """Bring generated samples to the generator's target."""
        logits = self.logits(fake)
        return {"least_squares": least_squares_generator_loss(logits, target=self.generator_target)}
