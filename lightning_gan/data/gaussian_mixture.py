"""Mixtures of two-dimensional Gaussians, in which every mode can be counted."""

import math
from typing import Literal

import torch
from torch import Tensor

from lightning_gan.data.base import GANDataModule, TensorSamples

NUM_TEST_SAMPLES = 10_000
STDS = {"ring": 0.01, "grid": 0.05}


class GaussianMixture(GANDataModule):
    """Points of a ring of Gaussians or of a square grid of them; labels are the modes.

    The points are drawn once: the same set in every run, process and resume.

    Args:
        layout: ``ring`` is 8 modes on the unit circle, ``grid`` 25 on {-4, -2, 0, 2, 4} squared.
        std: Standard deviation of a mode; None takes 0.01 on the ring and 0.05 on the grid.
        num_samples: Size of the training set.
        batch_size: See :class:`~lightning_gan.data.base.GANDataModule`.
        num_workers: Likewise.
        seed: Likewise.

    Attributes:
        centers: Means of the modes, (K, 2).
        std: Standard deviation of each.

    Raises:
        ValueError: If ``layout`` is unknown, ``std`` negative or ``num_samples`` below 1.

    Reference:
        Lin et al., "PacGAN: The power of two samples in generative adversarial networks",
        NeurIPS 2018, https://arxiv.org/abs/1712.04086, section 4.1 (values of the authors' code).
    """

    extractor = "points"

    def __init__(
        self,
        layout: Literal["ring", "grid"] = "ring",
        std: float | None = None,
        num_samples: int = 100_000,
        batch_size: int = 256,
        num_workers: int = 0,
        seed: int | None = None,
    ) -> None:
        super().__init__(batch_size, num_workers, seed)
        if layout not in STDS:
            raise ValueError(f"Expected 'layout' to be one of {list(STDS)}, got {layout!r}.")
        if std is not None and std < 0:
            raise ValueError(f"Expected 'std' to be non-negative, got {std}.")
        if num_samples < 1:
            raise ValueError(f"Expected 'num_samples' to be at least 1, got {num_samples}.")
        self.centers = _ring() if layout == "ring" else _grid()
        self.std = std if std is not None else STDS[layout]
        self.num_samples = num_samples
        self.num_classes = len(self.centers)

    def load(self) -> None:
        """Draw both sets."""
        generator = torch.Generator().manual_seed(0)
        self.train_set = self._draw(self.num_samples, generator)
        self.test_set = self._draw(NUM_TEST_SAMPLES, generator)

    def _draw(self, n: int, generator: torch.Generator) -> TensorSamples:
        labels = torch.randint(len(self.centers), (n,), generator=generator)
        noise = torch.randn(n, 2, generator=generator)
        return TensorSamples(self.centers[labels] + self.std * noise, labels)


def _ring() -> Tensor:
    # Not linspace from 0 to 2 pi, whose two ends are one centre: published rings of 8 had 7 modes.
    angles = torch.arange(8) * (2 * math.pi / 8)
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def _grid() -> Tensor:
    side = torch.arange(-4.0, 5.0, 2.0)
    return torch.cartesian_prod(side, side)
