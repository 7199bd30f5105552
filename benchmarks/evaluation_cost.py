"""CPU seconds of an evaluation in training, where the real side is known, beside other libraries'.

    OMP_NUM_THREADS=1 python -m benchmarks.evaluation_cost --samples 5000 10000 --threads 1

An image's bytes are its number, by which an extractor looks up its features: extraction costs
nothing, and how often each library asks for it is counted. What it would cost is measured with
Inception on images of its size.

Ours is one ``GenerationMetrics``. Torchmetrics has a metric each for FID, KID and Inception Score,
which keep their real side, and nothing for precision, recall, density and coverage: these are added
by the definition over whole matrices, as in their authors' code. Torch-fidelity has no density and
coverage; its functions of features are called with the real side's moments at hand, and its
passes are counted in ``calculate_metrics`` with a cache for the real images.
"""

import argparse
import os
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch_fidelity
from sklearn.metrics import pairwise_distances
from torch import Tensor, nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import KernelInceptionDistance

from benchmarks.evaluation_parity import BALLS, Images, random_weights
from benchmarks.evaluation_scale import FEATURES, feature_source
from lightning_gan.extractors import Description, Extractor, Inception
from lightning_gan.metrics import GenerationMetrics

BATCH, CLASSES, SIDE = 100, 1008, 299
PASSES = 200  # images to count passes with

Figures = dict[str, float]
Part = Callable[[], Figures]


