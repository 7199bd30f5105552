import pytest
import torch
from sklearn.datasets import load_digits

from lightning_gan.data import Digits


def loaded(image_size: int = 8) -> Digits:
    data = Digits(image_size)
    data.setup("fit")
    return data


def test_every_tenth_digit_of_a_class_is_held_out() -> None:
    data = loaded()
    assert data.test_set is not None
    assert len(data.train_set) + len(data.test_set) == 1797
    assert len(data.test_set) == 179
    assert set(data.test_set.labels.bincount().tolist()) <= {17, 18, 19}
    assert data.num_classes == len(data.train_set.labels.unique()) == 10


def test_pixels_are_those_of_the_file() -> None:
    data, digits = loaded(), load_digits()
    assert data.test_set is not None
    ours = torch.cat([data.train_set.samples, data.test_set.samples]).flatten(1)
    theirs = (torch.from_numpy(digits.data) * 255 / 16).round().to(torch.uint8)
    labels = torch.cat([data.train_set.labels, data.test_set.labels])
    expected = sorted(zip(theirs.tolist(), digits.target.tolist(), strict=True))
    assert sorted(zip(ours.tolist(), labels.tolist(), strict=True)) == expected
    assert ours.min() == 0
    assert ours.max() == 255


def test_a_batch_is_in_range() -> None:
    images, labels = next(iter(loaded().train_dataloader()))
    assert images.shape == (64, 1, 8, 8)
    assert images.dtype == torch.float32
    assert labels.dtype == torch.int64
    assert images.min() == -1.0
    assert images.max() == 1.0


def test_digits_are_enlarged() -> None:
    data = loaded(16)
    assert data.sample_shape == (1, 16, 16)
    small, large = loaded().train_set.samples.float(), data.train_set.samples.float()
    torch.testing.assert_close(large.mean(), small.mean(), rtol=0.02, atol=0)


def test_too_small_a_size_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected 'image_size' to be at least 8, got 4"):
        Digits(4)
