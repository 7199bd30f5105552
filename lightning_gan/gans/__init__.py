"""Variants, a file each, on the one loop of ``gans.base``."""

from lightning_gan.gans.acgan import ACGAN
from lightning_gan.gans.base import AdversarialModule
from lightning_gan.gans.biggan import BigGAN
from lightning_gan.gans.cgan import CGAN
from lightning_gan.gans.dragan import DRAGAN
from lightning_gan.gans.fgan import FGAN
from lightning_gan.gans.gan import GAN
from lightning_gan.gans.hinge_gan import HingeGAN
from lightning_gan.gans.lsgan import LSGAN
from lightning_gan.gans.madgan import MADGAN
from lightning_gan.gans.mgan import MGAN
from lightning_gan.gans.progan import ProGAN
from lightning_gan.gans.progan_ls import ProGANLS
from lightning_gan.gans.projection_gan import ProjectionGAN
from lightning_gan.gans.r3gan import R3GAN
from lightning_gan.gans.sagan import SAGAN
from lightning_gan.gans.sngan import SNGAN
from lightning_gan.gans.wgan import WGAN
from lightning_gan.gans.wgan_gp import WGANGP

__all__ = [
    "ACGAN",
    "CGAN",
    "DRAGAN",
    "FGAN",
    "GAN",
    "LSGAN",
    "MADGAN",
    "MGAN",
    "R3GAN",
    "SAGAN",
    "SNGAN",
    "WGAN",
    "WGANGP",
    "AdversarialModule",
    "BigGAN",
    "HingeGAN",
    "ProGAN",
    "ProGANLS",
    "ProjectionGAN",
]
