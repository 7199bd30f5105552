from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_gan.extractors import DomainClassifier
from lightning_gan.training import CheckpointError
from lightning_gan.training.sealed_file import write_sealed


def random_images(*shape: int) -> torch.Tensor:
    return torch.randint(256, shape, dtype=torch.uint8)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    classifier = DomainClassifier(1, (8, 8), 3, name="mine")
    classifier.accuracy, classifier.fingerprint = 0.75, "abc"
    classifier.save(tmp_path / "folder" / "mine.pt")
    return tmp_path / "folder" / "mine.pt"


@pytest.mark.parametrize("size", [(4, 4), (8, 8), (28, 28), (17, 40), (64, 64), (256, 256)])
def test_every_size(size: tuple[int, int]) -> None:
    classifier = DomainClassifier(3, size, num_classes=5)
    features, logits = classifier(random_images(2, 3, *size))
    assert features.shape == (2, 64)
    assert logits.shape == (2, 5)
    assert classifier.num_classes == 5
    assert not classifier.published


def test_features_are_those_the_head_reads() -> None:
    classifier = DomainClassifier(1, (8, 8), num_classes=4)
    features, logits = classifier(random_images(6, 1, 8, 8))
    head = classifier.network.head
    torch.testing.assert_close(logits, features @ head.weight.T + head.bias, rtol=1e-5, atol=1e-6)
    assert features.std() > 0


def test_an_answer_does_not_depend_on_the_batch_or_the_mode() -> None:
    classifier = DomainClassifier(1, (8, 8), num_classes=4)
    images = random_images(16, 1, 8, 8)
    together = classifier.train()(images).features
    apart = torch.cat([classifier(image[None]).features for image in images])
    torch.testing.assert_close(apart, together, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(16, 16), (12, 24), (24, 12), (60, 60)])
def test_other_sizes_are_resized_as_pillow_does(size: tuple[int, int]) -> None:
    """Pillow's bilinear filter is antialiased where it shrinks; it rounds to bytes."""
    classifier = DomainClassifier(1, (24, 24), num_classes=2)
    image = random_images(*size)
    pixels = np.asarray(
        Image.fromarray(image.numpy()).resize((24, 24), Image.Resampling.BILINEAR)
    ).astype(np.float32)
    actual = (classifier.scaled(image[None, None])[0, 0] + 1) * 127.5
    torch.testing.assert_close(actual, torch.from_numpy(pixels), rtol=0, atol=1.01)
    assert classifier.resize == "bilinear, antialiased where it shrinks, to 24x24"


def test_the_own_size_is_not_resized() -> None:
    image = random_images(1, 1, 9, 9)
    actual = DomainClassifier(1, (9, 9), num_classes=2).scaled(image)
    torch.testing.assert_close(actual, image / 127.5 - 1, rtol=0, atol=1e-6)


def test_another_number_of_channels_is_refused() -> None:
    classifier = DomainClassifier(1, (8, 8), num_classes=4, name="digits")
    with pytest.raises(ValueError, match=r"to have 1 channels, as the extractor 'digits' .* got 3"):
        classifier(random_images(2, 3, 8, 8))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_channels": 0}, "'image_channels' to be at least 1, got 0"),
        ({"image_size": (3, 8)}, "'image_size' to be at least 4, got 3x8"),
        ({"num_classes": 1}, "'num_classes' to be at least 2, got 1"),
        ({"widths": (8, 8, 8, 8)}, r"'widths' .* got \(8, 8, 8, 8\) for 8x8"),
        ({"widths": ()}, r"'widths' .* got \(\)"),
        ({"widths": (8, 0)}, r"'widths' .* got \(8, 0\)"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"Expected {message}"):
        DomainClassifier(
            **{"image_channels": 1, "image_size": (8, 8), "num_classes": 2, **arguments}
        )


def test_a_file_holds_everything(tmp_path: Path) -> None:
    classifier = DomainClassifier(3, (16, 8), 4, widths=(5, 6), name="mine")
    # Statistics of batch normalisation differ from those of a new network.
    classifier.network.layers[2].running_mean.add_(0.5)  # type: ignore[operator]
    classifier.accuracy, classifier.fingerprint = 0.75, "abc"
    classifier.save(tmp_path / "mine.pt")
    before = torch.get_rng_state()
    loaded = DomainClassifier.load(tmp_path / "mine.pt")
    torch.testing.assert_close(torch.get_rng_state(), before, rtol=0, atol=0)
    images = random_images(3, 3, 32, 32)
    for actual, expected in zip(loaded(images), classifier(images), strict=True):
        torch.testing.assert_close(actual, expected, rtol=0, atol=0)
    assert loaded.digest() == classifier.digest()
    assert (loaded.name, loaded.accuracy, loaded.fingerprint) == ("mine", 0.75, "abc")
    assert loaded.image_size == (16, 8)
    assert not any(weight.requires_grad for weight in loaded.parameters())


def test_a_damaged_file_is_refused(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[len(content) // 2] ^= 1
    saved.write_bytes(content)
    assert DomainClassifier.is_ours(saved)
    with pytest.raises(CheckpointError, match=r"mine\.pt: it is damaged"):
        DomainClassifier.load(saved)


def test_a_truncated_file_is_refused(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:-3000])
    assert DomainClassifier.is_ours(saved)
    with pytest.raises(CheckpointError, match=r"mine\.pt: it is truncated"):
        DomainClassifier.load(saved)


def test_files_of_others_are_refused(tmp_path: Path) -> None:
    text, plain, sealed = (tmp_path / name for name in ("text.pt", "plain.pt", "sealed.pt"))
    text.write_text("Not an archive at all, but long enough to look for its end. " * 4)
    torch.save({"weight": torch.zeros(3)}, plain)
    write_sealed({"state_dict": {}}, sealed)
    for path in (text, plain, sealed):
        assert not DomainClassifier.is_ours(path)
        with pytest.raises(CheckpointError, match="it is no extractor that lightning-gan fit-ext"):
            DomainClassifier.load(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert not DomainClassifier.is_ours(tmp_path)
    assert not DomainClassifier.is_ours(tmp_path / "absent.pt")
    with pytest.raises(CheckpointError, match=r"absent\.pt: it does not exist"):
        DomainClassifier.load(tmp_path / "absent.pt")


def test_a_newer_version_is_refused(saved: Path) -> None:
    assert DomainClassifier.is_ours(saved)
    content = torch.load(saved, weights_only=True)
    write_sealed(content | {"version": 2}, saved)
    with pytest.raises(CheckpointError, match="it has version 2, and this program 1"):
        DomainClassifier.load(saved)
