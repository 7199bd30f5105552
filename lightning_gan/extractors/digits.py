"""The classifier of the embedded digits, trained where it is first used."""

from pathlib import Path

from lightning.pytorch.utilities import rank_zero_warn

from lightning_gan.data import Digits
from lightning_gan.extractors.cache_folder import cache_folder
from lightning_gan.extractors.classifier import DomainClassifier
from lightning_gan.extractors.fitting import fit_classifier
from lightning_gan.training import CheckpointError

RECIPE = 1  # raise it with whatever changes the result of the training: files of others stay unread
EPOCHS, WIDTHS = 20, (16, 32, 64)


def digits_classifier(cache_dir: Path | None = None) -> DomainClassifier:
    """Return a classifier of :class:`~lightning_gan.data.digits.Digits`, named ``digits``.

    Its training takes some seconds, once. Processes that come at the same time each train the same
    one, and none ever sees another's file half-written. It reads digits of 16x16, to which native
    ones are enlarged as ``Digits(16)`` enlarges them, so that all sizes look nearly the same to it.

    Args:
        cache_dir: Where to keep it; None takes
            :func:`~lightning_gan.extractors.cache_folder.cache_folder`. A warning is given if it
            cannot be written there, or if the file there is damaged and therefore replaced.
    """
    path = (cache_folder() if cache_dir is None else cache_dir) / f"digits-v{RECIPE}.pt"
    if path.exists():
        try:
            return DomainClassifier.load(path)
        except CheckpointError as error:
            rank_zero_warn(f"{error} It is trained anew.")
    classifier = fit_classifier(Digits(16), EPOCHS, "digits", widths=WIDTHS)
    try:
        classifier.save(path)
    except OSError as error:
        rank_zero_warn(f"The extractor 'digits' has to be trained in each run: {error}.")
    return classifier
