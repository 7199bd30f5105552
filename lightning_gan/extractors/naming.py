"""Extractors by name or file, as a command line gives them."""

from pathlib import Path

from torch import nn

from lightning_gan.extractors.base import Extractor
from lightning_gan.extractors.classifier import DomainClassifier
from lightning_gan.extractors.digits import digits_classifier
from lightning_gan.extractors.inception import Inception
from lightning_gan.extractors.points import Points
from lightning_gan.extractors.pretrained import PretrainedExtractor, pretrained_models
from lightning_gan.extractors.wrapped import FileExtractor, ModuleExtractor

_INCEPTION = ("inception", "inception-v3-compat")


def extractor_names() -> list[str]:
    """Return the names that :func:`make_extractor` knows."""
    return ["inception", "digits", "points", *pretrained_models()]


def make_extractor(
    spec: str | Path | nn.Module | Extractor, weights: str | Path | None = None
) -> Extractor:
    """Build an extractor.

    Args:
        spec: One of :func:`extractor_names`, a file, a module or an extractor. A file is one that
            ``lightning-gan fit-extractor`` wrote, or holds a program (:class:`FileExtractor`); its
            content tells which. A module gets the name of its class.
        weights: Local file of the weights of a network that would be downloaded.

    Returns:
        The extractor; one that is given is returned as it is.

    Raises:
        TypeError: If ``spec`` is of another type.
        ValueError: If ``spec`` is no known name, or ``weights`` are given where there are none to
            load.
        FileNotFoundError: If a file is missing, or a download fails.

    Example:
        >>> make_extractor("points").name
        'points'
    """
    if isinstance(spec, str) and spec in _INCEPTION:
        return Inception(weights)
    if isinstance(spec, str) and spec in pretrained_models():
        return PretrainedExtractor(spec, weights)
    if weights is not None:
        raise ValueError(
            f"Expected 'weights' only with 'inception' or one of {pretrained_models()}, got "
            f"{weights} with {_shown(spec)}."
        )
    if isinstance(spec, Extractor):
        return spec
    if isinstance(spec, nn.Module):
        return ModuleExtractor(spec, type(spec).__name__)
    if not isinstance(spec, str | Path):
        raise TypeError(
            f"Expected the extractor to be a name, a file or a module, got {_shown(spec)}."
        )
    if spec == "points":
        return Points()
    if spec == "digits":
        return digits_classifier()
    return _from_file(spec)


def _from_file(spec: str | Path) -> Extractor:
    path = Path(spec).expanduser()
    if not path.is_file():
        message = (
            f"Expected the extractor to be the path of a file or one of {extractor_names()}, got "
            f"{str(spec)!r}."
        )
        is_name = isinstance(spec, str) and path.name == spec and not path.suffix
        raise ValueError(message) if is_name else FileNotFoundError(message)
    return DomainClassifier.load(path) if DomainClassifier.is_ours(path) else FileExtractor(path)


def _shown(spec: object) -> str:
    return repr(str(spec)) if isinstance(spec, str | Path) else type(spec).__name__
