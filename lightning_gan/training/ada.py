"""Random changes of a share of the images that the discriminator sees, set or adapted."""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Literal, get_args

import torch
from torch import Tensor

from lightning_gan.functional.warping import affine_warp, color_transform, cutout
from lightning_gan.training.augmentation import ImageAugmentation
from lightning_gan.training.distributed import average
from lightning_gan.training.schedules import Schedule, check_range, value_at

Transform = Literal["blit", "geometry", "color", "noise", "cutout"]

_TRANSFORMS = get_args(Transform)
_SHIFT = 0.125  # of the side: the bound of whole shifts and the deviation of others
_SCALE, _CONTRAST, _SATURATION = 0.2, 0.5, 1.0  # deviations of the logarithms to base 2
_BRIGHTNESS, _NOISE, _CUT = 0.2, 0.1, 0.5


class _Pipeline(ImageAugmentation):
    """The transformations of :class:`AugmentationPipeline`, with a probability from elsewhere."""

    def __init__(
        self, transforms: Sequence[Transform], multipliers: Mapping[str, float] | None
    ) -> None:
        super().__init__()
        if not transforms or not set(transforms) <= set(_TRANSFORMS):
            names = ", ".join(map(repr, _TRANSFORMS))
            raise ValueError(f"Expected 'transforms' to be a list of {names}, got {transforms!r}.")
        multipliers = multipliers or {}
        if not set(multipliers) <= set(transforms):
            raise ValueError(
                f"Expected 'multipliers' of the 'transforms' {transforms!r}, got {multipliers!r}."
            )
        for name, multiplier in multipliers.items():
            check_range(f"multipliers[{name}]", multiplier, 0, 1)
        self.multipliers = {name: multipliers.get(name, 1.0) for name in transforms}

    @abstractmethod
    def probability(self, images: int) -> float:
        """Return p after a number of images, for the log; may wait for the device."""

    @abstractmethod
    def _p(self, images: int) -> float | Tensor:
        """Return p without waiting for the device."""

    def scheduled(self, images: int) -> dict[str, float]:
        """Return p."""
        return {"augmentation_p": self.probability(images)}

    def augment(self, samples: Tensor, images: int) -> Tensor:
        """Change images, (N, C, H, W), in the order of the class's list."""
        channels = samples.shape[1]
        if "color" in self.multipliers and channels not in (1, 3):
            raise ValueError(
                f"Expected 'samples' of {type(self).__name__} to have 1 or 3 channels for 'color', "
                f"got {channels}."
            )
        p = self._p(images)
        if not isinstance(p, Tensor) and p == 0:
            return samples
        of = {name: multiplier * p for name, multiplier in self.multipliers.items()}
        warps = []
        if "blit" in of:
            warps.append(_blits(samples, of["blit"]))
        if "geometry" in of:
            warps.append(_motions(samples, of["geometry"]))
        if warps:
            samples = _where_changed(samples, affine_warp, _product(*warps))
        if "color" in of:
            samples = _where_changed(samples, color_transform, _colors(samples, of["color"]))
        if "noise" in of:
            samples = _add_noise(samples, of["noise"])
        return _cut(samples, of["cutout"]) if "cutout" in of else samples


