"""Progressive Growing of GANs (Karras et al., 2018)."""

from collections.abc import Sequence
from typing import Any

from lightning.pytorch.cli import OptimizerCallable
from torch import nn

from lightning_gan.gans.wgan import WGAN
from lightning_gan.training import Drift, GANAdam, GradientPenalty, Penalty


class ProGAN(WGAN):
    r"""WGAN-GP whose logits may not drift, for networks that grow.

    .. math::
        \min_D\; \mathbb{E}[D(G(z))] - \mathbb{E}[D(x)]
        + \frac{\lambda}{\gamma^2}\,\mathbb{E}\big[(\lVert\nabla D(\hat x)\rVert_2 - \gamma)^2\big]
        + \epsilon\,\mathbb{E}[D(x)^2], \qquad
        \min_G\; -\mathbb{E}[D(G(z))]

    The networks are :class:`~lightning_gan.networks.ProGANGenerator` and
    :class:`~lightning_gan.networks.ProGANDiscriminator`, or any of the user's own. What makes them
    grow is the callback :class:`~lightning_gan.callbacks.ProgressiveGrowing`; without it they are
    trained at their last resolution from the start. Sample from their average
    (:class:`~lightning_gan.callbacks.GeneratorEMA`; the authors' decay of 0.999 is, for batches of
    16, ``half_life=11_000``).

    Args:
        generator: See :class:`~lightning_gan.gans.base.AdversarialModule`.
        discriminator: The critic; without batch normalisation.
        gp_weight: :math:`\lambda`.
        gp_target: :math:`\gamma`, the slope that costs nothing; the authors have 750 for CIFAR-10.
        drift_weight: :math:`\epsilon`.
        n_critic: Critic updates per generator update.
        weight_clip_val_d: Bound on the critic's weights; none, unlike in WGAN.
        penalties: Further terms.
        optimizer_g: Adam with a rate of 1e-3 and betas (0, 0.99) as in the paper.
        optimizer_d: Likewise.
        **kwargs: See :class:`~lightning_gan.gans.base.AdversarialModule`.

    Raises:
        ValueError: If a weight is negative, or ``gp_target`` not positive or not finite.

    Reference:
        Karras et al., "Progressive Growing of GANs for Improved Quality, Stability, and
        Variation", ICLR 2018, https://arxiv.org/abs/1710.10196, appendix A.1;
        :math:`\gamma` as in the authors' code.

    Note:
        The slope is that between images as they are. In the authors' code images of all resolutions
        are enlarged to the last one, R / r times, which makes the target :math:`\gamma R / r` here.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        gp_weight: float = 10.0,
        gp_target: float = 1.0,
        drift_weight: float = 1e-3,
        n_critic: int = 1,
        weight_clip_val_d: float | None = None,
        penalties: Sequence[Penalty] | None = None,
        optimizer_g: OptimizerCallable = lambda p: GANAdam(p, lr=1e-3, beta1=0.0, beta2=0.99),
        optimizer_d: OptimizerCallable = lambda p: GANAdam(p, lr=1e-3, beta1=0.0, beta2=0.99),
        **kwargs: Any,
    ) -> None:
        if not gp_target > 0:
            raise ValueError(f"Expected 'gp_target' to be positive, got {gp_target}.")
        slope = GradientPenalty(gp_weight / gp_target**2, gp_target)
        super().__init__(
            generator,
            discriminator,
            n_critic=n_critic,
            weight_clip_val_d=weight_clip_val_d,
            penalties=[slope, Drift(drift_weight), *(penalties or ())],
            optimizer_g=optimizer_g,
            optimizer_d=optimizer_d,
            **kwargs,
        )
