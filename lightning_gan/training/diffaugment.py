"""Small random changes of every image that the discriminator sees, of a fixed strength."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from lightning_gan.functional.warping import cutout, translate
from lightning_gan.training.augmentation import ImageAugmentation

Policy = Literal["color", "translation", "cutout"]

_POLICIES = get_args(Policy)


class DiffAugment(ImageAugmentation):
    """Change brightness, saturation and contrast, move the image, and cut a square out of it.

    Every image is changed, each in a way of its own, from the first update to the last. What it
    does to real and generated images alike the generator need not imitate.

    - ``color``: add U(-0.5, 0.5); multiply the distance to each pixel's mean over the channels by
      U(0, 2); multiply the distance to the image's mean by U(0.5, 1.5). The second does nothing to
      images of one channel.
    - ``translation``: move by a whole number of pixels, uniform up to an eighth of the side in both
      directions; zeros enter.
    - ``cutout``: set a square of half the side to zero, whose centre is uniform over the image, so
      that the square may stand out over the edge.

    Args:
        policy: What is done, in this order.

    Raises:
        ValueError: If a policy is unknown.

    Reference:
        Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training", NeurIPS 2020,
        https://arxiv.org/abs/2006.10738, section 3.2; the ranges, and that shares of a side are
        rounded with halves up, are those of the authors' code.
    """

    def __init__(self, policy: Sequence[Policy] = ("color", "translation", "cutout")) -> None:
        super().__init__()
        if not set(policy) <= set(_POLICIES):
            names = ", ".join(map(repr, _POLICIES))
            raise ValueError(f"Expected 'policy' to be a list of {names}, got {policy!r}.")
        self.policy = tuple(policy)

    def augment(self, samples: Tensor, images: int) -> Tensor:
        """Change images, (N, C, H, W) with any number of channels."""
        changes = {"color": _recolor, "translation": _move, "cutout": _cut}
        for name in self.policy:
            samples = changes[name](samples)
        return samples


def _recolor(samples: Tensor) -> Tensor:
    shape = (3, len(samples), 1, 1, 1)
    brightness, saturation, contrast = torch.rand(shape, device=samples.device).unbind()
    samples = samples + (brightness - 0.5)
    grey = samples.mean(dim=1, keepdim=True)
    samples = grey + 2 * saturation * (samples - grey)
    mean = samples.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (contrast + 0.5) * (samples - mean)


def _move(samples: Tensor) -> Tensor:
    shifts = [
        _integers(samples, -most, most)
        for most in (_share(side, 1 / 8) for side in (samples.shape[3], samples.shape[2]))
    ]
    return translate(samples, torch.stack(shifts, dim=1))


def _cut(samples: Tensor) -> Tensor:
    centers, sizes = [], []
    for side in (samples.shape[3], samples.shape[2]):
        size = _share(side, 1 / 2)
        odd = size % 2  # its centre is then that of a pixel, else an edge between two
        centers.append(_integers(samples, 0, side - odd) + odd / 2)
        sizes.append(torch.full_like(centers[-1], size))
    return cutout(samples, torch.stack(centers, dim=1), torch.stack(sizes, dim=1))


def _share(side: int, share: float) -> int:
    return int(side * share + 0.5)


def _integers(samples: Tensor, first: int, last: int) -> Tensor:
    """Draw a whole number for each sample, (N,), both ends included."""
    return torch.randint(first, last + 1, (len(samples),), device=samples.device)
