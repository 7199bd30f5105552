"""f-GAN (Nowozin et al., 2016): a GAN for each of a family of divergences."""

from typing import Any, get_args

from torch import nn

from lightning_gan.functional import (
    Divergence,
    f_divergence_discriminator_loss,
    f_divergence_generator_loss,
    f_divergence_non_saturating_generator_loss,
)
from lightning_gan.gans.base import AdversarialModule
from lightning_gan.gans.gan import GeneratorObjective
from lightning_gan.training.arguments import check_choice
from lightning_gan.training.batch import Batch
from lightning_gan.training.penalty import Terms

_GENERATOR_LOSSES = {
    "non_saturating": f_divergence_non_saturating_generator_loss,
    "minimax": f_divergence_generator_loss,
}


class FGAN(AdversarialModule):
    r"""GAN whose discriminator estimates an f-divergence that the generator minimises.

    .. math::
        \max_D\; \mathbb{E}[g_f(D(x))] - \mathbb{E}[f^*(g_f(D(G(z))))], \qquad
        \max_G\; \mathbb{E}[g_f(D(G(z)))]

    where :math:`f^*` is the conjugate of the divergence's generator and :math:`g_f` maps any real
    number into its domain. ``divergence``, the lower bound that the discriminator has found, is
    logged. ``"kl"`` wants every mode covered, ``"reverse_kl"`` no sample beside one.

    Args:
        generator: See :class:`~lightning_gan.gans.base.AdversarialModule`.
        discriminator: Likewise; the paper's variational function :math:`V`, whose outputs are
            taken as they are.
        divergence: Which f-divergence: Kullback-Leibler from the data (``"kl"``) or to them
            (``"reverse_kl"``), Pearson's and Neyman's :math:`\chi^2`, squared Hellinger,
            Jensen-Shannon, or that of the original GAN.
        generator_objective: ``"non_saturating"`` as above, the paper's practical form;
            ``"minimax"`` makes the generator minimise :math:`-\mathbb{E}[f^*(g_f(D(G(z))))]`, the
            bound itself.
        **kwargs: See :class:`~lightning_gan.gans.base.AdversarialModule`; the optimisers' defaults
            are Adam with a rate of 2e-4 and betas (0.5, 0.999).

    Raises:
        ValueError: If the divergence or the objective is unknown.

    Note:
        The exponentials of most conjugates overflow where a discriminator is much too sure of
        itself; ``gradient_clip_val_d`` or a penalty such as R1 holds it back.

    Reference:
        Nowozin et al., "f-GAN: Training Generative Neural Samplers using Variational Divergence
        Minimization", NeurIPS 2016, https://arxiv.org/abs/1606.00709, eq. (6), tables 2 and 6,
        section 3.2.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        divergence: Divergence = "kl",
        generator_objective: GeneratorObjective = "non_saturating",
        **kwargs: Any,
    ) -> None:
        super().__init__(generator, discriminator, **kwargs)
        check_choice("generator_objective", generator_objective, _GENERATOR_LOSSES)
        check_choice("divergence", divergence, get_args(Divergence))
        self.divergence = divergence
        self.generator_objective = generator_objective

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        """Tighten the bound on the divergence."""
        outputs = self.discriminate(real, fake)
        loss = f_divergence_discriminator_loss(*outputs, self.divergence)
        self.record("divergence", -loss)
        return {"divergence": loss}

    def generator_loss(self, real: Batch, fake: Batch) -> Terms:
        """Lower the divergence."""
        loss = _GENERATOR_LOSSES[self.generator_objective]
        return {"divergence": loss(self.logits(fake), self.divergence)}
