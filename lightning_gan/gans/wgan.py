"""Wasserstein GAN (Arjovsky et al., 2017), with weight clipping."""

from typing import Any

from lightning.pytorch.cli import OptimizerCallable
from torch import nn
from torch.optim import RMSprop

from lightning_gan.functional import wasserstein_discriminator_loss, wasserstein_generator_loss
from lightning_gan.gans.base import AdversarialModule
from lightning_gan.training.batch import Batch
from lightning_gan.training.penalty import Terms


class WGAN(AdversarialModule):
    r"""GAN whose critic estimates the Wasserstein distance, kept Lipschitz by clipping its weights.

    .. math::
        \min_D\; \mathbb{E}[D(G(z))] - \mathbb{E}[D(x)] \quad
        \text{with all weights in } [-c, c], \qquad \min_G\; -\mathbb{E}[D(G(z))]

    ``wasserstein``, the critic's estimate of the distance up to a factor that clipping leaves
    unknown, is logged: unlike the losses of other GANs it falls as samples get better.

    Args:
        generator: See :class:`~lightning_gan.gans.base.AdversarialModule`.
        discriminator: The critic.
        n_critic: Critic updates per generator update; 5 as in the paper.
        weight_clip_val_d: :math:`c`; 0.01 as in the paper. None leaves the critic unbounded, for
            one that is Lipschitz by other means.
        optimizer_g: RMSprop with a rate of 5e-5 as in the paper, which found momentum unstable.
        optimizer_d: Likewise.
        **kwargs: See :class:`~lightning_gan.gans.base.AdversarialModule`.

    Reference:
        Arjovsky et al., "Wasserstein GAN", ICML 2017, https://arxiv.org/abs/1701.07875,
        algorithm 1.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        n_critic: int = 5,
        weight_clip_val_d: float | None = 0.01,
        optimizer_g: OptimizerCallable = lambda p: RMSprop(p, lr=5e-5),
        optimizer_d: OptimizerCallable = lambda p: RMSprop(p, lr=5e-5),
        **kwargs: Any,
    ) -> None:
        super().__init__(
            generator,
            discriminator,
            n_critic=n_critic,
            weight_clip_val_d=weight_clip_val_d,
            optimizer_g=optimizer_g,
            optimizer_d=optimizer_d,
            **kwargs,
        )

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        """Estimate the Wasserstein distance."""
        loss = wasserstein_discriminator_loss(*self.discriminate(real, fake))
        self.record("wasserstein", -loss)
        return {"wasserstein": loss}

    def generator_loss(self, real: Batch, fake: Batch) -> Terms:
        """Shorten the distance."""
        return {"wasserstein": wasserstein_generator_loss(self.logits(fake))}
