"""Images of the user's own, from a folder or a zip archive."""

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from copy import copy
from itertools import chain, compress
from pathlib import Path

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lightning_gan.data.base import GANDataModule, Samples, TensorSamples
from lightning_gan.data.image_files import (
    MODES,
    ImageError,
    ImageFiles,
    channels_of,
    image_files,
    to_tensor,
)

TRAIN, HELD_OUT = ("train", "training"), ("test", "val", "valid", "validation")
IMAGES_PER_TASK = 64  # handing over a single small image takes a thread as long as decoding it


class ImageReader:
    """Reads images by name in one shape.

    Args:
        files: Where to read.
        names: Names of those that are used.
        image_size: Side, or (H, W), to which images are resized and cropped; None keeps the size
            that all must then have in common.
        channels: 1, 3 or 4; None takes the first image's.

    Attributes:
        shape: (C, H, W) of every image.
    """

    def __init__(
        self,
        files: ImageFiles,
        names: Iterable[str],
        image_size: tuple[int, int] | None,
        channels: int | None,
    ) -> None:
        self.files = files
        self.image_size = image_size
        first = self._first(names)
        self.channels = channels or channels_of(first[1])
        self.native_name, self.native_size = first[0], first[2]
        self.shape = (self.channels, *(image_size or self.native_size))
        self.side: int | None = None

    def resized(self, side: int) -> "ImageReader":
        """Return a reader of the same square images at a lower resolution, areas averaged."""
        reader = copy(self)
        reader.shape, reader.side = (self.channels, side, side), side
        return reader

    def _first(self, names: Iterable[str]) -> tuple[str, str, tuple[int, int]]:
        """Return name, mode and (H, W) of the first image that can be read."""
        for name in names:
            with suppress(ImageError):  # reported where all files are read
                image = self.files.open(name)
                return name, image.mode, (image.height, image.width)
        raise ImageError(f"Expected readable images, got none in {self.files.root}.")

    def read(self, name: str) -> Tensor:
        """Return an image, (C, H, W) uint8.

        Raises:
            ImageError: If the file cannot be read or has another size than the first.
        """
        image, size, extent = self.files.open_reduced(name, self.side)
        try:
            if self.side is None:
                pixels = to_tensor(image, self.channels, self.image_size)
            else:
                pixels = to_tensor(image, self.channels, self.shape[1:], extent)
        except ValueError as error:
            raise ImageError(
                f"Expected an image that converts to {MODES[self.channels]}, got the mode "
                f"{image.mode} in {self.files.root}: {name}."
            ) from error
        if self.image_size is None and size != self.native_size:
            raise ValueError(
                "Expected images of one size without 'image_size', got "
                f"{self.native_size} in {self.native_name} and {size} in {name} of "
                f"{self.files.root}. Give 'image_size'."
            )
        return pixels


class LazySamples(TensorSamples):
    """Samples too large to hold: files that are decoded batch by batch.

    Args:
        reader: Reads the files.
        names: Their names.
        labels: (N,) int64.
        horizontal_flip: See :class:`~lightning_gan.data.base.TensorSamples`.
    """

    def __init__(
        self, reader: ImageReader, names: Sequence[str], labels: Tensor, horizontal_flip: bool
    ) -> None:
        super().__init__(torch.empty(len(names), 0), labels, horizontal_flip)
        self.reader = reader
        self.names = list(names)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self.reader.shape

    @property
    def originals(self) -> int:
        """Number of files; their indices come first."""
        return len(self.names)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the files' content and of the shape in which they are read."""
        digest = hashlib.sha256(str(self.sample_shape).encode())
        for name in self.names:
            digest.update(hashlib.sha256(self.reader.files.read(name)).digest())
        return digest.hexdigest()

    def resized(self, side: int) -> "LazySamples":
        """Return the same images at a lower resolution, of which no more is decoded than needed.

        Args:
            side: New height and width, at most that of the images, which are square.
        """
        if self.sample_shape[1:] == (side, side):
            return self
        return LazySamples(self.reader.resized(side), self.names, self.labels, self.horizontal_flip)

    def __getitem__(self, index: Tensor) -> Samples:
        """Return the samples and labels at the indices (B,)."""
        count = len(self.names)
        images = torch.stack([self.reader.read(self.names[i % count]) for i in index.tolist()])
        batch = TensorSamples(images, self.labels[index % count], self.horizontal_flip)
        positions = torch.arange(len(index))
        return batch[torch.where(index >= count, positions + len(index), positions)]


