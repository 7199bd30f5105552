"""Spectral Normalization for Generative Adversarial Networks (Miyato et al., 2018)."""

from typing import Any

from lightning.pytorch.cli import OptimizerCallable
from torch import nn

from lightning_gan.gans.hinge_gan import HingeGAN
from lightning_gan.layers import spectral_normalize
from lightning_gan.training import GANAdam


class SNGAN(HingeGAN):
    r"""Hinge GAN with the discriminator's matrices divided by their largest singular values.

    .. math:: W \leftarrow W / \sigma(W), \qquad
        \sigma(W) = \max_{\lVert h \rVert_2 \le 1} \lVert W h \rVert_2

    The discriminator given is normalised in place, by torch's parametrisation; one that is
    already, is left as it is. Conditional networks make it the paper's conditional model.

    Args:
        generator: See :class:`~lightning_gan.gans.base.AdversarialModule`; the paper's is a
            :class:`~lightning_gan.networks.ResNetGenerator`.
        discriminator: Likewise, of linear, convolutional and embedding layers, without
            normalisation of its own.
        n_critic: Discriminator updates per generator update; 5 as in the paper.
        optimizer_g: Adam with a rate of 2e-4 and betas (0, 0.9) as in the paper.
        optimizer_d: Likewise.
        **kwargs: See :class:`~lightning_gan.gans.base.AdversarialModule`.

    Reference:
        Miyato et al., "Spectral Normalization for Generative Adversarial Networks", ICLR 2018,
        https://arxiv.org/abs/1802.05957, eq. (8), (17) and algorithm 1.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        n_critic: int = 5,
        optimizer_g: OptimizerCallable = lambda p: GANAdam(p, lr=2e-4, beta1=0.0, beta2=0.9),
        optimizer_d: OptimizerCallable = lambda p: GANAdam(p, lr=2e-4, beta1=0.0, beta2=0.9),
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
        spectral_normalize(self.discriminator)
