from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_gan.data import Digits
from lightning_gan.extractors import DomainClassifier, cache_folder, digits, digits_classifier
from lightning_gan.functional import frechet_distance

FILE = f"digits-v{digits.RECIPE}.pt"


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LIGHTNING_GAN_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: Any) -> Path:
    """Return the folder of a classifier that was trained for less long than those of users."""
    folder: Path = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digits, "EPOCHS", 3)
        digits_classifier(folder)
    return folder


def untrained(*_: Any, **__: Any) -> DomainClassifier:
    return DomainClassifier(1, (8, 8), num_classes=10, name="digits")


def loaded(image_size: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """Return half of the training images, their labels and held-out images."""
    data = Digits(image_size)
    data.setup("fit")
    assert data.test_set is not None
    return data.train_set.samples[::2], data.train_set.labels[::2], data.test_set.samples


def check_ranks(classifier: DomainClassifier, image_size: int) -> None:
    """Failures have to be told from held-out digits, and from each other by their severity."""
    images, labels, held_out = loaded(image_size)
    native = classifier(loaded()[0]).features
    noisy = images + 40 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    real, *fakes = (
        classifier(x).features
        for x in (
            images,
            held_out,
            noisy.round().clamp(0, 255).to(torch.uint8),
            images[labels < 5],
            images[labels == 1],
        )
    )
    fresh, noise, half, one = (float(frechet_distance(real, fake)) for fake in fakes)
    assert 3 * fresh < min(noise, half)
    assert 2 * half < one
    # The same digits at another size are hardly farther away than held-out ones.
    assert frechet_distance(native, real) < 2 * fresh


@pytest.mark.parametrize("image_size", [8, 32])
def test_failures_are_ranked(image_size: int, trained: Path) -> None:
    check_ranks(digits_classifier(trained), image_size)


@pytest.mark.slow
def test_it_knows_digits_it_never_saw() -> None:
    classifier = digits_classifier()
    assert classifier.accuracy is not None
    assert classifier.accuracy >= 0.97
    for image_size in (8, 16, 32):
        check_ranks(classifier, image_size)


def test_it_is_trained_once(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [path.name for path in trained.iterdir()] == [FILE]
    monkeypatch.delattr(digits, "fit_classifier")
    classifier = digits_classifier(trained)
    assert (classifier.name, classifier.num_classes) == ("digits", 10)
    assert classifier.accuracy is not None
    assert classifier.accuracy > 0.9


def test_it_is_kept_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(digits, "fit_classifier", untrained)
    first, second = digits_classifier(), digits_classifier()
    assert (tmp_path / "cache" / FILE).exists()
    assert second.digest() == first.digest()


def test_another_recipe_is_trained_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(digits, "fit_classifier", untrained)
    first = digits_classifier(tmp_path)
    monkeypatch.setattr(digits, "RECIPE", digits.RECIPE + 1)
    assert digits_classifier(tmp_path).digest() != first.digest()
    assert (tmp_path / FILE).exists()


def test_a_damaged_file_is_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(digits, "fit_classifier", untrained)
    (tmp_path / FILE).write_bytes(b"")
    with pytest.warns(UserWarning, match=rf"{FILE}: it is empty\. It is trained anew\."):
        first = digits_classifier(tmp_path)
    assert digits_classifier(tmp_path).digest() == first.digest()


def test_a_folder_that_cannot_be_written_is_no_obstacle(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(digits, "fit_classifier", untrained)
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="'digits' has to be trained in each run"):
        classifier = digits_classifier(tmp_path / "file")
    assert classifier.name == "digits"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"LIGHTNING_GAN_CACHE": "/own", "XDG_CACHE_HOME": "/shared"}, "/own"),
        ({"LIGHTNING_GAN_CACHE": "~/own"}, "/home/someone/own"),
        ({"XDG_CACHE_HOME": "/shared"}, "/shared/lightning_gan"),
        ({"XDG_CACHE_HOME": "relative"}, "/home/someone/.cache/lightning_gan"),
        ({"XDG_CACHE_HOME": ""}, "/home/someone/.cache/lightning_gan"),
        ({}, "/home/someone/.cache/lightning_gan"),
    ],
)
def test_cache_folder(
    variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    for name in ("LIGHTNING_GAN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(expected)
