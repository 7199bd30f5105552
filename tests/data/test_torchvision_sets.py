import pickle
import struct
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torchvision import datasets

from lightning_gan.data import CIFAR10, MNIST

COUNTS = {"train": 12, "t10k": 5}


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    """Write a tiny set in the format of the real one."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, n in COUNTS.items():
        pixels, labels = mnist_arrays(n)
        images = struct.pack(">4i", 2051, n, 28, 28) + pixels.tobytes()
        (raw / f"{name}-images-idx3-ubyte").write_bytes(images)
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(
            struct.pack(">2i", 2049, n) + labels.tobytes()
        )
    return tmp_path


def mnist_arrays(n: int) -> tuple[Any, Any]:
    random = np.random.default_rng(n)
    pixels = random.integers(0, 256, (n, 28, 28), dtype=np.uint8)
    return pixels, random.integers(0, 10, n, dtype=np.uint8)


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write tiny batches in the format of the real ones."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for i, name in enumerate([*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]):
        content = {"data": cifar_pixels(i), "labels": [i, 9 - i]}
        (folder / name).write_bytes(pickle.dumps(content))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda self: folder.exists())
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda path, md5: True)
    return tmp_path


def cifar_pixels(i: int) -> Any:
    return np.random.default_rng(i).integers(0, 256, (2, 3072), dtype=np.uint8)


def loaded(root: Path, **options: Any) -> MNIST:
    data = MNIST(root, download=False, batch_size=4, **options)
    data.prepare_data()
    data.setup("fit")
    return data


def test_mnist_has_a_border_by_default(mnist: Path) -> None:
    data = loaded(mnist)
    samples = data.train_set.samples
    pixels, labels = mnist_arrays(12)
    assert samples.shape == (12, 1, 32, 32)
    inside = samples[:, 0, 2:-2, 2:-2]
    torch.testing.assert_close(inside, torch.from_numpy(pixels), rtol=0, atol=0)
    assert samples.sum() == pixels.sum()
    assert data.train_set.labels.tolist() == labels.tolist()


def test_mnist_in_its_own_size(mnist: Path) -> None:
    data = loaded(mnist, image_size=28)
    assert data.test_set is not None
    pixels, labels = mnist_arrays(5)
    torch.testing.assert_close(data.test_set.samples[:, 0], torch.from_numpy(pixels))
    assert data.test_set.labels.tolist() == labels.tolist()


def test_mnist_in_another_size(mnist: Path) -> None:
    data = loaded(mnist, image_size=14)
    pixels = torch.from_numpy(mnist_arrays(12)[0]).float()
    assert data.sample_shape == (1, 14, 14)
    torch.testing.assert_close(
        data.train_set.samples.float().mean(), pixels.mean(), rtol=0.02, atol=0
    )


def test_mnist_batches_are_in_range(mnist: Path) -> None:
    images, labels = next(iter(loaded(mnist).train_dataloader()))
    assert images.shape == (4, 1, 32, 32)
    assert images.min() == -1.0
    assert labels.dtype == torch.int64


def test_too_small_a_size_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected 'image_size' to be at least 4, got 3"):
        MNIST(image_size=3)


def test_cifar_is_read_channels_first(cifar: Path) -> None:
    data = CIFAR10(cifar, download=False, horizontal_flip=True)
    data.prepare_data()
    data.setup("fit")
    assert data.test_set is not None
    expected = np.concatenate([cifar_pixels(i) for i in range(5)]).reshape(-1, 3, 32, 32)
    torch.testing.assert_close(data.train_set.samples, torch.from_numpy(expected))
    assert data.train_set.labels.tolist() == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]
    assert data.train_set.labels.dtype == torch.int64
    assert len(data.train_set) == 20
    assert len(data.test_set) == 2


@pytest.mark.parametrize("kind", [MNIST, CIFAR10])
def test_missing_files_are_reported(tmp_path: Path, kind: type[MNIST]) -> None:
    with pytest.raises(
        FileNotFoundError, match=rf"{kind.__name__}, got none .* Set 'download'"
    ) as e:
        kind(tmp_path, download=False).prepare_data()
    assert str(tmp_path) in str(e.value)


def test_one_missing_file_is_reported(mnist: Path) -> None:
    (mnist / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="not all"):
        loaded(mnist)


@pytest.mark.parametrize("error", [URLError("no route"), RuntimeError("Error downloading")])
def test_a_failing_download_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(self: Any) -> None:
        raise error

    monkeypatch.setattr(datasets.MNIST, "download", fail)
    with pytest.raises(FileNotFoundError, match=r"downloading them failed: .*copy them") as e:
        MNIST(tmp_path).prepare_data()
    assert str(error) in str(e.value)
    assert str(tmp_path) in str(e.value)


def test_files_that_are_there_are_not_downloaded(
    mnist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(datasets.MNIST, "download")
    MNIST(mnist, download=True).prepare_data()
    assert loaded(mnist).num_classes == 10