class AugmentationPipeline(_Pipeline):
    r"""Change images at random, each transformation of each image with probability p.

    A generator that trains against a discriminator behind it still learns the data themselves, as
    long as p stays below about 0.8: then most of what is seen of an image is what it is.

    - ``blit``: mirror left to right in half of the cases; turn by 0, 90, 180 or 270 degrees; move
      by a whole number of pixels, up to an eighth of the side.
    - ``geometry``: scale by :math:`2^{0.2\,\epsilon}`; turn by any angle; stretch x by
      :math:`2^{0.2\,\epsilon}` and shrink y as much; turn by any angle again, so that one turn or
      both happen with probability p; move by :math:`0.125\,\epsilon` of the side.
    - ``color``: add :math:`0.2\,\epsilon`; multiply by :math:`2^{0.5\,\epsilon}`; mirror at the
      plane of no brightness in half of the cases; turn around the grey axis by any angle; multiply
      the distance to that axis by :math:`2^{\epsilon}`. The last two do nothing to grey images,
      and the mirroring turns them into their negatives.
    - ``noise``: add normal noise of standard deviation :math:`|0.1\,\epsilon|`.
    - ``cutout``: set a rectangle of half the sides to zero, with its centre anywhere.

    Each :math:`\epsilon` is normal and drawn for each image, and so is what "any" and "or" leave
    open. Blits and geometry make one warp. The order is that of this list.

    Args:
        p: Probability, in [0, 1], or its schedule.
        transforms: What is done. The default is what the paper found best, its "bgc".
        multipliers: By which p is multiplied for some of the transforms, in [0, 1]. R3GAN's authors
            have 0.5 for ``color``, together with ``cutout``.

    Raises:
        ValueError: If an argument is out of range or unknown; in use, if samples are not images, or
            have other than 1 or 3 channels for ``color``.

    Reference:
        Karras et al., "Training Generative Adversarial Networks with Limited Data", NeurIPS 2020,
        https://arxiv.org/abs/2006.06676, appendix B.

    Note:
        Unlike the paper, warps interpolate bilinearly, without low-pass filters around them, so
        that enlarged images are a little softer and shrunken ones alias a little; and image-space
        filters are left out. Outside of an image is its mirror image, as in the authors' code.
    """

    def __init__(
        self,
        p: float | Schedule,
        transforms: Sequence[Transform] = ("blit", "geometry", "color"),
        multipliers: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(transforms, multipliers)
        check_range("p", p, 0, 1)
        self.p = p

    def probability(self, images: int) -> float:
        """Return p after a number of images."""
        return value_at(self.p, images)

    def _p(self, images: int) -> float:
        return self.probability(images)


class ADA(_Pipeline):
    r"""Change images with a probability that rises while the discriminator overfits.

    .. math:: r_t = \mathbb{E}[\operatorname{sign} D(x)]

    of augmented real samples is 0 where the discriminator tells nothing, and 1 where it knows each
    of them by heart. Above the target p rises, below it p falls, by as much as takes it from 0 to 1
    in ``images`` images. p starts at 0.

    r_t makes sense for losses whose logits change sign where real and generated samples are equally
    likely: not for Wasserstein and relativistic losses, nor for least squares with targets 0 and 1.

    Args:
        target: r_t that is aimed at.
        images: Real images, over all processes, in which p can go from 0 to 1.
        interval: Discriminator updates from one change of p to the next, over which r_t is taken.
        transforms: What is done; see :class:`AugmentationPipeline`.
        multipliers: Likewise.

    Raises:
        ValueError: As for :class:`AugmentationPipeline`, or if ``target`` is outside [-1, 1], or
            ``images`` or ``interval`` below 1.

    Reference:
        Karras et al., "Training Generative Adversarial Networks with Limited Data", NeurIPS 2020,
        https://arxiv.org/abs/2006.06676, section 3, eq. (1).
    """

    # Whole numbers, which `.to(torch.bfloat16)` leaves alone: p moves by less than its precision.
    risen: Tensor
    signs: Tensor
    seen: Tensor
    updates: Tensor

    def __init__(
        self,
        target: float = 0.6,
        images: float = 500_000,
        interval: int = 4,
        transforms: Sequence[Transform] = ("blit", "geometry", "color"),
        multipliers: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(transforms, multipliers)
        check_range("target", target, -1, 1)
        if not 1 <= images < math.inf:
            raise ValueError(f"Expected 'images' to be at least 1 and finite, got {images}.")
        if interval < 1:
            raise ValueError(f"Expected 'interval' to be at least 1, got {interval}.")
        self.target = target
        self.images = round(images)
        self.interval = interval
        for name in ("risen", "signs", "seen", "updates"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))

    def probability(self, images: int) -> float:
        """Return p as it is now; waits for the device."""
        return float(self._p(images))

    def _p(self, images: int) -> Tensor:
        return self.risen / self.images

    @torch.no_grad()
    def observe(self, real_logits: Tensor, images: int) -> None:
        """Take the signs of real samples' logits into account, and change p where it is due.

        The signs are averaged over all processes in every update, not only where p changes, so that
        all hold the same sums, and a checkpoint of one of them is exact for all.
        """
        mean = average(real_logits.sign().mean(dtype=torch.float32))
        self.signs += (mean * images).round().long()
        self.seen += images
        self.updates += 1
        due = self.updates >= self.interval  # stays on the device, as all here
        direction = (self.signs / self.seen - self.target).sign().long()
        self.risen.add_(due * direction * self.seen).clamp_(0, self.images)
        for running in (self.signs, self.seen, self.updates):
            running.mul_(~due)


def _where_changed(
    samples: Tensor, transform: Callable[[Tensor, Tensor], Tensor], matrices: Tensor
) -> Tensor:
    """Transform the samples whose matrix is not the identity; leave every bit of the others."""
    identity = torch.eye(*matrices.shape[1:], device=matrices.device)
    changed = (matrices != identity).flatten(start_dim=1).any(dim=1)
    return torch.where(changed.view(-1, 1, 1, 1), transform(samples, matrices), samples)


def _blits(samples: Tensor, p: float | Tensor) -> Tensor:
    """Draw where the pixels of mirrored, turned and shifted images come from, (N, 3, 3)."""
    n, height, width = len(samples), *samples.shape[2:]
    uniform = torch.rand(n, 4, device=samples.device)
    mirrored = _sometimes((2 * uniform[:, 0]).floor(), p)
    quarters = _sometimes((4 * uniform[:, 1]).floor(), p)
    x, y = (_SHIFT * _sometimes(2 * uniform[:, 2:] - 1, p)).unbind(dim=1)
    return _product(
        _scaling(1 - 2 * mirrored, torch.ones_like(mirrored)),
        _rotation(quarters * (math.pi / 2)).round(),
        _translation((x * width).round(), (y * height).round()),
    )


def _motions(samples: Tensor, p: float | Tensor) -> Tensor:
    """Draw where the pixels of scaled, turned, stretched and moved images come from, (N, 3, 3)."""
    n, height, width = len(samples), *samples.shape[2:]
    normal = torch.randn(n, 4, device=samples.device)
    angles = math.pi * (2 * torch.rand(2, n, device=samples.device) - 1)
    scale = torch.exp2(_SCALE * _sometimes(normal[:, 0], p))
    stretch = torch.exp2(_SCALE * _sometimes(normal[:, 1], p))
    p_each = 1 - (1 - p) ** 0.5  # of two, so that p is the probability of at least one
    before, after = (_rotation(_sometimes(angle, p_each)) for angle in angles)
    x, y = (_SHIFT * _sometimes(normal[:, 2:], p)).unbind(dim=1)
    placing = _translation(x * width, y * height)
    return _product(_scaling(scale, scale), before, _scaling(stretch, 1 / stretch), after, placing)


def _colors(samples: Tensor, p: float | Tensor) -> Tensor:
    """Draw maps of colours, (N, 3, 4)."""
    normal = torch.randn(3, len(samples), device=samples.device)
    uniform = torch.rand(2, len(samples), device=samples.device)
    brightness = _BRIGHTNESS * _sometimes(normal[0], p)
    contrast = torch.exp2(_CONTRAST * _sometimes(normal[1], p))
    along = contrast * (1 - 2 * _sometimes((2 * uniform[0]).floor(), p))
    across = contrast * torch.exp2(_SATURATION * _sometimes(normal[2], p))
    hue = _sometimes(math.pi * (2 * uniform[1] - 1), p)
    eye = torch.eye(3, device=samples.device)
    quarter = (eye.roll(1, dims=0) - eye.roll(1, dims=1)) / 3**0.5  # turn around the grey axis
    cos, sin, rest = across * hue.cos(), across * hue.sin(), along - across * hue.cos()
    # 1 / 3 is every entry of the projection on the grey axis.
    cos, sin, rest = (x.view(-1, 1, 1) for x in (cos, sin, rest))
    linear = cos * eye + sin * quarter + rest / 3
    offset = (along * brightness).view(-1, 1, 1).expand(-1, 3, -1)
    return torch.cat([linear, offset], dim=2)


def _add_noise(samples: Tensor, p: float | Tensor) -> Tensor:
    std = _NOISE * _sometimes(torch.randn(len(samples), device=samples.device).abs(), p)
    std = std.view(-1, 1, 1, 1)
    noise = torch.randn(samples.shape, device=samples.device)
    return torch.where(std > 0, samples + std * noise, samples)


def _cut(samples: Tensor, p: float | Tensor) -> Tensor:
    n, height, width = len(samples), *samples.shape[2:]
    x, y = torch.rand(2, n, device=samples.device)
    size = _CUT * _sometimes(torch.ones_like(x), p)
    centers = torch.stack([x * width, y * height], dim=1)
    return cutout(samples, centers, torch.stack([size * width, size * height], dim=1))


def _sometimes(values: Tensor, p: float | Tensor) -> Tensor:
    """Keep the values of each sample, (N, ...), with probability p; else put 0."""
    chosen = torch.rand(len(values), device=values.device) < p
    return values * chosen.view(-1, *(1,) * (values.dim() - 1))


def _scaling(x: Tensor, y: Tensor) -> Tensor:
    return torch.diag_embed(torch.stack([x, y, torch.ones_like(x)], dim=1))


def _rotation(angle: Tensor) -> Tensor:
    matrices = _scaling(angle.cos(), angle.cos())
    matrices[:, 0, 1], matrices[:, 1, 0] = -angle.sin(), angle.sin()
    return matrices


def _translation(x: Tensor, y: Tensor) -> Tensor:
    matrices = _scaling(torch.ones_like(x), torch.ones_like(x))
    matrices[:, 0, 2], matrices[:, 1, 2] = x, y
    return matrices


def _product(*matrices: Tensor) -> Tensor:
    """Multiply matrices without what autocast and TF32 would round."""
    return reduce(lambda a, b: (a[:, :, :, None] * b[:, None]).sum(dim=2), matrices)