class Bank:
    """Features and logits of real and generated images, and how often they were asked for.

    Args:
        samples: Number of images of each kind; the real ones come first.
    """

    def __init__(self, samples: int) -> None:
        make, generator = feature_source(), torch.Generator().manual_seed(0)
        self.samples = samples
        self.features = torch.cat([make(samples, 1, 1.0), make(samples, 2, 1.03)])
        weights = torch.randn(FEATURES, CLASSES, generator=generator) / FEATURES**0.5
        self.logits = 2 * (self.features - 0.4) @ weights
        self.asked: Counter[str] = Counter()

    def images(self, real: bool) -> Tensor:
        """Return all images of a kind, (N, 3, 1, 1) uint8."""
        number = torch.arange(self.samples) + (0 if real else self.samples)
        digits = [number // 256**place % 256 for place in range(3)]
        return torch.stack(digits, dim=1)[:, :, None, None].to(torch.uint8)

    def look_up(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and logits of some images."""
        number = images.flatten(1).long() @ torch.tensor([1, 256, 256**2])
        real = int((number < self.samples).sum())
        self.asked.update(real=real, fake=len(number) - real)
        return self.features[number], self.logits[number]

    def passes(self) -> dict[str, float]:
        """Return how often each kind was asked for as a whole, and forget it."""
        asked = {kind: self.asked[kind] / self.samples for kind in ("real", "fake")}
        self.asked.clear()
        return asked


class Ours(Extractor):
    """An extractor as ours takes them."""

    def __init__(self, bank: Bank) -> None:
        super().__init__("bank")
        self.bank = bank

    def describe(self, images: Tensor) -> Description:
        """Look images up."""
        return Description(*self.bank.look_up(images))


class Torchmetrics(nn.Module):
    """An extractor as torchmetrics takes them: of one layer."""

    num_features = FEATURES

    def __init__(self, bank: Bank, layer: int) -> None:
        super().__init__()
        self.bank, self.layer = bank, layer

    def forward(self, images: Tensor) -> Tensor:
        """Look images up."""
        return self.bank.look_up(images)[self.layer]


class TorchFidelity(FeatureExtractorBase):  # type: ignore[misc]
    """An extractor as torch-fidelity takes them: a class, under a name of its own."""

    bank: ClassVar[Bank]

    def __init__(self, name: str, features_list: list[str], **_: Any) -> None:
        super().__init__(name, features_list)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        """Name the layers."""
        return ("features", "logits")

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        """Name the layer of a metric."""
        return "logits" if metric == "isc" else "features"

    @staticmethod
    def can_be_compiled() -> bool:
        """Refuse compilation."""
        return False

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Look images up."""
        found = dict(zip(self.get_provided_features_list(), self.bank.look_up(images), strict=True))
        return tuple(found[name] for name in self.features_list)


def ours(bank: Bank) -> dict[str, Part]:
    """Return an evaluation by ours, which has met the real images."""
    names = ("fid", "kid", "inception_score", *BALLS)
    metrics = GenerationMetrics(Ours(bank), names)
    for batch in bank.images(real=True).split(BATCH):
        metrics.update(batch, real=True)

    def evaluate() -> Figures:
        for batch in bank.images(real=False).split(BATCH):
            metrics.update(batch, real=False)
        values = {name: value.item() for name, value in metrics.compute().items()}
        metrics.reset()
        renamed = {"fd/bank": "FID", "kd/bank": "KID", "score/bank": "Inception Score"}
        return {renamed.get(name, name): value for name, value in values.items()}

    return {"all": evaluate}


def by_torchmetrics(bank: Bank, subset_size: int = 1000) -> dict[str, Part]:
    """Return an evaluation by torchmetrics, which has met the real images."""
    options: dict[str, Any] = {
        "subsets": 100,
        "subset_size": subset_size,
        "reset_real_features": False,
    }
    of_features = {
        "FID": FrechetInceptionDistance(Torchmetrics(bank, 0), reset_real_features=False),
        "KID": KernelInceptionDistance(Torchmetrics(bank, 0), **options),
    }
    score = InceptionScore(Torchmetrics(bank, 1))
    for metric in of_features.values():
        for batch in bank.images(real=True).split(BATCH):
            metric.update(batch, real=True)

    def evaluate(name: str) -> Figures:
        metric, side = (
            (score, {}) if name not in of_features else (of_features[name], {"real": False})
        )
        for batch in bank.images(real=False).split(BATCH):
            metric.update(batch, **side)
        value = metric.compute()
        metric.reset()
        return {name: (value[0] if isinstance(value, tuple) else value).item()}

    return {name: partial(evaluate, name) for name in ("FID", "KID", "Inception Score")}


def by_definition(bank: Bank) -> dict[str, Part]:
    """Return P/R/D/C as in the code of the authors of the latter two, all with k = 5."""

    def evaluate(k: int = 5) -> Figures:
        real, fake = (part.numpy() for part in bank.features.split(bank.samples))
        radii = [np.partition(pairwise_distances(x), k, axis=1)[:, k] for x in (real, fake)]
        distances = pairwise_distances(real, fake)
        held = distances < radii[0][:, None]
        return {
            "precision": float(held.any(axis=0).mean()),
            "recall": float((distances < radii[1]).any(axis=1).mean()),
            "density": float(held.sum() / (k * len(fake))),
            "coverage": float((distances.min(axis=1) < radii[0]).mean()),
        }

    return {"P/R/D/C": evaluate}


def by_torch_fidelity(bank: Bank) -> dict[str, Part]:
    """Return an evaluation by torch-fidelity's functions of features."""
    real, fake = bank.features.split(bank.samples)
    known = fid_features_to_statistics(real)
    subsets = {"kid_subsets": 100, "kid_subset_size": 1000, "verbose": False}

    def fid() -> Figures:
        found = fid_statistics_to_metric(fid_features_to_statistics(fake), known, verbose=False)
        return {"FID": found["frechet_inception_distance"]}

    def kid() -> Figures:
        return {
            "KID": kid_features_to_metric(fake, real, **subsets)["kernel_inception_distance_mean"]
        }

    def score() -> Figures:
        logits = bank.logits[bank.samples :]
        return {"Inception Score": isc_features_to_metric(logits)["inception_score_mean"]}

    def balls() -> Figures:
        found = prc_features_to_metric(fake, real, verbose=False)
        return {name: found[name] for name in BALLS[:2]}

    return {"FID": fid, "KID": kid, "Inception Score": score, "P/R": balls}


WAYS: dict[str, Callable[[Bank], dict[str, Part]]] = {
    "ours": ours,
    "torchmetrics": by_torchmetrics,
    "by definition": by_definition,
    "torch-fidelity": by_torch_fidelity,
}


def measure(samples: int) -> Iterator[tuple[str, str, float, Figures]]:
    """Yield way, part, CPU seconds and figures of one evaluation in steady state."""
    bank = Bank(samples)
    for way, parts in WAYS.items():
        for part, evaluate in parts(bank).items():
            if way == "ours":
                evaluate()  # measures the real side
            start = time.process_time()
            figures = evaluate()
            yield way, part, time.process_time() - start, figures


def passes() -> Iterator[tuple[str, dict[str, float], dict[str, float]]]:
    """Yield way and passes over real and generated images, of the first evaluation and the next."""
    bank = Bank(PASSES)
    kinds: dict[str, Callable[[Bank], dict[str, Part]]]
    kinds = {"ours": ours, "torchmetrics": partial(by_torchmetrics, subset_size=PASSES)}
    for way, make in kinds.items():
        parts, counts = make(bank), []
        for _ in range(2):
            for evaluate in parts.values():
                evaluate()
            counts.append(bank.passes())
        yield way, counts[0], counts[1]
    TorchFidelity.bank = bank
    torch_fidelity.register_feature_extractor("bank", TorchFidelity)
    with tempfile.TemporaryDirectory() as folder:
        counts = []
        for _ in range(2):
            torch_fidelity.calculate_metrics(
                input1=Images(bank.images(real=False)),
                input2=Images(bank.images(real=True)),
                input2_cache_name="real",
                cache_root=folder,
                **dict.fromkeys(("isc", "fid", "kid", "prc"), True),
                feature_extractor="bank",
                kid_subset_size=PASSES,
                cuda=False,
                save_cpu_ram=True,  # else other processes look the images up
                verbose=False,
            )
            counts.append(bank.passes())
    yield "torch-fidelity", counts[0], counts[1]


def extraction(count: int = 32) -> float:
    """Return CPU seconds of Inception for one image."""
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder, "inception.pth")
        random_weights(weights)
        extractor = Inception(weights)
    images = torch.randint(0, 256, (count, 3, SIDE, SIDE), dtype=torch.uint8)
    extractor(images[:16])
    start = time.process_time()
    for batch in images.split(16):
        extractor(batch)
    return (time.process_time() - start) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", nargs="+", type=int, default=[5_000, 10_000])
    parser.add_argument("--threads", type=int, help="torch's own choice by default")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore", message="Metric .* will save all", category=UserWarning)
    print("| passes over | reals, first | fakes, first | reals, next | fakes, next |")
    print("|---|---|---|---|---|")
    for way, first, then in passes():
        print(f"| {way} | {' | '.join(f'{n:g}' for n in [*first.values(), *then.values()])} |")
    print(f"\nInception: {extraction():.3f} CPU s an image of {SIDE}x{SIDE}", flush=True)
    for samples in arguments.samples:
        print(
            f"\nN = {samples:,}, load {os.getloadavg()[0]:.1f}\n\n| way | part | CPU s | figures |"
        )
        print("|---|---|---|---|", flush=True)
        for way, part, seconds, figures in measure(samples):
            said = ", ".join(f"{name} {value:.7g}" for name, value in figures.items())
            print(f"| {way} | {part} | {seconds:.1f} | {said} |", flush=True)


if __name__ == "__main__":
    main()
