"""Self-Attention Generative Adversarial Networks (Zhang et al., 2019)."""

from typing import Any

from lightning.pytorch.cli import OptimizerCallable
from torch import nn

from lightning_gan.gans.sngan import SNGAN
from lightning_gan.layers import spectral_normalize
from lightning_gan.training import GANAdam


class SAGAN(SNGAN):
    """Hinge GAN with attention, spectral normalisation of both networks, and two rates.

    The attention is a matter of the networks: give them ``attention: [16]`` or whatever side the
    maps have on which distant positions shall see each other (the paper: 32 of 128). Both networks
    are normalised in place; :func:`~lightning_gan.layers.attention_maps` reads what a trained one
    attends to.

    Args:
        generator: See :class:`~lightning_gan.gans.base.AdversarialModule`.
        discriminator: Likewise.
        n_critic: Discriminator updates per generator update; 1 as in the paper.
        optimizer_g: Adam with a rate of 1e-4 and betas (0, 0.9) as in the paper.
        optimizer_d: Adam with a rate of 4e-4, the faster of the two time scales.
        **kwargs: See :class:`~lightning_gan.gans.base.AdversarialModule`.

    Note:
        The authors' released code starts both rates at 4e-4 and lets the generator's fall.

    Reference:
        Zhang et al., "Self-Attention Generative Adversarial Networks", ICML 2019,
        https://arxiv.org/abs/1805.08318, sections 3 and 4.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        n_critic: int = 1,
        optimizer_g: OptimizerCallable = lambda p: GANAdam(p, lr=1e-4, beta1=0.0, beta2=0.9),
        optimizer_d: OptimizerCallable = lambda p: GANAdam(p, lr=4e-4, beta1=0.0, beta2=0.9),
        **kwargs: Any,
    ) -> None:
        super().__init__(
            generator,
            discriminator,
            n_critic=n_critic,
            optimizer_g=optimizer_g,
            optimizer_d=optimizer_d,
            **kwargs,
        )
        spectral_normalize(self.generator)
