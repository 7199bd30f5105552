"""Variants, a file each, on the one loop of ``gans.base``."""

from lightning_gan.gans.base import AdversarialModule
from lightning_gan.gans.gan import GAN
from lightning_gan.gans.wgan_gp import WGANGP

__all__ = ["GAN", "WGANGP", "AdversarialModule"]
