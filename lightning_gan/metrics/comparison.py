"""The figures of generated samples beside real ones, each under its right name."""

import math
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_gan.extractors import Extractor
from lightning_gan.functional import (
    class_coverage,
    frechet_distance,
    inception_score,
    memorization,
    moments,
    overlap,
    repetition,
)
from lightning_gan.metrics.reference import Reference
from lightning_gan.metrics.verdict import Evidence, Verdict, judge

OF_NEIGHBORS = ("kid", "precision", "recall", "density", "coverage", "memorization")
OF_LOGITS = ("inception_score", "modes")
METRICS = ("fid", *OF_NEIGHBORS, *OF_LOGITS)
PUBLISHED_SIZE = 50_000
SPLITS = 10  # of the Inception score, as published

# What a figure is called that does not follow the published protocol.
_OWN = {
    "fid": "fd/{}",
    "kid": "kd/{}",
    "inception_score": "score/{}",
    "inception_score_std": "score/{}_std",
}
# Figures that come with a metric of another name.
_WITH = {
    "inception_score_std": "inception_score",
    "copies": "memorization",
    "mode_kl": "modes",
    "high_quality": "modes",
}


class Comparison(NamedTuple):
    """What generated samples are beside real ones.

    Attributes:
        figures: Float64 scalars by metric, and by name where a metric has more than one.
        num_fake: Number of generated samples.
        verdict: What they say in words; None without neighbours.
    """

    figures: dict[str, Tensor]
    num_fake: int
    verdict: Verdict | None = None

    def named(self, metrics: Collection[str], extractor: Extractor) -> dict[str, Tensor]:
        """Return the figures of some metrics, under published names where they follow those."""
        published = extractor.published and self.num_fake == PUBLISHED_SIZE
        return {
            (name if published else _OWN.get(name, name)).format(extractor.name): value
            for name, value in self.figures.items()
            if _WITH.get(name, name) in metrics
        }


def compare(
    metrics: Collection[str],
    reference: Reference | None,
    fake: Tensor,
    logits: Tensor | None = None,
    num_classes: int | None = None,
    real_shares: Tensor | None = None,
    progress: bool = False,
    least_logit: float = -math.inf,
) -> Comparison:
    """Compute what is asked for and possible.

    Args:
        metrics: Which of :data:`METRICS`. One that needs neighbours brings the others and the
            verdict, as they come from the same pass.
        reference: The real side, on the features' device, with neighbours if they are needed; None
            leaves what needs it out.
        fake: Features of generated samples, (M, d).
        logits: Their logits, (M, K), if any.
        num_classes: K, if the logits are of the data's classes.
        real_shares: Shares or counts of the classes among real samples, (K,). By default those
            that the extractor found, or equal ones, by which nothing is judged.
        progress: Whether bars show how far it is.
        least_logit: See :class:`~lightning_gan.extractors.Extractor`; where it is finite, the share
            of the samples with a class is a figure, and the modes are those of these alone.
    """
    figures: dict[str, Tensor] = {}
    if real_shares is None and reference is not None:
        real_shares = reference.class_counts
    if reference is not None and "fid" in metrics:
        figures["fid"] = frechet_distance(reference.moments, moments(fake))
    if logits is not None:
        figures |= _of_logits(metrics, logits, num_classes, real_shares, least_logit)
    if reference is None or not any(name in OF_NEIGHBORS for name in metrics):
        return Comparison(figures, len(fake))
    figures |= _of_neighbors(reference, fake, progress)
    unjudged = {"mode_kl"} if real_shares is None else set()  # taken for equal, which says nothing
    judged = {name: value for name, value in figures.items() if name not in unjudged}
    verdict = _verdict(judged, reference, len(fake), num_classes)
    return Comparison(figures, len(fake), verdict)


def _of_logits(
    metrics: Collection[str],
    logits: Tensor,
    num_classes: int | None,
    real_shares: Tensor | None,
    least_logit: float,
) -> dict[str, Tensor]:
    figures: dict[str, Tensor] = {}
    if "inception_score" in metrics and len(logits) >= SPLITS:
        shuffle = torch.Generator().manual_seed(0)  # files may come sorted by class
        mean, deviation = inception_score(logits, SPLITS, shuffle)
        figures |= {"inception_score": mean, "inception_score_std": deviation}
    if "modes" in metrics and num_classes is not None:
        shares = None if real_shares is None else real_shares.to(logits.device)
        known = logits.amax(dim=1) > least_logit
        if least_logit > -math.inf:
            figures["high_quality"] = known.double().mean()
        if not bool(known.any()):
            return figures | {"modes": torch.zeros_like(figures["high_quality"])}
        found = class_coverage(logits[known].argmax(dim=1), num_classes, shares)
        figures |= {"modes": found.modes.double(), "mode_kl": found.kl}
    return figures


def _of_neighbors(reference: Reference, fake: Tensor, progress: bool) -> dict[str, Tensor]:
    near = reference.neighborhood
    assert near is not None
    found = overlap(reference.features, near, fake, progress=progress)
    figures = {
        "kid": found.kernel_distance,
        "precision": found.precision,
        "recall": found.recall,
        "density": found.density,
        "coverage": found.coverage,
    }
    figures |= repetition(near.radii[:, 0], found.fake_radii)._asdict()
    if reference.held_out_nearest is not None:
        copied = memorization(found.nearest, reference.held_out_nearest)
        figures |= {"memorization": copied.score, "copies": copied.copies}
    return figures


def _verdict(
    figures: Mapping[str, Tensor], reference: Reference, num_fake: int, num_classes: int | None
) -> Verdict:
    assert reference.levels is not None
    known: dict[str, Any] = {
        "num_classes": num_classes,
        "num_real": len(reference.features),
        "num_fake": num_fake,
    }
    known |= {name: figures[name].item() for name in Evidence._fields if name in figures}
    return judge(Evidence(**known), reference.levels)
