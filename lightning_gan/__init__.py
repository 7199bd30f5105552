"""GANs that do not collapse, in PyTorch Lightning."""

from lightning_gan.gans import (
    ACGAN,
    CGAN,
    FGAN,
    GAN,
    LSGAN,
    MADGAN,
    MGAN,
    SAGAN,
    SNGAN,
    WGAN,
    WGANGP,
    HingeGAN,
    ProjectionGAN,
)

__version__ = "0.1.0"

__all__ = [
    "ACGAN",
    "CGAN",
    "FGAN",
    "GAN",
    "LSGAN",
    "MADGAN",
    "MGAN",
    "SAGAN",
    "SNGAN",
    "WGAN",
    "WGANGP",
    "HingeGAN",
    "ProjectionGAN",
]
