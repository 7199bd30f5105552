"""Generators and discriminators, a file per family."""

from lightning_gan.networks.base import Discriminator, Generator
from lightning_gan.networks.biggan import BigGANDiscriminator, BigGANGenerator
from lightning_gan.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from lightning_gan.networks.dirac import DiracDiscriminator, DiracGenerator
from lightning_gan.networks.growing import Growing, in_final_size
from lightning_gan.networks.heads import Head
from lightning_gan.networks.mixture import MixtureGenerator
from lightning_gan.networks.mlp import MaxoutDiscriminator, MLPDiscriminator, MLPGenerator
from lightning_gan.networks.multi_scale import MultiScaleDiscriminator
from lightning_gan.networks.patch import PatchDiscriminator
from lightning_gan.networks.progan import ProGANDiscriminator, ProGANGenerator
from lightning_gan.networks.r3gan import R3GANDiscriminator, R3GANGenerator
from lightning_gan.networks.resnet import ResNetDiscriminator, ResNetGenerator
from lightning_gan.networks.unrolled import UnrolledDiscriminator, UnrolledGenerator

__all__ = [
    "BigGANDiscriminator",
    "BigGANGenerator",
    "DCGANDiscriminator",
    "DCGANGenerator",
    "DiracDiscriminator",
    "DiracGenerator",
    "Discriminator",
    "Generator",
    "Growing",
    "Head",
    "MLPDiscriminator",
    "MLPGenerator",
    "MaxoutDiscriminator",
    "MixtureGenerator",
    "MultiScaleDiscriminator",
    "PatchDiscriminator",
    "ProGANDiscriminator",
    "ProGANGenerator",
    "R3GANDiscriminator",
    "R3GANGenerator",
    "ResNetDiscriminator",
    "ResNetGenerator",
    "UnrolledDiscriminator",
    "UnrolledGenerator",
    "in_final_size",
]