class ImageFolder(GANDataModule):
    """Images from a folder or from a zip archive, which is never unpacked.

    A folder around everything is skipped, even if it is that of the only class. Folders named
    ``train`` and ``test`` (or ``val``, ``valid``, ``validation``) are splits; the folders below are
    classes in alphabetical order.
    Without folders the labels are 0 and there are no classes.

    Args:
        root: Folder or zip archive.
        image_size: Side, or (H, W), to which images are resized and cropped about the centre.
            None keeps the size that all must then have in common.
        channels: 1, 3 or 4, to which images are converted. None takes the first image's.
        horizontal_flip: Whether mirror images are added to the training set.
        skip_unreadable: Whether broken files are left out, with a warning, instead of refused.
        memory_limit_gb: Above this size images are not held in memory but decoded batch by batch;
            then ``num_workers`` pays.
        batch_size: See :class:`~lightning_gan.data.base.GANDataModule`.
        num_workers: Likewise.
        seed: Likewise.

    Attributes:
        classes: Names of the classes.

    Raises:
        ValueError: If ``image_size`` or ``channels`` is out of range.
    """

    def __init__(
        self,
        root: str | Path,
        image_size: int | tuple[int, int] | None = None,
        channels: int | None = None,
        horizontal_flip: bool = False,
        skip_unreadable: bool = False,
        memory_limit_gb: float = 4.0,
        batch_size: int = 64,
        num_workers: int = 0,
        seed: int | None = None,
    ) -> None:
        super().__init__(batch_size, num_workers, seed)
        size = (image_size, image_size) if isinstance(image_size, int) else image_size
        if size is not None and min(size) < 1:
            raise ValueError(f"Expected 'image_size' to be positive, got {image_size}.")
        if channels is not None and channels not in MODES:
            raise ValueError(f"Expected 'channels' to be one of {list(MODES)}, got {channels}.")
        self.root = Path(root)
        self.image_size = None if size is None else (size[0], size[1])
        self.channels = channels
        self.horizontal_flip = horizontal_flip
        self.skip_unreadable = skip_unreadable
        self.memory_limit_gb = memory_limit_gb
        self.classes: list[str] = []

    def load(self) -> None:
        """Sort the files into splits and classes and decode them.

        Raises:
            FileNotFoundError: If there is nothing at ``root``.
            ValueError: If there are no images, an image cannot be used, or only some have classes.
        """
        files = image_files(self.root)
        splits = _splits(files.names)
        used = splits["train"] | splits["test"]
        self.classes = sorted({*used.values()} - {""})
        self.num_classes = len(self.classes) or None
        if self.classes and "" in used.values():
            stray = next(name for name, folder in used.items() if not folder)
            raise ValueError(
                f"Expected all images in folders of their classes, or none, got {stray} of "
                f"{self.root} outside."
            )
        reader = ImageReader(files, used, self.image_size, self.channels)
        self.train_set = self._samples(reader, splits["train"], self.horizontal_flip)
        self.test_set = self._samples(reader, splits["test"]) if splits["test"] else None

    def samples_of(self, files: ImageFiles) -> TensorSamples:
        """Return all of some files as one set without classes."""
        reader = ImageReader(files, files.names, self.image_size, self.channels)
        return self._samples(reader, dict.fromkeys(files.names, ""))

    def _samples(
        self, reader: ImageReader, classes: dict[str, str], horizontal_flip: bool = False
    ) -> TensorSamples:
        names = list(classes)
        labels = torch.tensor([self.classes.index(k) if k else 0 for k in classes.values()])
        lazy = len(names) * torch.Size(reader.shape).numel() > self.memory_limit_gb * 1e9
        if lazy and not self.skip_unreadable:
            return LazySamples(reader, names, labels, horizontal_flip)
        images = torch.empty(0 if lazy else len(names), *reader.shape, dtype=torch.uint8)
        readable = self._decode_all(reader, names, images)
        self._report([name for name, ok in zip(names, readable, strict=True) if not ok])
        if not any(readable):
            raise ImageError(
                f"Expected readable images, got {len(names)} unreadable ones of {self.root}, "
                f"first {names[0]}."
            )
        kept = torch.tensor(readable)
        if lazy:
            return LazySamples(reader, _kept(names, readable), labels[kept], horizontal_flip)
        whole = images if bool(kept.all()) else images[kept]
        return TensorSamples(whole, labels[kept], horizontal_flip)

    def _decode_all(self, reader: ImageReader, names: list[str], images: Tensor) -> list[bool]:
        """Fill ``images``; return which could be read."""

        def decode(start: int) -> list[bool]:
            stop = min(start + IMAGES_PER_TASK, len(names))
            return [self._decode(reader, names[i], images, i) for i in range(start, stop)]

        with ThreadPoolExecutor(8) as pool:  # decoders release the interpreter's lock
            tasks = pool.map(decode, range(0, len(names), IMAGES_PER_TASK))
            return list(chain.from_iterable(tasks))

    def _decode(self, reader: ImageReader, name: str, images: Tensor, i: int) -> bool:
        """Put an image in its place; return whether it could be read."""
        try:
            image = reader.read(name)
        except ImageError:
            if not self.skip_unreadable:
                raise
            return False
        if len(images):
            images[i] = image
        return True

    def _report(self, skipped: list[str]) -> None:
        if skipped:
            rank_zero_warn(
                f"{len(skipped)} unreadable images of {self.root} are left out, first {skipped[0]}."
            )


