"""MGAN: Training Generative Adversarial Nets with Multiple Generators (Hoang et al., 2018)."""

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lightning_gan.gans.gan import GAN
from lightning_gan.training.batch import Batch
from lightning_gan.training.penalty import Terms
from lightning_gan.training.preflight import check_mixture


class MGAN(GAN):
    r"""GAN of several generators, held apart by a classifier that tells which made a sample.

    .. math::
        \min_{D, C}\; L_S + \mathbb{E}[-\log C(k \mid G_k(z))], \qquad
        \min_{G_{1:K}}\; \mathbb{E}[-\log D(G_k(z))]
        + \beta\, \mathbb{E}[-\log C(k \mid G_k(z))]

    with :math:`k` uniform and :math:`L_S` the cross-entropy of
    :class:`~lightning_gan.gans.gan.GAN`. The classifier is the discriminator but for its last
    layer: its outputs are the logit of being real and a score for each generator. Its
    cross-entropy falls from :math:`\log K`, where all generators make the same, to 0.

    The plain form, a generator chosen at random and nothing that holds them apart, is any other
    variant with a :class:`~lightning_gan.networks.MixtureGenerator`.

    Args:
        generator: A :class:`~lightning_gan.networks.MixtureGenerator`; the paper shares all but
            the first layer (``share="trunk"``).
        discriminator: With ``num_outputs`` = 1 + K.
        diversity_weight: :math:`\beta`; 0.01 as in the authors' code for CIFAR-10.
        **kwargs: See :class:`~lightning_gan.gans.gan.GAN`.

    Raises:
        ValueError: If the generator is not a mixture, the discriminator has another number of
            outputs, or the weight is negative.

    Reference:
        Hoang et al., "MGAN: Training Generative Adversarial Nets with Multiple Generators", ICLR
        2018, https://openreview.net/forum?id=rkmu5b0a-, eq. (2).
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        diversity_weight: float = 0.01,
        **kwargs: Any,
    ) -> None:
        check_mixture("MGAN", generator)
        super().__init__(generator, discriminator, **kwargs)
        if not diversity_weight >= 0:
            raise ValueError(
                f"Expected 'diversity_weight' to be non-negative, got {diversity_weight}."
            )
        self.diversity_weight = diversity_weight

    @property
    def num_outputs(self) -> int:
        """A logit, and a score for each generator."""
        return 1 + int(self.generator.num_generators)  # type: ignore[arg-type]

    def verdict(self, outputs: Tensor) -> Tensor:
        """Return the logits of being real, (N,)."""
        return outputs[:, 0]

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        """Tell real from generated samples, and the generators from each other."""
        real_outputs, fake_outputs = self.discriminate(real, fake)
        return {
            "adversarial": self.tell_apart(self.verdict(real_outputs), self.verdict(fake_outputs)),
            "generators": self._maker_loss(fake_outputs, fake),
        }

    def generator_loss(self, real: Batch, fake: Batch) -> Terms:
        """Have samples taken for real ones, and for the work of their own generator."""
        outputs = self.outputs(fake)
        return {
            "adversarial": self.pass_for_real(self.verdict(outputs)),
            "generators": self.diversity_weight * self._maker_loss(outputs, fake),
        }

    def _maker_loss(self, outputs: Tensor, fake: Batch) -> Tensor:
        makers = self.generator.choose(fake.latents)  # type: ignore[operator]
        return cross_entropy(outputs[:, 1:], makers)
