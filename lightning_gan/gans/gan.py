"""Generative Adversarial Nets (Goodfellow et al., 2014), with both losses of the generator."""

from typing import Any, Literal

from torch import Tensor, nn

from lightning_gan.functional import (
    minimax_discriminator_loss,
    minimax_generator_loss,
    non_saturating_generator_loss,
)
from lightning_gan.gans.base import AdversarialModule
from lightning_gan.training.arguments import check_choice
from lightning_gan.training.batch import Batch
from lightning_gan.training.penalty import Terms

GeneratorObjective = Literal["non_saturating", "minimax"]
_GENERATOR_LOSSES = {
    "non_saturating": non_saturating_generator_loss,
    "minimax": minimax_generator_loss,
}


class GAN(AdversarialModule):
    r"""Cross-entropy GAN whose generator maximises :math:`\log D(G(z))`.

    .. math::
        \min_D\; \mathbb{E}[-\log D(x)] + \mathbb{E}[-\log(1 - D(G(z)))], \qquad
        \min_G\; \mathbb{E}[-\log D(G(z))]

    or, as ``"minimax"``, :math:`\min_G \mathbb{E}[\log(1 - D(G(z)))]`, whose gradient vanishes
    where the discriminator rejects the samples: it is there to be compared with, and usually fails.

    Smoothing replaces the discriminator's targets 1 and 0; Salimans et al. recommend 0.9 and 0, and
    to leave the fake target at 0, because another one holds the generator where it is.

    Args:
        generator: See :class:`~lightning_gan.gans.base.AdversarialModule`.
        discriminator: Likewise.
        generator_objective: What the generator minimises.
        real_target: Probability of being real that is asked for real samples, in [0, 1].
        fake_target: Probability that is asked for generated ones.
        **kwargs: See :class:`~lightning_gan.gans.base.AdversarialModule`; the optimisers' defaults
            are DCGAN's, Adam with a rate of 2e-4 and betas (0.5, 0.999).

    Raises:
        ValueError: If the objective is unknown, or the targets are not
            0 <= ``fake_target`` < ``real_target`` <= 1.

    Reference:
        Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014,
        https://arxiv.org/abs/1406.2661, eq. (1) and section 3; Radford et al., "Unsupervised
        Representation Learning with Deep Convolutional GANs", ICLR 2016,
        https://arxiv.org/abs/1511.06434; Salimans et al., "Improved Techniques for Training GANs",
        NeurIPS 2016, https://arxiv.org/abs/1606.03498, section 3.4 (smoothing).
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        generator_objective: GeneratorObjective = "non_saturating",
        real_target: float = 1.0,
        fake_target: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(generator, discriminator, **kwargs)
        check_choice("generator_objective", generator_objective, _GENERATOR_LOSSES)
        if not 0 <= fake_target < real_target <= 1:
            raise ValueError(
                "Expected 0 <= 'fake_target' < 'real_target' <= 1, "
                f"got {fake_target} and {real_target}."
            )
        self.generator_objective = generator_objective
        self.real_target = real_target
        self.fake_target = fake_target

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        """Tell real from generated samples."""
        return {"adversarial": self.tell_apart(*self.discriminate(real, fake))}

    def generator_loss(self, real: Batch, fake: Batch) -> Terms:
        """Have generated samples taken for real ones."""
        return {"adversarial": self.pass_for_real(self.logits(fake))}

    def tell_apart(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """Return the discriminator's cross-entropy with the smoothed targets."""
        return minimax_discriminator_loss(
            real_logits, fake_logits, real_target=self.real_target, fake_target=self.fake_target
        )

    def pass_for_real(self, fake_logits: Tensor) -> Tensor:
        """Return the generator's cross-entropy of the chosen form."""
        return _GENERATOR_LOSSES[self.generator_objective](fake_logits)
