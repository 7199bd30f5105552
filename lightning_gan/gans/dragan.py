"""On Convergence and Stability of GANs (Kodali et al., 2017)."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from lightning_gan.gans.gan import GAN
from lightning_gan.training import DRAGANPenalty, Penalty, Schedule


class DRAGAN(GAN):
    r"""Cross-entropy GAN whose discriminator has slope 1 around the real samples.

    .. math::
        \lambda\,\mathbb{E}\big[(\lVert\nabla D(x + \delta)\rVert_2 - 1)^2\big]

    is added to the discriminator's loss; see :class:`~lightning_gan.training.DRAGANPenalty`.

    Args:
        generator: See :class:`~lightning_gan.gans.base.AdversarialModule`.
        discriminator: Likewise.
        penalty_weight: :math:`\lambda`; 10 as in the authors' code.
        scale: How far samples are moved, in standard deviations of all processes' batch.
        penalties: Further terms.
        **kwargs: See :class:`~lightning_gan.gans.gan.GAN`; the optimisers' defaults, Adam with a
            rate of 2e-4 and betas (0.5, 0.999), are near the authors' (1e-4 for the discriminator).

    Reference:
        Kodali et al., "On Convergence and Stability of GANs", 2017,
        https://arxiv.org/abs/1705.07215.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        penalty_weight: float | Schedule = 10.0,
        scale: float = 0.5,
        penalties: Sequence[Penalty] | None = None,
        **kwargs: Any,
    ) -> None:
        penalty = DRAGANPenalty(penalty_weight, scale)
        super().__init__(
            generator, discriminator, penalties=[penalty, *(penalties or ())], **kwargs
        )
