from itertools import product

import pytest
import torch
from torch import Tensor

from lightning_gan.data import StackedSamples, TensorSamples
from lightning_gan.extractors import Description, Extractor, StackedClassifier


class Reader(Extractor):
    """Takes the first pixel for the digit, the more surely the brighter the second one."""

    num_classes = 10

    def describe(self, images: Tensor) -> Description:
        assert images.shape[1] == 1
        pixels = images.flatten(1)[:, :2].float()
        classes = torch.arange(10)
        logits = -((pixels[:, :1] - classes) ** 2) * (0.1 + pixels[:, 1:] / 100)
        return Description(pixels, logits)


class Mute(Reader):
    def describe(self, images: Tensor) -> Description:
        return Description(super().describe(images).features)


def stacked(*digits: int) -> Tensor:
    """Return one image (1, C, 2, 2) of digits that the reader knows."""
    return torch.tensor([[d, 5, 0, 0] for d in digits], dtype=torch.uint8).view(1, -1, 2, 2)


def test_stacks_of_known_digits_get_their_label() -> None:
    digits = TensorSamples(torch.cat([stacked(d) for d in range(10)]), torch.arange(10))
    triples = torch.tensor(list(product(range(10), repeat=3)))
    labels = StackedSamples(digits, triples).labels
    images = digits.samples[triples].squeeze(2)
    extractor = StackedClassifier(Reader("reader"))
    logits = extractor(images).logits
    assert logits is not None
    assert logits.shape == (1000, 1000)
    assert (logits.argmax(dim=1) == labels).all()
    assert extractor.num_classes == 1000


def test_logits_are_logarithms_of_the_product_of_the_probabilities() -> None:
    reader, images = Reader("reader"), stacked(3, 0, 9)
    logits = StackedClassifier(reader)(images).logits
    assert logits is not None
    a, b, c = (reader(images[:, i : i + 1]).logits[0].softmax(dim=0) for i in range(3))
    expected = [float(a[i] * b[j] * c[k]) for i in range(10) for j in range(10) for k in range(10)]
    torch.testing.assert_close(logits[0].exp(), torch.tensor(expected), rtol=1e-4, atol=1e-8)
    torch.testing.assert_close(logits.exp().sum(), torch.tensor(1.0), rtol=1e-5, atol=0)


def test_features_follow_the_channels() -> None:
    images = torch.cat([stacked(1, 2), stacked(3, 4)])
    features, logits = StackedClassifier(Reader("reader"), channels=2, name="pairs")(images)
    torch.testing.assert_close(
        features, torch.tensor([[1.0, 5.0, 2.0, 5.0], [3.0, 5.0, 4.0, 5.0]]), rtol=0, atol=0
    )
    assert logits.shape == (2, 100)


def test_what_cannot_be_stacked_is_refused() -> None:
    reader, mute = Reader("reader"), Mute("mute")
    with pytest.raises(ValueError, match="'channels' to be at least 1, got 0"):
        StackedClassifier(reader, channels=0)
    with pytest.raises(ValueError, match="'images' to have 3 channels, got 2"):
        StackedClassifier(reader)(stacked(1, 2))
    with pytest.raises(ValueError, match="logits of the extractor 'mute', got none"):
        StackedClassifier(mute)(stacked(1, 2, 3))
    mute.num_classes = None  # type: ignore[assignment]
    with pytest.raises(ValueError, match="'digit' to be a classifier, got the extractor 'mute'"):
        StackedClassifier(mute)
