from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torchvision import datasets

from lightning_gan.data import MNIST, StackedMNIST, StackedSamples, TensorSamples

COUNTS = {True: 30, False: 20}


def digits(train: bool) -> Any:
    """Return images that hold the number of the digit in their upper left corner."""
    n = COUNTS[train]
    data = torch.zeros(n, 28, 28, dtype=torch.uint8)
    data[:, 0, 0] = torch.arange(n) + (0 if train else 100)
    return SimpleNamespace(data=data, targets=torch.arange(n).flip(0) % 10)


@pytest.fixture(autouse=True)
def _generated(monkeypatch: pytest.MonkeyPatch) -> None:
    def source(root: Path, train: bool, download: bool = False) -> Any:
        return digits(train)

    for kind in (MNIST, StackedMNIST):
        monkeypatch.setattr(kind, "source", staticmethod(source))


def loaded(**options: Any) -> StackedMNIST:
    data = StackedMNIST(**{"image_size": 28, "num_samples": 500} | options)
    data.prepare_data()
    data.setup("fit")
    return data


def numbers(images: torch.Tensor) -> torch.Tensor:
    """Return the number of the digit in each channel of images of 28x28."""
    return ((images[:, :, 0, 0] + 1) * 127.5).round().long()


def test_each_channel_is_a_digit_of_which_the_label_tells() -> None:
    data = loaded()
    images, labels = data.train_set[torch.arange(500)]
    assert images.shape == (500, 3, 28, 28)
    assert images.dtype == torch.float32
    assert labels.dtype == torch.int64
    source = digits(True)
    for image, label, triple in zip(images, labels, numbers(images), strict=True):
        a, b, c = (int(source.targets[i]) for i in triple)
        assert label == 100 * a + 10 * b + c
        pixels = torch.stack([source.data[i] for i in triple]).float() / 127.5 - 1
        torch.testing.assert_close(image, pixels, rtol=0, atol=1e-6)
    assert data.num_classes == 1000
    assert data.sample_shape == (3, 28, 28)
    assert torch.equal(labels, data.train_set.labels)


def test_channels_are_drawn_independently_and_evenly() -> None:
    triples = loaded(num_samples=9000).train_set.samples
    for channel in triples.T:
        counts = channel.bincount(minlength=30).float()
        torch.testing.assert_close(counts, torch.full((30,), 300.0), rtol=0, atol=87)  # 5 sigma
    for i, j in [(0, 1), (0, 2), (1, 2)]:
        same = (triples[:, i] == triples[:, j]).float().mean()
        torch.testing.assert_close(same, torch.tensor(1 / 30), rtol=0, atol=0.0095)  # 5 sigma


def test_every_mode_occurs() -> None:
    labels = loaded(num_samples=128_000).train_set.labels
    assert len(labels) == 128_000
    assert len(labels.unique()) == 1000


def test_held_out_triples_are_of_held_out_digits() -> None:
    data = loaded()
    assert data.test_set is not None
    assert len(data.test_set) == 10_000
    images, labels = data.test_set[torch.tensor([0, 9_999])]
    held_out = numbers(images) - 100
    assert held_out.min() >= 0
    expected = digits(False).targets[held_out] @ torch.tensor([100, 10, 1])
    assert torch.equal(labels, expected)


def test_triples_depend_neither_on_the_seed_nor_on_torch() -> None:
    first = loaded(seed=1)
    torch.manual_seed(5)
    second = loaded(seed=2)
    assert first.test_set is not None
    assert second.test_set is not None
    assert torch.equal(first.train_set.samples, second.train_set.samples)
    assert torch.equal(first.test_set.samples, second.test_set.samples)
    assert not torch.equal(
        next(iter(first.train_dataloader()))[1], next(iter(second.train_dataloader()))[1]
    )


def test_the_size_of_the_training_set_does_not_change_the_held_out_one() -> None:
    small, large = loaded(), loaded(num_samples=700)
    assert small.test_set is not None
    assert large.test_set is not None
    assert torch.equal(small.test_set.samples, large.test_set.samples)