def image_set(
    root: str | Path, image_size: int | None = None, channels: int | None = None
) -> TensorSamples:
    """Return all images of a folder or of a zip archive as one set, whatever its folders mean.

    Args:
        root: Folder or zip archive.
        image_size: See :class:`ImageFolder`.
        channels: Likewise.

    Raises:
        FileNotFoundError: If there is nothing at ``root``.
        ValueError: If there are no images, or one cannot be used.
    """
    folder = ImageFolder(root, image_size, channels)
    return folder.samples_of(image_files(folder.root))


def _kept(names: Iterable[str], readable: Iterable[bool]) -> list[str]:
    return list(compress(names, readable))


def _splits(names: list[str]) -> dict[str, dict[str, str]]:
    """Return for both splits the class of each name, '' where there are no classes."""
    parts = {name: tuple(name.split("/")) for name in names}
    while len({path[0] for path in parts.values()}) == 1 and all(
        len(path) > 1 for path in parts.values()
    ):
        parts = {name: path[1:] for name, path in parts.items()}
    tops = {path[0].lower() for path in parts.values() if len(path) > 1}
    if not tops & set(TRAIN):
        return {"train": {n: p[0] if len(p) > 1 else "" for n, p in parts.items()}, "test": {}}
    held_out = next((name for name in HELD_OUT if name in tops), None)
    splits: dict[str, dict[str, str]] = {"train": {}, "test": {}}
    for name, (top, *rest) in parts.items():
        split = "train" if top.lower() in TRAIN else "test" if top.lower() == held_out else None
        if split and rest:
            splits[split][name] = rest[0] if len(rest) > 1 else ""
    return splits
