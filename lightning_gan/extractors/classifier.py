"""A small classifier of the user's own images, as an extractor of features within their domain."""

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from typing_extensions import Self

from lightning_gan.extractors.base import Description, Extractor
from lightning_gan.training.sealed_file import damage, matches_digest, opened, write_sealed

NUM_FEATURES = 64
SMALLEST_SIDE = 4

KIND, VERSION = "lightning_gan domain classifier", 1
HEAD_SIZE = 4096  # bytes, where the kind is found: torch's archive begins with it, uncompressed


class ClassifierNetwork(nn.Module):
    """Convolutions that halve the image, one layer of features and a linear head.

    Args:
        image_channels: Channels of the images.
        image_size: Their (H, W).
        num_classes: Number of classes.
        widths: Channels of each stage.
    """

    def __init__(
        self,
        image_channels: int,
        image_size: tuple[int, int],
        num_classes: int,
        widths: Sequence[int],
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential()
        for narrow, wide in pairwise([image_channels, *widths]):
            convolution = nn.Conv2d(narrow, wide, 3, padding=1, bias=False)
            self.layers.extend([convolution, nn.MaxPool2d(2), nn.BatchNorm2d(wide), nn.ReLU()])
        area = math.prod(side // 2 ** len(widths) for side in image_size)
        linear = nn.Linear(widths[-1] * area, NUM_FEATURES)
        self.layers.extend([nn.Flatten(), linear, nn.ReLU()])
        self.head = nn.Linear(NUM_FEATURES, num_classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (N, C, H, W) in [-1, 1] to features (N, 64) and logits (N, K)."""
        features = self.layers(x)
        return features, self.head(features)


class DomainClassifier(Extractor):
    """Describe images by the last features of a classifier of the same kind of images.

    :func:`~lightning_gan.extractors.fitting.fit_classifier` trains it in a minute or two. It knows
    what matters in the user's own data, down to 8x8 pixels. Its figures compare only with
    others of the same file, whose digest tells it apart.

    Args:
        image_channels: Channels of the images.
        image_size: (H, W), to which images of another size are brought.
        num_classes: Number of classes.
        widths: Channels of each stage, after which the image is half as large. None takes as many
            stages as lead to about 4x4.
        name: Under which figures are reported: ``fd/<name>``.

    Attributes:
        accuracy: Share of held-out images that it classified rightly, or None before training.
        fingerprint: SHA-256 of the training images' content, or None before training.

    Raises:
        ValueError: If a number is out of range, or there are more stages than the size allows.

    Example:
        >>> images = torch.zeros(5, 1, 28, 28, dtype=torch.uint8)
        >>> features, logits = DomainClassifier(1, (28, 28), num_classes=10)(images)
        >>> features.shape, logits.shape
        (torch.Size([5, 64]), torch.Size([5, 10]))
    """

    def __init__(
        self,
        image_channels: int,
        image_size: tuple[int, int],
        num_classes: int,
        widths: Sequence[int] | None = None,
        name: str = "classifier",
    ) -> None:
        height, width = image_size
        super().__init__(name, f"bilinear, antialiased where it shrinks, to {height}x{width}")
        if image_channels < 1:
            raise ValueError(f"Expected 'image_channels' to be at least 1, got {image_channels}.")
        if min(image_size) < SMALLEST_SIDE:
            raise ValueError(
                f"Expected 'image_size' to be at least {SMALLEST_SIDE}, got {height}x{width}."
            )
        if num_classes < 2:
            raise ValueError(f"Expected 'num_classes' to be at least 2, got {num_classes}.")
        widths = tuple(_widths(min(image_size)) if widths is None else widths)
        if not widths or min(widths) < 1 or 2 ** len(widths) > min(image_size):
            raise ValueError(
                "Expected 'widths' to be positive and as few as the image can be halved, "
                f"got {widths} for {height}x{width}."
            )
        self.image_channels = image_channels
        self.image_size = (height, width)
        self.num_classes = num_classes
        self.widths = widths
        self.accuracy: float | None = None
        self.fingerprint: str | None = None
        self.network = ClassifierNetwork(image_channels, self.image_size, num_classes, widths)
        self.network.to(memory_format=torch.channels_last)
        self.requires_grad_(False)

    def describe(self, images: Tensor) -> Description:
        """Describe images.

        Args:
            images: (N, C, H, W) uint8, of any size.

        Raises:
            ValueError: If they have another number of channels.
        """
        return Description(*self.network(self.scaled(images)))

    def scaled(self, images: Tensor) -> Tensor:
        """Map bytes (N, C, H, W) to [-1, 1] at the network's own size.

        Raises:
            ValueError: If they have another number of channels.
        """
        if images.shape[1] != self.image_channels:
            raise ValueError(
                f"Expected 'images' to have {self.image_channels} channels, as the extractor "
                f"'{self.name}' was trained on, got {images.shape[1]}."
            )
        x = images.float().div_(127.5).sub_(1)
        if x.shape[2:] != self.image_size:
            x = interpolate(x, self.image_size, mode="bilinear", antialias=True)
        return x

    def save(self, path: Path) -> None:
        """Write all that :meth:`load` needs, completely or not at all.

        Raises:
            OSError: If the file system refuses.
        """
        content = {
            "kind": KIND,
            "version": VERSION,
            "arguments": {
                "image_channels": self.image_channels,
                "image_size": self.image_size,
                "num_classes": self.num_classes,
                "widths": self.widths,
                "name": self.name,
            },
            "accuracy": self.accuracy,
            "fingerprint": self.fingerprint,
            "state_dict": {name: x.cpu() for name, x in self.network.state_dict().items()},
        }
        write_sealed(content, path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what :meth:`save` wrote, without running any code that the file contains.

        Raises:
            CheckpointError: If the file is missing, damaged, of a newer version or another's.
        """
        content = _content(path)
        # Weights are drawn only to be replaced, and not at the cost of the run's random numbers.
        with torch.random.fork_rng(devices=[]):
            classifier = cls(**content["arguments"])
        classifier.network.load_state_dict(content["state_dict"])
        classifier.accuracy = content["accuracy"]
        classifier.fingerprint = content["fingerprint"]
        return classifier

    @staticmethod
    def is_ours(path: Path) -> bool:
        """Tell whether :meth:`save` wrote a file, intact or not, from its first bytes."""
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return KIND.encode() in file.read(HEAD_SIZE)


def _widths(side: int) -> list[int]:
    """Return the channels of as many stages as lead to about 4x4, fewer where maps are large."""
    stages = max(2, round(math.log2(side / 4)))
    return [max(16, 64 >> max(0, stages - 2 - i)) for i in range(stages)]


def _content(path: Path) -> dict[str, Any]:
    """Return what a file of ours holds."""
    with opened(path) as file:
        sealed = matches_digest(path, file)
        file.seek(0)
        if not sealed or KIND.encode() not in file.read(HEAD_SIZE):
            raise damage(path, "it is no extractor that lightning-gan fit-extractor wrote")
        file.seek(0)
        content: dict[str, Any] = torch.load(file, "cpu", weights_only=True)
    if content["version"] != VERSION:
        raise damage(path, f"it has version {content['version']}, and this program {VERSION}")
    return content
