"""GANs that do not collapse, in PyTorch Lightning."""

from lightning_gan.gans import GAN, WGANGP

__version__ = "0.1.0"

__all__ = ["GAN", "WGANGP"]