def test_batches_are_in_range_and_digits_have_the_border_of_mnist() -> None:
    data = StackedMNIST(num_samples=500, batch_size=16)
    data.setup("fit")
    images, labels = next(iter(data.train_dataloader()))
    assert images.shape == (16, 3, 32, 32)
    assert labels.shape == (16,)
    assert images.min() == -1.0
    assert numbers(images).max() == 0  # the corner, which the border has moved inwards
    assert numbers(images[:, :, 2:, 2:]).max() > 0


def test_images_are_those_of_mnist_in_any_size() -> None:
    one, three = MNIST(image_size=14), loaded(image_size=14)
    one.setup("fit")
    index = torch.tensor([3])
    (triple,) = three.train_set.samples[index]
    expected, _ = one.train_set[triple]
    torch.testing.assert_close(three.train_set[index][0][0], expected[:, 0], rtol=0, atol=0)
    assert three.sample_shape == (3, 14, 14)


def test_images_are_not_held() -> None:
    """Beside the digits themselves three numbers and a label are held for each image."""
    samples = loaded(num_samples=10_000).train_set
    held = [x for x in vars(samples).values() if isinstance(x, torch.Tensor)]
    assert sum(x.numel() for x in held) == 4 * 10_000


def test_loading_ahead_gives_the_same_batches() -> None:
    images, labels = next(iter(loaded(seed=3).train_dataloader()))
    ahead_images, ahead_labels = next(iter(loaded(seed=3, num_workers=1).train_dataloader()))
    assert torch.equal(images, ahead_images)
    assert torch.equal(labels, ahead_labels)


def test_samples_need_no_data_module() -> None:
    few = TensorSamples(torch.arange(8.0).view(2, 1, 2, 2), torch.tensor([4, 7]))
    images, labels = StackedSamples(few, torch.tensor([[0, 1, 1], [1, 0, 0]]))[torch.tensor([1])]
    assert images.flatten().tolist() == [4, 5, 6, 7, 0, 1, 2, 3, 0, 1, 2, 3]
    assert labels.tolist() == [744]


@pytest.mark.parametrize(("name", "value"), [("num_samples", 0), ("image_size", 3)])
def test_arguments_out_of_range(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"Expected '{name}' to be at least ., got {value}"):
        StackedMNIST(**{name: value})


def test_missing_files_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StackedMNIST, "source", datasets.MNIST)
    with pytest.raises(FileNotFoundError, match=r"MNIST, got none .* Set 'download'"):
        StackedMNIST(tmp_path, download=False).prepare_data()


@pytest.mark.parametrize("side", [4, 7, 14])
def test_digits_are_resized_and_triples_kept(side: int) -> None:
    data = loaded()
    small = data.train_set.resized(side)
    images, labels = small[torch.arange(500)]
    assert small.sample_shape == images.shape[1:] == (3, side, side)
    assert torch.equal(labels, data.train_set.labels)
    assert torch.equal(small.samples, data.train_set.samples)
    blocks = digits(True).data.numpy().reshape(30, side, 28 // side, side, 28 // side)
    expected = blocks.mean((2, 4)).round()[small.samples.numpy()] / 127.5 - 1
    torch.testing.assert_close(images, torch.from_numpy(expected).float(), rtol=0, atol=1e-6)
    assert data.train_set.resized(28) is data.train_set


def test_a_fingerprint_is_of_triples_and_digits() -> None:
    plain = loaded().train_set
    assert isinstance(plain, StackedSamples)
    assert loaded().train_set.fingerprint() == plain.fingerprint()
    assert loaded(num_samples=400).train_set.fingerprint() != plain.fingerprint()
    changed = TensorSamples(plain.digits.samples ^ 1, plain.digits.labels)
    assert StackedSamples(changed, plain.samples).fingerprint() != plain.fingerprint()
