"""Large Scale GAN Training for High Fidelity Natural Image Synthesis (Brock et al., 2019)."""

from collections.abc import Sequence
from typing import Any

from lightning.pytorch.cli import OptimizerCallable
from torch import nn

from lightning_gan.gans.sngan import SNGAN
from lightning_gan.layers import spectral_normalize
from lightning_gan.training import GANAdam, OrthogonalRegularization, Penalty, Schedule


class BigGAN(SNGAN):
    r"""Hinge GAN for large class-conditional networks, with samples that trade variety for quality.

    Both networks are spectrally normalised in place, and the generator's filters are kept at right
    angles, so that truncated latents make good images: ``sample(n, truncation=0.5)``, best after
    ``standing_statistics``, which measures batch normalisation's statistics for them
    (:class:`~lightning_gan.gans.generative.GenerativeModule`). Shared class embedding and
    hierarchical latents are a matter of the networks, see
    :class:`~lightning_gan.networks.BigGANGenerator`.

    Args:
        generator: See :class:`~lightning_gan.gans.base.AdversarialModule`.
        discriminator: Likewise.
        n_critic: Discriminator updates per generator update; 2 as in the paper.
        orthogonal_weight: :math:`\beta` of the orthogonal regularisation; 1e-4 as in the paper.
        penalties: Further terms.
        optimizer_g: Adam with a rate of 5e-5 and betas (0, 0.999) as in the paper.
        optimizer_d: Adam with a rate of 2e-4, the faster of the two time scales.
        **kwargs: See :class:`~lightning_gan.gans.base.AdversarialModule`.

    Reference:
        Brock et al., "Large Scale GAN Training for High Fidelity Natural Image Synthesis", ICLR
        2019, https://arxiv.org/abs/1809.11096, sections 3 and 3.1, appendix C.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        n_critic: int = 2,
        orthogonal_weight: float | Schedule = 1e-4,
        penalties: Sequence[Penalty] | None = None,
        optimizer_g: OptimizerCallable = lambda p: GANAdam(p, lr=5e-5, beta1=0.0, beta2=0.999),
        optimizer_d: OptimizerCallable = lambda p: GANAdam(p, lr=2e-4, beta1=0.0, beta2=0.999),
        **kwargs: Any,
    ) -> None:
        orthogonal = OrthogonalRegularization("generator", orthogonal_weight)
        super().__init__(
            generator,
            discriminator,
            n_critic=n_critic,
            penalties=[orthogonal, *(penalties or ())],
            optimizer_g=optimizer_g,
            optimizer_d=optimizer_d,
            **kwargs,
        )
        spectral_normalize(self.generator)
