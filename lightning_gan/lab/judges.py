"""What a comparison counts in generated samples, and what it keeps of them to look at."""

import base64
import io
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from lightning.pytorch.utilities import rank_zero_warn
from matplotlib.axes import Axes
from matplotlib.image import imread
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from lightning_gan.data import GANDataModule, GaussianMixture, StackedMNIST
from lightning_gan.extractors import (
    DomainClassifier,
    Extractor,
    StackedClassifier,
    cache_folder,
    fit_classifier,
    make_extractor,
)
from lightning_gan.functional import mixture_coverage, to_uint8
from lightning_gan.gans import AdversarialModule
from lightning_gan.metrics import ClassCoverage
from lightning_gan.training import CheckpointError

CHUNK = 4096  # samples drawn and counted at a time
KEPT_POINTS = 500
KEPT_IMAGES, IMAGES_PER_ROW = 32, 8
RECIPE = 1  # of the digits' classifier: raise it with whatever changes the result of its training
WIDTHS = (16, 32, 64)

Figures = dict[str, float | None]  # None where a figure is undefined


class Count(NamedTuple):
    """How one figure is shown.

    Attributes:
        label: Heading, with the unit.
        digits: Decimals.
        higher_is_better: Whether more of it is better.
        ceiling: What the data themselves reach; more of it is no better.
    """

    label: str
    digits: int
    higher_is_better: bool
    ceiling: float = math.inf

    def gain(self, value: float, other: float) -> float:
        """Return by how much a value is better than another; below 0 if it is worse."""
        difference = min(value, self.ceiling) - min(other, self.ceiling)
        return difference if self.higher_is_better else -difference


class Judge(ABC):
    """Count something in samples, and keep a few.

    Args:
        num_samples: Number of samples that are counted.

    Attributes:
        counts: The figures by name, the most telling one first. One is ``reverse_kl``, by which
            the best of several points of a run is chosen.

    Raises:
        ValueError: If ``num_samples`` is below 1.
    """

    counts: ClassVar[dict[str, Count]]

    def __init__(self, num_samples: int) -> None:
        if num_samples < 1:
            raise ValueError(f"Expected 'num_samples' to be at least 1, got {num_samples}.")
        self.num_samples = num_samples

    @abstractmethod
    def check(self, data: GANDataModule) -> None:
        """Refuse data of which this cannot judge samples.

        Raises:
            TypeError: Naming the data.
        """

    @abstractmethod
    def count(self, parts: Iterable[Tensor], data: GANDataModule) -> Figures:
        """Count.

        Args:
            parts: Samples (N, ...), which come in parts.
            data: What they should be like.
        """

    @abstractmethod
    def keep(self, model: AdversarialModule, seed: int) -> Any:
        """Return what a row of results holds of a model's samples; see :meth:`of_model`."""

    @abstractmethod
    def show(self, axes: Axes, kept: Any, data: GANDataModule) -> None:
        """Draw what :meth:`keep` returned."""

    def note(self, data: GANDataModule) -> str:
        """Say how it was counted."""
        return f"{self.num_samples:,} samples"

    def of_nothing(self) -> Figures:
        """Return the worst figures, those of a training that diverged."""
        return {n: 0.0 if count.higher_is_better else None for n, count in self.counts.items()}

    def of_model(self, model: AdversarialModule, data: GANDataModule, seed: int) -> Figures:
        """Count in samples of a model, of its averaged generator if it has one.

        Args:
            model: A trained model.
            data: What it was trained on.
            seed: Of the latents, the same ones each time.
        """
        return self.count(_drawn(model, self.num_samples, seed), data)

    def of_both(
        self, model: AdversarialModule, data: GANDataModule, seed: int
    ) -> dict[str, Figures]:
        """Count in samples of the averaged generator, if there is one, and of the last one.

        Returns:
            Figures under ``average`` and ``last``, of the same latents.
        """
        found = {} if model.ema_generator is None else {"average": self.of_model(model, data, seed)}
        with without_average(model):
            return {**found, "last": self.of_model(model, data, seed)}

    def of_data(self, data: GANDataModule) -> Figures:
        """Count in as many real samples, the best that can be reached; ``data`` must be set up."""
        index = torch.arange(min(self.num_samples, len(data.train_set)))
        return self.count((data.train_set[part][0] for part in index.split(CHUNK)), data)


