"""Conditional Generative Adversarial Nets (Mirza and Osindero, 2014)."""

from typing import Any

from torch import nn

from lightning_gan.gans.gan import GAN
from lightning_gan.training.preflight import check_conditional


class CGAN(GAN):
    r"""GAN both of whose networks are told the class.

    .. math::
        \min_D\; \mathbb{E}[-\log D(x \mid y)] + \mathbb{E}[-\log(1 - D(G(z \mid y) \mid y))],
        \qquad \min_G\; \mathbb{E}[-\log D(G(z \mid y) \mid y)]

    Any variant becomes conditional with conditional networks; this one insists on it.

    Args:
        generator: See :class:`~lightning_gan.gans.gan.GAN`; built with ``num_classes``.
        discriminator: Likewise.
        **kwargs: See :class:`~lightning_gan.gans.gan.GAN`.

    Raises:
        ValueError: If a network is unconditional, or the two differ in their number of classes.

    Reference:
        Mirza and Osindero, "Conditional Generative Adversarial Nets", 2014,
        https://arxiv.org/abs/1411.1784, eq. (2).
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module, **kwargs: Any) -> None:
        check_conditional("CGAN", generator=generator, discriminator=discriminator)
        super().__init__(generator, discriminator, **kwargs)
