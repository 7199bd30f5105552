"""Image files of a folder or of a zip archive, in one order everywhere, decoded with care."""

import io
import os
import zipfile
from abc import ABC, abstractmethod
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image
from torch import Tensor

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm"})
MAX_PIXELS = 64_000_000  # a bomb of a few kilobytes would otherwise take gigabytes
MAX_BYTES = 256_000_000
MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class ImageError(ValueError):
    """An image file cannot be used; the message names it."""


class ImageFiles(ABC):
    """Named image files.

    Args:
        root: Folder or archive.

    Attributes:
        names: Relative names with forward slashes, sorted, so that the order is the same on every
            rank and file system.

    Raises:
        ValueError: If there are none.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names = sorted(name for name in self._list() if _is_image(PurePosixPath(name)))
        if not self.names:
            raise ValueError(
                f"Expected 'root' to hold images ({', '.join(sorted(SUFFIXES))}), "
                f"got none in {root}."
            )

    @abstractmethod
    def _list(self) -> list[str]:
        """Return the relative names of all files."""

    @abstractmethod
    def size(self, name: str) -> int:
        """Return a file's number of bytes."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return a file's content."""

    def open(self, name: str) -> Image.Image:
        """Decode a file.

        Raises:
            ImageError: If it is unreadable, truncated or unreasonably large.
        """
        return self.open_reduced(name)[0]

    def open_reduced(
        self, name: str, side: int | None = None
    ) -> tuple[Image.Image, tuple[int, int], tuple[float, float]]:
        """Decode no more of a file than an image of a lower resolution needs.

        A JPEG file is decoded at a half, a quarter or an eighth of its size, others fully.

        Args:
            name: Name of the file.
            side: Pixels that are needed each way; None decodes all.

        Returns:
            The image, the file's own (H, W), and that in pixels of the image, which need not be
            whole numbers.

        Raises:
            ImageError: If it is unreadable, truncated or unreasonably large.
        """
        where = f"{self.root}: {name}"
        try:
            size = self.size(name)
            if size > MAX_BYTES:
                raise ImageError(
                    f"Expected files of at most {MAX_BYTES:,} bytes, got {size:,} in {where}."
                )
            image = Image.open(io.BytesIO(self.read(name)))
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(
                    f"Expected images of at most {MAX_PIXELS:,} pixels, got "
                    f"{image.width} x {image.height} in {where}."
                )
            native = (image.height, image.width)
            reduced = None if side is None else image.draft(None, (side, side))
            image.load()
        except ImageError:
            raise
        except Exception as error:  # decoders raise whatever they stumble over
            raise ImageError(f"Expected a readable image, got {error!r} for {where}.") from error
        if reduced is None:
            native = (image.height, image.width)
            return image, native, native
        _, (_, _, width, height) = reduced
        return image, native, (height, width)


class FolderFiles(ImageFiles):
    """The image files below a folder."""

    def _list(self) -> list[str]:
        # Not rglob, which leaves out linked folders on most Pythons.
        folders = os.walk(self.root, followlinks=True)
        paths = (Path(folder, name) for folder, _, names in folders for name in names)
        return [path.relative_to(self.root).as_posix() for path in paths]

    def size(self, name: str) -> int:
        """Return a file's number of bytes."""
        return (self.root / name).stat().st_size

    def read(self, name: str) -> bytes:
        """Return a file's content."""
        return (self.root / name).read_bytes()


class ZipFiles(ImageFiles):
    """The image files in a zip archive, read in place: nothing is ever written to the disk."""

    def __init__(self, root: Path) -> None:
        self._archive: tuple[int, zipfile.ZipFile] | None = None
        super().__init__(root)

    def _open_archive(self) -> zipfile.ZipFile:
        # One handle a process: a shared file position would mix up what workers read.
        if self._archive is None or self._archive[0] != os.getpid():
            self._archive = os.getpid(), zipfile.ZipFile(self.root)
        return self._archive[1]

    def _list(self) -> list[str]:
        return [info.filename for info in self._open_archive().infolist() if not info.is_dir()]

    def size(self, name: str) -> int:
        """Return the number of bytes that a file claims to have."""
        return self._open_archive().getinfo(name).file_size

    def read(self, name: str) -> bytes:
        """Return a file's content."""
        with self._open_archive().open(name) as file:
            return file.read(self.size(name))  # no more than claimed, however much is packed

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_archive": None}


def _is_image(path: PurePosixPath) -> bool:
    """Tell by the name, leaving out what macOS and notebooks put beside images."""
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in SUFFIXES and not hidden


def image_files(root: Path) -> ImageFiles:
    """Return the image files of a folder or of a zip archive.

    Raises:
        FileNotFoundError: If there is nothing at ``root``.
        ValueError: If it is neither a folder nor a zip archive, or holds no images.
    """
    if root.is_dir():
        return FolderFiles(root)
    if not root.exists():
        raise FileNotFoundError(
            f"Expected 'root' to be a folder or a zip archive, got {root}, which does not exist."
        )
    if not zipfile.is_zipfile(root):
        raise ValueError(
            f"Expected 'root' to be a folder or a zip archive, got {root}, which is neither."
        )
    return ZipFiles(root)


def channels_of(mode: str) -> int:
    """Return the number of channels that an image of a PIL mode is taken to have."""
    if mode in ("1", "L", "F") or mode.startswith("I"):
        return 1
    return 4 if mode.endswith(("A", "a")) else 3


def to_tensor(
    image: Image.Image,
    channels: int,
    size: tuple[int, int] | None = None,
    extent: tuple[float, float] | None = None,
) -> Tensor:
    """Turn a decoded image into (``channels``, H, W) uint8, of ``size`` (H, W) if given."""
    if image.mode.startswith("I"):  # 16 bits a pixel, which PIL would clip at 255
        image = Image.fromarray((np.asarray(image) // 257).clip(0, 255).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode != MODES[channels]:
        image = image.convert(MODES[channels])
    if size is not None:
        image = cover(image, size, extent)
    pixels = np.array(image).reshape(image.height, image.width, channels)
    return torch.from_numpy(pixels).permute(2, 0, 1)


def cover(
    image: Image.Image, size: tuple[int, int], extent: tuple[float, float] | None = None
) -> Image.Image:
    """Resize so that the image just covers (H, W), and cut its centre out of it.

    Args:
        image: Decoded image.
        size: (H, W).
        extent: (H, W) that a file decoded at a lower resolution has in pixels of the image. Given,
            areas are averaged, where bilinear weights would reach beyond them.
    """
    height, width = size
    rows, columns = (image.height, image.width) if extent is None else extent
    scale = max(height / rows, width / columns)
    left = max(0.0, (columns - width / scale) / 2)
    top = max(0.0, (rows - height / scale) / 2)
    # In one step: all of a very long image, enlarged, would not fit into memory.
    box = (left, top, columns - left, rows - top)
    average = extent is not None and scale <= 1
    method = Image.Resampling.BOX if average else Image.Resampling.BILINEAR
    return image.resize((width, height), method, box)
