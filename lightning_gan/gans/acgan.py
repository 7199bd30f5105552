"""Conditional Image Synthesis with Auxiliary Classifier GANs (Odena et al., 2017)."""

from typing import Any, cast

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lightning_gan.gans.gan import GAN
from lightning_gan.training.batch import Batch
from lightning_gan.training.penalty import Terms
from lightning_gan.training.preflight import check_conditional


class ACGAN(GAN):
    r"""GAN whose discriminator must also name the class, of real and of generated samples.

    .. math::
        \min_D\; L_S + \lambda_D \big(\mathbb{E}[-\log C(y \mid x)]
        + \mathbb{E}[-\log C(y \mid G(z, y))]\big), \qquad
        \min_G\; \mathbb{E}[-\log D(G(z, y))] + \lambda_G\, \mathbb{E}[-\log C(y \mid G(z, y))]

    with :math:`L_S` the cross-entropy of :class:`~lightning_gan.gans.gan.GAN`. The discriminator
    is not told the class; its outputs are the logit of being real and a score for each class.

    Args:
        generator: See :class:`~lightning_gan.gans.gan.GAN`; built with ``num_classes``.
        discriminator: Likewise, unconditional, with ``num_outputs`` = 1 + ``num_classes``.
        class_weight_d: :math:`\lambda_D`; 1 as in the paper.
        class_weight_g: :math:`\lambda_G`; 1 as in the paper. Large ones make samples that are easy
            to classify, at the cost of variety.
        **kwargs: See :class:`~lightning_gan.gans.gan.GAN`.

    Raises:
        ValueError: If the generator is unconditional, the discriminator conditional or of another
            number of outputs, or a weight negative.

    Reference:
        Odena et al., "Conditional Image Synthesis with Auxiliary Classifier GANs", ICML 2017,
        https://arxiv.org/abs/1610.09585, eq. (2) and (3).
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        class_weight_d: float = 1.0,
        class_weight_g: float = 1.0,
        **kwargs: Any,
    ) -> None:
        check_conditional("ACGAN", generator=generator)
        if getattr(discriminator, "num_classes", None) is not None:
            raise ValueError(
                "Expected an unconditional 'discriminator' for ACGAN, which must find the class "
                "itself, got one with num_classes. Give it num_outputs in its place."
            )
        super().__init__(generator, discriminator, **kwargs)
        for name, weight in (
            ("class_weight_d", class_weight_d),
            ("class_weight_g", class_weight_g),
        ):
            if not weight >= 0:
                raise ValueError(f"Expected '{name}' to be non-negative, got {weight}.")
        self.class_weight_d = class_weight_d
        self.class_weight_g = class_weight_g

    @property
    def num_outputs(self) -> int:
        """A logit, and a score for each class."""
        return 1 + (self.num_classes or 0)

    def verdict(self, outputs: Tensor) -> Tensor:
        """Return the logits of being real, (N,)."""
        return outputs[:, 0]

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        """Tell real from generated samples, and the classes of both."""
        real_outputs, fake_outputs = self.discriminate(real, fake)
        classes = self._class_loss(real_outputs, real) + self._class_loss(fake_outputs, fake)
        return {
            "adversarial": self.tell_apart(self.verdict(real_outputs), self.verdict(fake_outputs)),
            "classes": self.class_weight_d * classes,
        }

    def generator_loss(self, real: Batch, fake: Batch) -> Terms:
        """Have samples taken for real ones of their class."""
        outputs = self.outputs(fake)
        return {
            "adversarial": self.pass_for_real(self.verdict(outputs)),
            "classes": self.class_weight_g * self._class_loss(outputs, fake),
        }

    def _class_loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        return cross_entropy(outputs[:, 1:], cast(Tensor, batch.labels))  # the generator had them
