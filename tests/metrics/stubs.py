"""An extractor that is quick and counts, and images for it."""

from typing import Any

import torch
from torch import Tensor, nn

from lightning_gan.data import TensorSamples
from lightning_gan.extractors import Description, Extractor
from lightning_gan.metrics.real_samples import SetOfSamples

WIDTH, CLASSES = 4, 3


class Counting(Extractor):
    """Four features of (1, 4, 4) images and the logits of three classes.

    Args:
        published: Whether it passes for the published one.
        logits: Whether it gives any.
        seed: Of the weights.
        **identity: Resizing and layer.
    """

    num_classes: int | None = CLASSES

    def __init__(
        self, published: bool = False, logits: bool = True, seed: int = 0, **identity: Any
    ) -> None:
        super().__init__("counting", **identity)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.net = nn.Linear(16, WIDTH).double()  # rounds batches of any size alike
        self.published = published
        self.logits = logits
        self.num_classes = CLASSES if logits else None
        self.seen = 0
        self.requires_grad_(False)

    def describe(self, images: Tensor) -> Description:
        self.seen += len(images)
        features = self.net(images.flatten(1).double() / 255)
        return Description(features, 9 * features[:, :CLASSES] if self.logits else None)


def images(n: int, seed: int = 0, brightest: int = 255) -> Tensor:
    """Draw images (N, 1, 4, 4) uint8."""
    generator = torch.Generator().manual_seed(seed)
    shape = (n, 1, 4, 4)
    return torch.randint(0, brightest + 1, shape, dtype=torch.uint8, generator=generator)


def sample_set(
    n: int, seed: int = 0, count: int | None = None, ranks: tuple[int, int] = (1, 0)
) -> SetOfSamples:
    """Return images as those of a data module."""
    samples = TensorSamples(images(n, seed), torch.zeros(n, dtype=torch.int64))
    return SetOfSamples(samples, count, 16, ranks)
