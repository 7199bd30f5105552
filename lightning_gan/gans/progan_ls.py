"""Progressive Growing of GANs with the least-squares loss (Karras et al., 2018, appendix B)."""

from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn

from lightning_gan.gans.lsgan import LSGAN
from lightning_gan.layers import add_noise
from lightning_gan.training import GANAdam
from lightning_gan.training.arguments import check_bound
from lightning_gan.training.batch import Batch
from lightning_gan.training.distributed import average
from lightning_gan.training.penalty import Terms


class ProGANLS(LSGAN):
    r"""LSGAN for networks that grow, with noise in a discriminator that is about to lose its head.

    As generated samples come to be taken for real, the gradients of least squares spiral out of
    control. In front of each convolution of the discriminator but 1x1 ones, features are therefore
    multiplied by noise (:class:`~lightning_gan.layers.MultiplicativeNoise`) of the strength

    .. math::
        s = c\,\max(0, \hat d - 0.5)^2, \qquad
        \hat d \leftarrow 0.9\,\hat d + 0.1\,\mathrm{clip}(\mathbb{E}[D(G(z))], 0, 1)

    after each of its updates; ``train/noise`` logs it. The paper prefers
    :class:`~lightning_gan.gans.progan.ProGAN`, which does without.

    Args:
        generator: See :class:`~lightning_gan.gans.progan.ProGAN`.
        discriminator: Likewise; batch normalisation is no harm here.
        noise: c.
        optimizer_g: Adam with a rate of 1e-3 and betas (0, 0.99) as in the paper.
        optimizer_d: Likewise.
        **kwargs: See :class:`~lightning_gan.gans.lsgan.LSGAN`, whose 0-1 coding the paper has.

    Raises:
        ValueError: If ``noise`` is not positive.

    Reference:
        Karras et al., "Progressive Growing of GANs for Improved Quality, Stability, and
        Variation", ICLR 2018, https://arxiv.org/abs/1710.10196, appendix B. That the mean is that
        of generated samples, and clipped, is the authors' code's.
    """

    fake_level: Tensor

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        noise: float = 0.2,
        optimizer_g: OptimizerCallable = lambda p: GANAdam(p, lr=1e-3, beta1=0.0, beta2=0.99),
        optimizer_d: OptimizerCallable = lambda p: GANAdam(p, lr=1e-3, beta1=0.0, beta2=0.99),
        **kwargs: Any,
    ) -> None:
        check_bound("noise", noise)
        super().__init__(
            generator, discriminator, optimizer_g=optimizer_g, optimizer_d=optimizer_d, **kwargs
        )
        self.noise_weight = noise
        self.register_buffer("fake_level", torch.zeros(()))
        self.noise = add_noise(discriminator)

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        """Regress the target of each kind of sample, and set the noise of the next update."""
        terms = super().discriminator_loss(real, fake)
        if self.training and not self._rehearsing:
            self._follow(self.logits(fake).detach().mean())
        return terms

    def _follow(self, fake_mean: Tensor) -> None:
        """Take up the mean output for generated samples."""
        self.fake_level.lerp_(average(fake_mean).clamp(0, 1).to(self.fake_level), 0.1)
        self.noise.strength.copy_(self.noise_weight * (self.fake_level - 0.5).clamp(min=0) ** 2)
        self.record("noise", self.noise.strength.clone())