class MixtureJudge(Judge):
    """Count the modes of a mixture of Gaussians that samples cover.

    The figures are those of :func:`~lightning_gan.functional.mixture_coverage`.

    Args:
        num_samples: Number of samples that are counted; 2,500 as in VEEGAN's and PacGAN's tables.

    Example:
        >>> from lightning_gan import GAN
        >>> from lightning_gan.networks import MLPDiscriminator, MLPGenerator
        >>> model = GAN(MLPGenerator(), MLPDiscriminator())
        >>> sorted(MixtureJudge(10).of_model(model, GaussianMixture("ring"), seed=0))
        ['high_quality', 'modes', 'reverse_kl']
    """

    counts: ClassVar = {
        "modes": Count("modes", 1, higher_is_better=True),
        "high_quality": Count("within 3 std, %", 1, True, ceiling=100 * (1 - math.exp(-4.5))),
        "reverse_kl": Count("reverse KL, nats", 4, higher_is_better=False),
    }

    def __init__(self, num_samples: int = 2500) -> None:
        super().__init__(num_samples)

    def check(self, data: GANDataModule) -> None:
        """Refuse data without modes."""
        _mixture(data)

    def count(self, parts: Iterable[Tensor], data: GANDataModule) -> Figures:
        """Count modes, the percentage of samples of high quality, and the reverse divergence."""
        mixture, samples = _mixture(data), torch.cat(list(parts))
        if not bool(samples.isfinite().all()):  # the training has diverged
            return self.of_nothing()
        found = mixture_coverage(samples, mixture.centers, mixture.std)
        divergence = found.reverse_kl.item()
        return {
            "modes": float(found.modes),
            "high_quality": 100 * found.high_quality.item(),
            "reverse_kl": divergence if divergence == divergence else None,
        }

    def keep(self, model: AdversarialModule, seed: int) -> list[list[float]]:
        """Return some points."""
        [points] = _drawn(model, KEPT_POINTS, seed)
        return [[round(x, 3) for x in point] for point in points.double().tolist()]

    def show(self, axes: Axes, kept: list[list[float]], data: GANDataModule) -> None:
        """Draw the points over the modes."""
        centers = _mixture(data).centers
        x, y = zip(*kept, strict=True)
        axes.plot(*centers.T, "o", mfc="none", mec="0.6", ms=8, mew=0.8)
        axes.plot(x, y, ".", color="C0", ms=2)
        reach = 1.25 * float(centers.abs().max())
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])


