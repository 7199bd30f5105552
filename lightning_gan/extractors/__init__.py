"""Networks that describe images by features, in which generated and real ones are compared."""

from lightning_gan.extractors.base import Description, Extractor
from lightning_gan.extractors.cache_folder import cache_folder
from lightning_gan.extractors.classifier import DomainClassifier
from lightning_gan.extractors.digits import digits_classifier
from lightning_gan.extractors.fitting import fit_classifier
from lightning_gan.extractors.inception import Inception
from lightning_gan.extractors.naming import extractor_names, make_extractor
from lightning_gan.extractors.points import Points
from lightning_gan.extractors.pretrained import PretrainedExtractor, pretrained_models
from lightning_gan.extractors.stacked import StackedClassifier
from lightning_gan.extractors.wrapped import FileExtractor, ModuleExtractor

__all__ = [
    "Description",
    "DomainClassifier",
    "Extractor",
    "FileExtractor",
    "Inception",
    "ModuleExtractor",
    "Points",
    "PretrainedExtractor",
    "StackedClassifier",
    "cache_folder",
    "digits_classifier",
    "extractor_names",
    "fit_classifier",
    "make_extractor",
    "pretrained_models",
]
