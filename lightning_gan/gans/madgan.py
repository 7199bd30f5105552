"""Multi-Agent Diverse Generative Adversarial Networks (Ghosh et al., 2018)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lightning_gan.functional import non_saturating_generator_loss
from lightning_gan.gans.base import AdversarialModule
from lightning_gan.training.batch import Batch
from lightning_gan.training.penalty import Terms
from lightning_gan.training.preflight import check_mixture


class MADGAN(AdversarialModule):
    r"""GAN of several generators whose discriminator names the one that made a sample, or none.

    .. math::
        \min_D\; \mathbb{E}[-\log D_0(x)] + \sum_{k=1}^K \mathbb{E}[-\log D_k(G_k(z))], \qquad
        \min_{G_k}\; \mathbb{E}[-\log D_0(G_k(z))]

    where :math:`D_0` is the softmax probability of being real, and :math:`D_k` that of coming from
    generator :math:`k`. To tell the generators apart the discriminator pushes them to different
    modes. Its logit of being real is :math:`\log D_0 / (1 - D_0)`; where it can tell nothing,
    :math:`D_0 = 1 / (K + 1)`.

    Args:
        generator: A :class:`~lightning_gan.networks.MixtureGenerator`.
        discriminator: With ``num_outputs`` = 1 + K.
        **kwargs: See :class:`~lightning_gan.gans.base.AdversarialModule`; the optimisers' defaults
            are Adam with a rate of 2e-4 and betas (0.5, 0.999); the authors' code for points has
            1e-4.

    Raises:
        ValueError: If the generator is not a mixture, or the discriminator has another number of
            outputs.

    Reference:
        Ghosh et al., "Multi-Agent Diverse Generative Adversarial Networks", CVPR 2018,
        https://arxiv.org/abs/1704.02906, section 3.1.
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module, **kwargs: Any) -> None:
        check_mixture("MADGAN", generator)
        super().__init__(generator, discriminator, **kwargs)

    @property
    def num_generators(self) -> int:
        """Number K of generators."""
        return int(self.generator.num_generators)  # type: ignore[arg-type]

    @property
    def num_outputs(self) -> int:
        """A score for being real, and one for each generator."""
        return 1 + self.num_generators

    def verdict(self, outputs: Tensor) -> Tensor:
        """Return the log-odds of being real against coming from any generator, (N,)."""
        return outputs[:, 0] - outputs[:, 1:].logsumexp(dim=1)

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        """Name the maker of each sample."""
        real_outputs, fake_outputs = self.discriminate(real, fake)
        nobody = torch.zeros(len(real_outputs), dtype=torch.int64, device=real_outputs.device)
        makers = 1 + self.generator.choose(fake.latents)  # type: ignore[operator]
        return {
            "real": cross_entropy(real_outputs, nobody),
            "generators": self.num_generators * cross_entropy(fake_outputs, makers),
        }

    def generator_loss(self, real: Batch, fake: Batch) -> Terms:
        """Have samples of all generators taken for real ones."""
        return {"adversarial": non_saturating_generator_loss(self.logits(fake))}
