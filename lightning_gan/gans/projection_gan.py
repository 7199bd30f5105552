"""cGANs with Projection Discriminator (Miyato and Koyama, 2018)."""

from typing import Any

from torch import nn

from lightning_gan.gans.sngan import SNGAN
from lightning_gan.training.preflight import check_conditional


class ProjectionGAN(SNGAN):
    r"""Spectrally normalised hinge GAN whose discriminator projects features on the class.

    .. math:: D(x, y) = \langle e_y, \phi(x) \rangle + l(\phi(x))

    with an embedding :math:`e_y` of the class, the form of the log-ratio of two softmax models. The
    generator's batch normalisations have a gain and a bias for each class.

    Args:
        generator: See :class:`~lightning_gan.gans.sngan.SNGAN`; built with ``num_classes`` and, as
            in the paper, ``conditioning="norm"``.
        discriminator: Likewise, with ``num_classes`` and ``conditioning="projection"``.
        **kwargs: See :class:`~lightning_gan.gans.sngan.SNGAN`.

    Raises:
        ValueError: If a network is unconditional, the two differ in their number of classes, or the
            discriminator takes the class in at its input.

    Reference:
        Miyato and Koyama, "cGANs with Projection Discriminator", ICLR 2018,
        https://arxiv.org/abs/1802.05637, eq. (3) and figure 1d.
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module, **kwargs: Any) -> None:
        check_conditional("ProjectionGAN", generator=generator, discriminator=discriminator)
        conditioning = getattr(discriminator, "conditioning", None)  # unknown of a user's own
        if conditioning not in (None, "projection"):
            raise ValueError(
                "Expected a 'discriminator' with conditioning='projection' for ProjectionGAN, "
                f"got {conditioning!r}."
            )
        super().__init__(generator, discriminator, **kwargs)