class StackedJudge(Judge):
    """Count the classes of stacked digits, as a classifier of single digits reads them.

    Args:
        classifier: File of a classifier of single digits; see
            :func:`~lightning_gan.extractors.make_extractor`. None fits one on the data's own
            digits, a minute's work, and keeps it in the cache folder.
        num_samples: Number of samples that are counted; 25,600 as in the tables of Unrolled GAN
            and ProGAN.

    Reference:
        Metz et al., "Unrolled Generative Adversarial Networks", ICLR 2017,
        https://arxiv.org/abs/1611.02163, section 3.3.1.
    """

    counts: ClassVar = {
        "modes": Count("modes", 1, higher_is_better=True),
        "reverse_kl": Count("KL to uniform, nats", 3, higher_is_better=False),
    }

    def __init__(self, classifier: str | Path | None = None, num_samples: int = 25_600) -> None:
        super().__init__(num_samples)
        self.classifier = classifier
        self._digits: dict[str, Extractor] = {}

    def check(self, data: GANDataModule) -> None:
        """Refuse data that are no stacked digits."""
        if not isinstance(data, StackedMNIST):
            raise TypeError(
                f"Expected 'data' of a StackedJudge to be StackedMNIST, got {type(data).__name__}."
            )

    def count(self, parts: Iterable[Tensor], data: GANDataModule) -> Figures:
        """Count classes, and the divergence of their shares from equal ones."""
        coverage = ClassCoverage(StackedClassifier(self._reader(data)))
        for part in parts:
            if not bool(part.isfinite().all()):  # the training has diverged
                return self.of_nothing()
            coverage.update(part)
        found = coverage.compute()
        return {"modes": found["modes"].item(), "reverse_kl": found["mode_kl"].item()}

    def note(self, data: GANDataModule) -> str:
        """Say by which classifier."""
        reader = self._reader(data)
        accuracy = getattr(reader, "accuracy", None)
        right = "" if accuracy is None else f", right for {accuracy:.2%} of held-out digits"
        return f"{super().note(data)}, read by the classifier {reader.digest()[:8]}{right}"

    def keep(self, model: AdversarialModule, seed: int) -> str:
        """Return some images, in one PNG of base 64."""
        [images] = _drawn(model, KEPT_IMAGES, seed)
        grid = make_grid(to_uint8(images), IMAGES_PER_ROW, padding=1)
        file = io.BytesIO()
        Image.fromarray(grid.permute(1, 2, 0).numpy()).save(file, "PNG")
        return base64.b64encode(file.getvalue()).decode()

    def show(self, axes: Axes, kept: str, data: GANDataModule) -> None:
        """Draw the images."""
        axes.imshow(imread(io.BytesIO(base64.b64decode(kept)), "png"), interpolation="nearest")
        axes.set(xticks=[], yticks=[])

    def _reader(self, data: GANDataModule) -> Extractor:
        """Return the classifier of the data's single digits."""
        if self.classifier is not None:
            key = str(self.classifier)
            if key not in self._digits:
                self._digits[key] = make_extractor(self.classifier)
            return self._digits[key]
        digits = _SingleDigits(data)
        key = digits.train_set.fingerprint()
        if key not in self._digits:
            self._digits[key] = _fitted(digits, key)
        return self._digits[key]


class _SingleDigits(GANDataModule):
    """The digits of which a stack is made."""

    num_classes = 10

    def __init__(self, stacked: Any) -> None:
        super().__init__()
        self.train_set, self.test_set = stacked.train_set.digits, stacked.test_set.digits

    def load(self) -> None:
        """Do nothing: both splits are there."""


def _fitted(digits: GANDataModule, fingerprint: str) -> DomainClassifier:
    """Return a classifier of digits, from the cache folder if one of the same digits is there."""
    path = cache_folder() / f"stacked-digit-v{RECIPE}-{fingerprint[:8]}.pt"
    if path.exists():
        try:
            return DomainClassifier.load(path)
        except CheckpointError as error:
            rank_zero_warn(f"{error} It is trained anew.")
    classifier = fit_classifier(digits, name="digit", widths=WIDTHS, progress=False)
    try:
        classifier.save(path)
    except OSError as error:
        rank_zero_warn(f"The classifier of digits has to be trained in each run: {error}.")
    return classifier


@contextmanager
def without_average(model: AdversarialModule) -> Iterator[None]:
    """Let a model draw samples from the generator that is trained, for a while."""
    average, model.ema_generator = model.ema_generator, None
    try:
        yield
    finally:
        model.ema_generator = average


def _drawn(model: AdversarialModule, n: int, seed: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, n, CHUNK):
        yield model.sample(min(CHUNK, n - start), generator=generator).cpu()


def _mixture(data: GANDataModule) -> GaussianMixture:
    if not isinstance(data, GaussianMixture):
        raise TypeError(
            f"Expected 'data' of a MixtureJudge to be a GaussianMixture, got {type(data).__name__}."
        )
    return data
