"""Improved Training of Wasserstein GANs (Gulrajani et al., 2017)."""

from collections.abc import Sequence
from typing import Any

from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn

from lightning_gan.functional import wasserstein_discriminator_loss, wasserstein_generator_loss
from lightning_gan.gans.base import AdversarialModule, Terms
from lightning_gan.training import GANAdam, GradientPenalty, Penalty


class WGANGP(AdversarialModule):
    r"""Wasserstein GAN whose critic is kept 1-Lipschitz by a penalty on its slope.

    .. math::
        \min_D\; \mathbb{E}[D(G(z))] - \mathbb{E}[D(x)]
        + \lambda\,\mathbb{E}\big[(\lVert\nabla_{\hat x} D(\hat x)\rVert_2 - 1)^2\big], \qquad
        \min_G\; -\mathbb{E}[D(G(z))]

    ``wasserstein``, the critic's estimate of the distance, is logged: unlike the losses of other
    GANs it falls as samples get better.

    Args:
        generator: See :class:`~lightning_gan.gans.base.AdversarialModule`.
        discriminator: The critic; without batch normalisation.
        gp_weight: :math:`\lambda`; 10 as in the paper (0.1 in its 2-D toys).
        n_critic: Critic updates per generator update; 5 as in the paper.
        penalties: Penalties beside the gradient penalty.
        optimizer_g: Adam with a rate of 1e-4 and betas (0, 0.9) as in the paper.
        optimizer_d: Likewise.
        **kwargs: See :class:`~lightning_gan.gans.base.AdversarialModule`.

    Reference:
        Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017,
        https://arxiv.org/abs/1704.00028, algorithm 1.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        gp_weight: float = 10.0,
        n_critic: int = 5,
        penalties: Sequence[Penalty] | None = None,
        optimizer_g: OptimizerCallable = lambda p: GANAdam(p, lr=1e-4, beta1=0.0, beta2=0.9),
        optimizer_d: OptimizerCallable = lambda p: GANAdam(p, lr=1e-4, beta1=0.0, beta2=0.9),
        **kwargs: Any,
    ) -> None:
        super().__init__(
            generator,
            discriminator,
            n_critic=n_critic,
            penalties=[GradientPenalty(gp_weight), *(penalties or ())],
            optimizer_g=optimizer_g,
            optimizer_d=optimizer_d,
            **kwargs,
        )

    def discriminator_loss(self, real: Tensor, fake: Tensor, labels: Tensor | None) -> Terms:
        """Estimate the Wasserstein distance."""
        loss = wasserstein_discriminator_loss(*self.discriminate(real, fake, labels))
        self.record("wasserstein", -loss)
        return {"wasserstein": loss}

    def generator_loss(self, real: Tensor, fake: Tensor, labels: Tensor | None) -> Terms:
        """Shorten the distance."""
        return {"wasserstein": wasserstein_generator_loss(self.logits(fake, labels))}
