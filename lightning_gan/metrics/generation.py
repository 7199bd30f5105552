"""Every figure of generated samples from one pass over them."""

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torchmetrics.utilities import dim_zero_cat
from tqdm.auto import tqdm

from lightning_gan.extractors import Extractor, cache_folder
from lightning_gan.functional import frechet_distance_floor
from lightning_gan.metrics.base import SampleMetric, at_least_empty, joined, one_shape
from lightning_gan.metrics.comparison import METRICS, OF_NEIGHBORS, Comparison, compare
from lightning_gan.metrics.real_samples import RealSamples
from lightning_gan.metrics.reference import Reference, cache_key, check_number
from lightning_gan.metrics.report import Report, note_of_absence, note_of_floor
from lightning_gan.metrics.verdict import Verdict
from lightning_gan.training.distributed import gather, is_first, smallest, total

_CONSIDERABLE = 0.1  # share of a distance from which on its floor is warned of


class GenerationMetrics(SampleMetric):
    """Compare generated with real samples: distance, quality, variety, copies, classes, a verdict.

    Each sample passes once through the extractor, for all figures together. The real ones are
    measured at the first ``compute``, or by :meth:`measure_real`, once and for all; ``reset``
    forgets the generated ones alone. Under ddp every process updates with its own part, and all
    compute the same.

    ``compute`` returns scalars by name:

    ========================  ====================================================================
    ``fid``                   Fréchet distance of the features
    ``kid``                   kernel distance, unbiased, over all pairs
    ``inception_score``       and ``inception_score_std``, over 10 parts
    ``precision``             share of the generated samples in balls around real ones that reach to
                              the 3rd neighbour
    ``recall``                the same of real samples in balls around generated ones
    ``density``, ``coverage``  the same with balls around real samples to the 5th neighbour
    ``memorization``          chance that a generated sample is nearer to its nearest training
                              sample than a held-out one is: 0.5 is right, 1 means copies; and
                              ``copies``, the share below the 1 % quantile of held-out distances
    ``modes``, ``mode_kl``    classes that occur, and KL(generated || real classes) in nats; of
                              points, ``high_quality``, the share within 3 standard deviations of a
                              mode, which alone count
    ========================  ====================================================================

    The first three bear these names only where they follow the published protocol: TensorFlow's
    Inception with the published weights, and 50,000 generated samples. Otherwise they are
    ``fd/<extractor>``, ``kd/<extractor>`` and ``score/<extractor>``, comparable only among
    themselves.

    Args:
        extractor: What describes the samples: a name, a file, a module, or an
            :class:`~lightning_gan.extractors.Extractor`; see
            :func:`~lightning_gan.extractors.make_extractor`. It is no part of the state_dict.
        metrics: Which of ``fid``, ``kid``, ``inception_score``, ``precision``, ``recall``,
            ``density``, ``coverage``, ``memorization`` and ``modes``. Those that are impossible,
            such as the score where the extractor has no logits, are left out. The score and the
            modes need no real samples.
        reference: The real side, where it has been measured before.
        real_shares: Shares of the classes among real samples, (K,), for ``mode_kl``; equal ones by
            default.
        progress: Whether bars show how far it is.
        **kwargs: See torchmetrics' ``Metric``.

    Raises:
        ValueError: If a metric is unknown or there are none; in ``compute``, if a side has too few
            samples: ``fid`` takes 2 of either, all that compares neighbours 20 real and 4
            generated ones, the score 10.

    Example:
        >>> import torch
        >>> metrics = GenerationMetrics("points", metrics=["fid"])
        >>> metrics.update(torch.tensor([[-1.0], [0.0], [1.0]]), real=True)
        >>> metrics.update(torch.tensor([[1.0], [3.0], [5.0]]), real=False)
        >>> {name: round(value.item(), 4) for name, value in metrics.compute().items()}
        {'fd/points': 10.0}
    """

    fake_features: list[Tensor]
    fake_logits: list[Tensor]
    real_features: list[Tensor]

    def __init__(
        self,
        extractor: str | Path | nn.Module | Extractor = "inception",
        metrics: Sequence[str] = METRICS,
        reference: Reference | None = None,
        real_shares: Tensor | None = None,
        progress: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(extractor, **kwargs)
        unknown = [name for name in metrics if name not in METRICS]
        if unknown or not metrics:
            raise ValueError(f"Expected 'metrics' among {list(METRICS)}, got {list(metrics)}.")
        self.metrics = tuple(metrics)
        self.real_shares = real_shares
        self.progress = progress
        self._comparison: Comparison | None = None
        self._sample_shape: tuple[int, ...] | None = None
        self._warned = False
        self.reference = reference
        for name in ("fake_features", "fake_logits", "real_features"):
            self.add_state(name, [], dist_reduce_fx="cat")

    @property
    def reference(self) -> Reference | None:
        """The real side, once it is measured."""
        return self._reference

    @reference.setter
    def reference(self, reference: Reference | None) -> None:
        self._reference = reference
        self._computed = None
        self._floors: dict[int, float] = {}
        if reference is not None and reference.sample_shape is not None:
            self._sample_shape = reference.sample_shape

    @property
    def verdict(self) -> Verdict | None:
        """What the figures of the last ``compute`` say in words; None without neighbours."""
        return None if self._comparison is None else self._comparison.verdict

    @property
    def needs_neighbors(self) -> bool:
        """Whether any of the figures needs more than the Fréchet distance does."""
        return any(name in OF_NEIGHBORS for name in self.metrics)

    @property
    def needs_real(self) -> bool:
        """Whether any of the figures needs real samples; ``modes`` are compared with theirs."""
        return "fid" in self.metrics or "modes" in self.metrics or self.needs_neighbors

    def measure_real(
        self,
        real: RealSamples,
        held_out: RealSamples | None = None,
        cache_dir: str | Path | None = None,
    ) -> None:
        """Measure the real side once, or take it from an earlier time, in place of updates.

        All processes take part, each with its own part of the samples. It is kept on disk under a
        digest of the extractor's weights and of the samples' content, so that neither another
        file nor other data under the same name gets its values.

        Args:
            real: The training samples.
            held_out: Other real samples, for the memorisation check; not looked at where only the
                Fréchet distance is wanted.
            cache_dir: Folder; None takes that of
                :func:`~lightning_gan.extractors.cache_folder`. Machines that work together should
                share it.

        Raises:
            ValueError: If there are too few samples, or ``update`` has had real ones.
        """
        if self.real_features:
            raise ValueError("Expected all real samples by 'measure_real', got some by 'update'.")
        others = held_out if self.needs_neighbors else None
        of_others = None if others is None else others.fingerprint()
        key = cache_key(self.digest, real.fingerprint())
        path = (cache_folder() if cache_dir is None else Path(cache_dir)) / "features" / f"{key}.pt"
        known = Reference.load(path)
        usable = 0 if known is None else 1 + known.serves(self.needs_neighbors, of_others)
        usable = smallest(usable, self.device)  # what one process does, all do
        if known is None or not usable:
            features, shape, counts = self._extracted(real, "real")
        else:
            features, shape, counts = (
                known.features.to(self.device),
                known.sample_shape,
                known.class_counts,
            )
        if known is None or usable < 2:
            check_number("real", len(features), self.needs_neighbors)
            more = None if others is None else self._extracted(others, "held-out")[0]
            known = Reference.measure(features, more, self.needs_neighbors, self.progress)
            known = known._replace(held_out=of_others, sample_shape=shape, class_counts=counts)
            if is_first():
                known.save(path)
        if others is None:
            known = known._replace(held_out_nearest=None)
        self.reference = known.to(self.device)

    def _extracted(
        self, samples: RealSamples, which: str
    ) -> tuple[Tensor, tuple[int, ...] | None, Tensor | None]:
        """Return all processes' features, the shape of one sample, and counts of the classes."""
        features: list[Tensor] = []
        classes = self.extractor.num_classes
        counts = torch.zeros(classes or 0, dtype=torch.int64, device=self.device)
        shape: tuple[int, ...] | None = None
        title = f"Features of {which} samples"
        options = {"unit": " samples", "disable": not self.progress, "delay": 1}
        with tqdm(desc=title, total=samples.size, **options) as bar:
            for part in samples.parts():
                shape = one_shape(part, shape)
                described = self.describe(part.to(self.device), real=True)
                features.append(described.features)
                if classes is not None and described.logits is not None:
                    counts += described.logits.argmax(dim=1).bincount(minlength=classes)
                bar.update(len(part))
        features = at_least_empty(features, self.device)
        if not features:
            raise ValueError(f"Expected {which} samples, got none.")
        counts = total(counts)
        return gather(torch.cat(features)), shape, counts if bool(counts.any()) else None

    def update(self, samples: Tensor, real: bool) -> None:
        """Take in samples.

        Args:
            samples: See :meth:`describe`.
            real: Whether they are real or generated.

        Raises:
            TypeError: See :meth:`describe`.
            ValueError: See :meth:`describe`; and if they differ in shape from those before, or are
                real ones after these have been measured.
        """
        if real and self.reference is not None:
            raise ValueError("Expected no more real samples once they are measured, got some.")
        features, logits = self.describe(samples, real)
        self._sample_shape = one_shape(samples, self._sample_shape)
        if real:
            self.real_features.append(features)
            return
        self.fake_features.append(features)
        of_classes = "modes" in self.metrics and self.extractor.num_classes is not None
        if logits is not None and (of_classes or "inception_score" in self.metrics):
            self.fake_logits.append(logits)

    def forward(self, samples: Tensor, real: bool) -> dict[str, Tensor]:
        """Take in samples like :meth:`update`; a single batch has no figures, so none return."""
        self.update(samples, real)
        return {}

    def compute(self) -> dict[str, Tensor]:
        """Compare; see the class."""
        fake = joined(self.fake_features, "generated")
        self.fake_features = [fake]  # its parts need no memory beside it
        reference = None
        if "fid" in self.metrics or self.needs_neighbors:
            check_number("generated", len(fake), self.needs_neighbors)
            reference = self._measured(fake.device)
        self._comparison = compare(
            self.metrics,
            reference,
            fake,
            dim_zero_cat(self.fake_logits) if len(self.fake_logits) else None,
            self.extractor.num_classes,
            self.real_shares,
            self.progress,
            self.extractor.least_logit,
        )
        named = self._comparison.named(self.metrics, self.extractor)
        if not named:
            absent = note_of_absence(self.metrics, named)
            raise ValueError(f"Expected a figure that is possible, got none. {absent}")
        return named

    def _measured(self, device: torch.device) -> Reference:
        """Return the real side as the figures need it."""
        known = self.reference
        if known is None or not known.serves(self.needs_neighbors):
            features = joined(self.real_features, "real") if known is None else known.features
            known = Reference.measure(features, None, self.needs_neighbors, self.progress)
            self.reference = known = known._replace(sample_shape=self._sample_shape)
        self._reference = known.to(device)
        return self._reference

    def report(self) -> Report:
        """Return the figures of the samples so far with their definitions, and the verdict.

        After ``compute`` it costs next to nothing. A warning is given once if there are too few
        samples for the Fréchet distance.
        """
        figures = {name: value.item() for name, value in self.compute().items()}
        assert self._comparison is not None
        absent = note_of_absence(self.metrics, figures)
        notes = [note for note in (self._note_of_floor(), absent) if note]
        protocol: dict[str, str | int] = {"generated samples": self._comparison.num_fake}
        if self.reference is not None:
            protocol["real samples"] = len(self.reference.features)
        protocol |= {
            "extractor": self.extractor.name,
            "extractor's SHA-256": self.digest,
            "resizing": self.extractor.resize,
        }
        if self.extractor.layer:
            protocol["layer"] = self.extractor.layer
        if "mode_kl" in figures:
            protocol["real classes"] = self._origin_of_shares()
        protocol |= {
            "torch": torch.__version__,
            "lightning-gan": importlib.metadata.version("lightning-gan"),
        }
        if self.verdict is None:
            return Report(figures, protocol, notes=tuple(notes))
        name, _, sentence, severity = self.verdict
        return Report(figures, protocol, name, sentence, tuple(notes), severity)

    def _origin_of_shares(self) -> str:
        if self.real_shares is not None:
            return "as given"
        found = self.reference is not None and self.reference.class_counts is not None
        return "as the extractor finds them" if found else "taken for equally many"

    def _note_of_floor(self) -> str | None:
        comparison, reference = self._comparison, self.reference
        if comparison is None or reference is None or "fid" not in comparison.figures:
            return None
        real, fake = len(reference.features), comparison.num_fake
        if fake not in self._floors:
            measured = frechet_distance_floor(reference.moments, real, fake)
            self._floors[fake] = measured.item()
        distance, floor = comparison.figures["fid"].item(), self._floors[fake]
        width = reference.features.shape[1]
        note = note_of_floor(distance, floor, real, fake, width)
        if not self._warned and (min(real, fake) <= width or floor >= _CONSIDERABLE * distance):
            self._warned = True
            rank_zero_warn(note)
        return note

    def reset(self) -> None:
        """Forget the generated samples."""
        real = list(self.real_features)  # the list itself is cleared
        super().reset()
        self.real_features = real

    def unsync(self, should_unsync: bool = True) -> None:
        """Return to this process's samples; real ones need not stay once they are measured."""
        super().unsync(should_unsync)
        if self.reference is not None:
            self.real_features = []

    def _sync_dist(self, *args: Any, **kwargs: Any) -> None:
        if self.process_group is None:
            for name in self._defaults:  # torchmetrics gathers an empty list without columns
                setattr(self, name, at_least_empty(getattr(self, name), self.device))
        super()._sync_dist(*args, **kwargs)
