"""MNIST and CIFAR-10 as torchvision stores and downloads them."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from torchvision import datasets
from torchvision.transforms.v2.functional import resize

from lightning_gan.data.base import GANDataModule, TensorSamples


class TorchvisionData(GANDataModule):
    """A data set that torchvision reads and downloads.

    Args:
        root: Folder of the files, in torchvision's layout.
        download: Whether missing files are downloaded. Without a connection, put them there.
        horizontal_flip: Whether mirror images are added to the training set.
        batch_size: See :class:`~lightning_gan.data.base.GANDataModule`.
        num_workers: Likewise.
        seed: Likewise.
    """

    source: Any
    num_classes = 10

    def __init__(
        self,
        root: str | Path = "data",
        download: bool = True,
        horizontal_flip: bool = False,
        batch_size: int = 64,
        num_workers: int = 0,
        seed: int | None = None,
    ) -> None:
        super().__init__(batch_size, num_workers, seed)
        self.root = Path(root)
        self.download = download
        self.horizontal_flip = horizontal_flip

    def prepare_data(self) -> None:
        """Download what is missing, on one process.

        Raises:
            FileNotFoundError: If files are missing and cannot be downloaded.
        """
        for train in (True, False):
            self._fetch(train)

    def _fetch(self, train: bool) -> None:
        """Make sure of one split's files."""
        with suppress(RuntimeError):  # what torchvision raises where files are missing
            self.source(self.root, train=train, download=False)
            return
        name = self.source.__name__
        where = f"'root' = {self.root} to hold torchvision's files of {name}"
        if not self.download:
            raise FileNotFoundError(f"Expected {where}, got none or not all. Set 'download'.")
        try:
            self.source(self.root, train=train, download=True)
        except (OSError, RuntimeError) as error:
            raise FileNotFoundError(
                f"Expected {where}, and downloading them failed: {error}. "
                "Without a connection, copy them there from another machine."
            ) from error

    def load(self) -> None:
        """Read both splits into memory."""
        self.train_set, self.test_set = self.splits()

    def splits(self) -> tuple[TensorSamples, TensorSamples]:
        """Read the images for training, mirrored where asked for, and the held-out ones."""
        train, test = (self.source(self.root, train=train) for train in (True, False))
        return (
            TensorSamples(
                self.images(train.data), torch.as_tensor(train.targets), self.horizontal_flip
            ),
            TensorSamples(self.images(test.data), torch.as_tensor(test.targets)),
        )

    def images(self, data: Any) -> Tensor:
        """Turn what torchvision holds into (N, C, H, W) uint8."""
        return torch.as_tensor(data).permute(0, 3, 1, 2).contiguous()


class CIFAR10(TorchvisionData):
    """60,000 photographs of 32x32 pixels in ten classes, 10,000 of them held out.

    The arguments are those of
    :class:`~lightning_gan.data.torchvision_sets.TorchvisionData`.

    Reference:
        Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """

    source = datasets.CIFAR10


class MNIST(TorchvisionData):
    """70,000 handwritten digits in ten classes, 10,000 of them held out.

    Args:
        root: Folder of the files, in torchvision's layout.
        download: Whether missing files are downloaded.
        image_size: Side of the images. 28 is the native one, 32 adds a black border, others are
            resized to.
        batch_size: See :class:`~lightning_gan.data.base.GANDataModule`.
        num_workers: Likewise.
        seed: Likewise.

    Raises:
        ValueError: If ``image_size`` is below 4.

    Reference:
        LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998.
    """

    source = datasets.MNIST

    def __init__(
        self,
        root: str | Path = "data",
        download: bool = True,
        image_size: int = 32,
        batch_size: int = 64,
        num_workers: int = 0,
        seed: int | None = None,
    ) -> None:
        if image_size < 4:
            raise ValueError(f"Expected 'image_size' to be at least 4, got {image_size}.")
        super().__init__(root, download, batch_size=batch_size, num_workers=num_workers, seed=seed)
        self.image_size = image_size

    def images(self, data: Any) -> Tensor:
        """Add the channel and fit the size."""
        images: Tensor = data[:, None]
        if self.image_size == 32:
            return pad(images, (2, 2, 2, 2))  # keeps the strokes as they are
        if self.image_size == 28:
            return images
        resized: Tensor = resize(images, [self.image_size, self.image_size], antialias=True)
        return resized
