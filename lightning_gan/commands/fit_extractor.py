"""``lightning-gan fit-extractor``: a classifier of the user's data, to evaluate with."""

from pathlib import Path

from lightning_gan.data import GANDataModule
from lightning_gan.extractors.classifier import DomainClassifier
from lightning_gan.extractors.fitting import fit_classifier


def fit_extractor(
    data: GANDataModule,
    output: Path,
    epochs: int | None = None,
    name: str | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> None:
    """Train a classifier of labelled images, whose features evaluations then compare.

    Args:
        data: Labelled images.
        output: File to write; an extractor that is there is replaced.
        epochs: Passes over the training images; as many as show about 100,000, at most 30, if left
            out.
        name: Under which figures are reported, fd/<name>; the file's name if left out.
        seed: Decides the result: the same twice.
        device: Where to train, such as cpu or cuda.

    Raises:
        ValueError: If ``output`` is another kind of file, or the data cannot be trained on.
    """
    if output.exists() and not DomainClassifier.is_ours(output):
        raise ValueError(f"Expected 'output' to be a new file or an extractor, got {output}.")
    name = output.stem if name is None else name
    classifier = fit_classifier(data, epochs, name, seed, device)
    classifier.save(output)
    print(
        f"{classifier.accuracy:.2%} of the held-out images classified rightly by the extractor "
        f"'{name}' ({classifier.digest()[:8]}) in {output}"
    )
