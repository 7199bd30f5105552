"""Improved Training of Wasserstein GANs (Gulrajani et al., 2017)."""

from collections.abc import Sequence
from typing import Any

from lightning.pytorch.cli import OptimizerCallable
from torch import nn

from lightning_gan.gans.wgan import WGAN
from lightning_gan.training import GANAdam, GradientPenalty, Penalty


class WGANGP(WGAN):
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
        one_sided: Whether slopes below 1 are free; the paper prefers to pull them up to 1, too.
        n_critic: Critic updates per generator update; 5 as in the paper.
        weight_clip_val_d: Bound on the critic's weights; none, unlike in WGAN.
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
        one_sided: bool = False,
        n_critic: int = 5,
        weight_clip_val_d: float | None = None,
        penalties: Sequence[Penalty] | None = None,
        optimizer_g: OptimizerCallable = lambda p: GANAdam(p, lr=1e-4, beta1=0.0, beta2=0.9),
        optimizer_d: OptimizerCallable = lambda p: GANAdam(p, lr=1e-4, beta1=0.0, beta2=0.9),
        **kwargs: Any,
    ) -> None:
        super().__init__(
            generator,
            discriminator,
            n_critic=n_critic,
            weight_clip_val_d=weight_clip_val_d,
            penalties=[GradientPenalty(gp_weight, one_sided=one_sided), *(penalties or ())],
            optimizer_g=optimizer_g,
            optimizer_d=optimizer_d,
            **kwargs,
        )
