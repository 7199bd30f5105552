"""Data modules, each usable with any Lightning model."""

from lightning_gan.data.base import GANDataModule, Pyramid, TensorSamples
from lightning_gan.data.digits import Digits
from lightning_gan.data.gaussian_mixture import GaussianMixture
from lightning_gan.data.image_folder import ImageFolder, image_set
from lightning_gan.data.stacked_mnist import StackedMNIST, StackedSamples
from lightning_gan.data.stream import BatchStream, EvaluationBatches, SampleStream, StreamLoader
from lightning_gan.data.torchvision_sets import CIFAR10, MNIST, TorchvisionData

__all__ = [
    "CIFAR10",
    "MNIST",
    "BatchStream",
    "Digits",
    "EvaluationBatches",
    "GANDataModule",
    "GaussianMixture",
    "ImageFolder",
    "Pyramid",
    "SampleStream",
    "StackedMNIST",
    "StackedSamples",
    "StreamLoader",
    "TensorSamples",
    "TorchvisionData",
    "image_set",
]
