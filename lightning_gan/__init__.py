"""GANs that do not collapse, in PyTorch Lightning."""

from lightning_gan.gans import (
    ACGAN,
    CGAN,
    DRAGAN,
    FGAN,
    GAN,
    LSGAN,
    MADGAN,
    MGAN,
    R3GAN,
    SAGAN,
    SNGAN,
    WGAN,
    WGANGP,
    BigGAN,
    HingeGAN,
    ProGAN,
    ProGANLS,
    ProjectionGAN,
)

__version__ = "0.1.0"

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
    "BigGAN",
    "HingeGAN",
    "ProGAN",
    "ProGANLS",
    "ProjectionGAN",
]
