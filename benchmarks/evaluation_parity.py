"""Our figures beside those of torch-fidelity and torchmetrics, of the same images.

    OMP_NUM_THREADS=1 python -m benchmarks.evaluation_parity --threads 1

No internet is needed: all three describe the same images by an Inception of random weights, which
are calibrated so that features do not vanish. Ours go through ``GenerationMetrics``. With as many
samples in a subset as there are, and one part, nothing is random in KID and Inception Score.

With no more samples than features the covariances are singular, and all paths over eigenvalues,
theirs too, are too low by what rounding makes of zeros. There the nuclear norm is the reference.
"""

import argparse
import math
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
import torch_fidelity
from torch import Tensor, nn
from torch.utils.data import Dataset
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torchmetrics.image.fid import FrechetInceptionDistance, NoTrainInceptionV3
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import KernelInceptionDistance

from lightning_gan.extractors import Inception
from lightning_gan.functional import inception_score
from lightning_gan.metrics import GenerationMetrics

CASES = {"64": 128, "768": 50, "2048": 50}  # samples by layer
BALLS = ("precision", "recall", "density", "coverage")
TARGETS = {"FID": 5e-6, "FID, torchmetrics": 1e-7, "KID": 1e-6, "Inception Score": 1e-6}
BATCH, SIDE = 16, 32


class Row(NamedTuple):
    """A figure of ours beside another's.

    Attributes:
        figure: What it is, and of what.
        ours: Its value here.
        whose: Where the other value comes from.
        theirs: That value.
        error: How far ours is off.
        target: How far it may be; None if the other value is the worse one, or a single draw.
    """

    figure: str
    ours: float
    whose: str
    theirs: float
    error: float
    target: float | None

    def line(self) -> str:
        """Return it as a line of a table."""
        verdict = "" if self.target is None else "yes" if self.error <= self.target else "NO"
        target = "" if self.target is None else f"{self.target:.1g}"
        values = f"{self.ours:.10g} | {self.whose} | {self.theirs:.10g}"
        return f"| {self.figure} | {values} | {self.error:.1e} | {target} | {verdict} |"


def relative(figure: str, ours: float, whose: str, theirs: float, target: float | None) -> Row:
    return Row(figure, ours, whose, theirs, abs(ours / theirs - 1), target)


def absolute(figure: str, ours: float, whose: str, theirs: float, target: float | None) -> Row:
    return Row(figure, ours, whose, theirs, abs(ours - theirs), target)


def random_weights(path: Path) -> None:
    """Write weights under which an Inception's features do not vanish, nor its logits agree."""

    class Unloaded(FeatureExtractorInceptionV3):  # type: ignore[misc]
        def load_state_dict(self, state_dict: Any) -> None:
            pass

    torch.save({}, path)
    layers = ["2048", "logits_unbiased"]
    network = Unloaded("inception-v3-compat", layers, feature_extractor_weights_path=path)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        elif isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # so that one batch sets the statistics
    nn.init.normal_(network.fc.weight, std=0.3)
    network.train()
    with torch.no_grad():
        network(images(16, seed=9))
    torch.save(network.eval().state_dict(), path)


def images(count: int, seed: int, sharpness: float = 0.3) -> Tensor:
    """Return soft blobs of colour with some noise, (N, 3, 32, 32) uint8."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, 5, 5, generator=generator)
    soft = F.interpolate(coarse, (SIDE, SIDE), mode="bicubic", align_corners=False)
    noise = torch.randn(count, 3, SIDE, SIDE, generator=generator)
    return (127.5 + 60 * (soft + sharpness * noise)).round().clamp(0, 255).to(torch.uint8)


class Images(Dataset[Tensor]):
    """Images as torch-fidelity takes them."""

    def __init__(self, stack: Tensor) -> None:
        self.stack = stack

    def __len__(self) -> int:
        return len(self.stack)

    def __getitem__(self, index: int) -> Tensor:
        return self.stack[index]


class Layer(nn.Module):
    """A layer of torchmetrics' Inception in float64, with TensorFlow's resizing."""

    def __init__(self, layer: str, width: int, weights: Path) -> None:
        super().__init__()
        self.num_features = width
        self.network = NoTrainInceptionV3(
            "inception-v3-compat", [layer], str(weights), antialias=False
        )

    def forward(self, stack: Tensor) -> Tensor:
        """Describe images."""
        features: Tensor = self.network(stack)
        return features.double()


def compare(layer: str, count: int, weights: Path) -> Iterator[Row]:
    """Compare the figures of two sets of images in the features of a layer."""
    real, fake = images(count, seed=1), images(count, seed=2, sharpness=0.4)
    extractor = Inception(weights, layer)  # type: ignore[arg-type]
    metrics = GenerationMetrics(extractor, ("fid", "kid", *BALLS))
    for stack, is_real in ((real, True), (fake, False)):
        for batch in stack.split(BATCH):
            metrics.update(batch, real=is_real)
    a, b = (torch.cat(part) for part in (metrics.real_features, metrics.fake_features))
    logits = [extractor(batch).logits for batch in fake.split(BATCH)] if layer == "2048" else []
    ours = {name.split("/")[0]: value.item() for name, value in metrics.compute().items()}
    fidelity = by_torch_fidelity(real, fake, layer, weights)
    others = by_torchmetrics(real, fake, layer, weights)
    formula = by_formula(a.double().numpy(), b.double().numpy())

    of = f"layer {layer}, N = {count}"
    regular = count > int(layer)
    target = TARGETS["FID"] if regular else None
    theirs = fidelity["frechet_inception_distance"]
    yield relative(f"FID, {of}", ours["fd"], "torch-fidelity", theirs, target)
    target = TARGETS["FID, torchmetrics"] if regular else None
    yield relative(f"FID, {of}", ours["fd"], "torchmetrics", others["fid"], target)
    yield relative(f"FID, {of}", ours["fd"], "nuclear norm", formula["fid"], 1e-9)
    theirs = fidelity["kernel_inception_distance_mean"]
    yield absolute(f"KID, {of}", ours["kd"], "torch-fidelity", theirs, TARGETS["KID"])
    yield absolute(f"KID, {of}", ours["kd"], "torchmetrics", others["kid"], TARGETS["KID"])
    yield absolute(f"KID, {of}", ours["kd"], "formula", formula["kid"], TARGETS["KID"])
    if logits:
        score = inception_score(torch.cat([part for part in logits if part is not None]), 1)[0]
        theirs, target = fidelity["inception_score_mean"], TARGETS["Inception Score"]
        name = f"Inception Score, {of}"
        yield relative(name, score.item(), "torch-fidelity", theirs, target)
        yield relative(name, score.item(), "torchmetrics", others["score"], target)
    for name in ("precision", "recall"):
        # Theirs are float32: the nearest to a fraction of N.
        theirs = round(fidelity[name] * count) / count
        yield absolute(f"{name}, {of}", ours[name], "torch-fidelity", theirs, 0.0)
    for name in BALLS:
        yield absolute(f"{name}, {of}", ours[name], "formula", formula[name], 1e-15)


def by_torch_fidelity(real: Tensor, fake: Tensor, layer: str, weights: Path) -> dict[str, float]:
    """Return torch-fidelity's figures."""
    found: dict[str, float] = torch_fidelity.calculate_metrics(
        input1=Images(fake),
        input2=Images(real),
        isc=layer == "2048",
        fid=True,
        kid=True,
        prc=True,
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=str(weights),
        **{f"feature_layer_{metric}": layer for metric in ("fid", "kid", "prc")},
        kid_subsets=1,
        kid_subset_size=len(real),
        isc_splits=1,
        batch_size=BATCH,
        cuda=False,
        save_cpu_ram=True,
        cache=False,
        verbose=False,
    )
    return found


def by_torchmetrics(real: Tensor, fake: Tensor, layer: str, weights: Path) -> dict[str, float]:
    """Return torchmetrics' figures in float64; of precision and the like it has none."""
    network = Layer(layer, int(layer), weights)
    fid = FrechetInceptionDistance(network)
    kid = KernelInceptionDistance(network, subsets=1, subset_size=len(real))
    for metric in (fid, kid):
        for batch in real.split(BATCH):
            metric.update(batch, real=True)
        for batch in fake.split(BATCH):
            metric.update(batch, real=False)
    found = {"fid": fid.compute().item(), "kid": kid.compute()[0].item()}
    if layer == "2048":
        score = InceptionScore(Layer("logits_unbiased", 1008, weights), splits=1)
        for batch in fake.split(BATCH):
            score.update(batch)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one part has no deviation
            found["score"] = score.compute()[0].item()
    return found


def by_formula(real: Any, fake: Any, k: tuple[int, int] = (3, 5)) -> dict[str, float]:
    """Return all figures in float64 by the definitions, over whole matrices.

    Balls for density and coverage are open, as in the code of their authors.
    """
    centred = [(x - x.mean(axis=0)) / math.sqrt(len(x) - 1) for x in (real, fake)]
    spread = sum((x**2).sum() for x in centred)
    apart = real.mean(axis=0) - fake.mean(axis=0)
    overlap = np.linalg.norm(centred[0] @ centred[1].T, "nuc")
    kernels = [(x @ y.T / x.shape[1] + 1) ** 3 for x, y in ((real, real), (fake, fake))]
    within = [
        (kernel.sum() - kernel.trace()) / (len(kernel) * (len(kernel) - 1)) for kernel in kernels
    ]
    between = ((real @ fake.T / real.shape[1] + 1) ** 3).mean()
    distances = _distances(real, fake)
    radii = [np.sort(_distances(x, x), axis=1) for x in (real, fake)]  # each begins with itself
    held = distances < radii[0][:, k[1], None]
    return {
        "fid": float(apart @ apart + spread - 2 * overlap),
        "kid": float(sum(within) - 2 * between),
        "precision": float((distances <= radii[0][:, k[0], None]).any(axis=0).mean()),
        "recall": float((distances <= radii[1][:, k[0]]).any(axis=1).mean()),
        "density": float(held.sum() / (k[1] * len(fake))),
        "coverage": float((distances.min(axis=1) < radii[0][:, k[1]]).mean()),
    }


def _distances(x: Any, y: Any) -> Any:
    return np.stack([np.linalg.norm(row - y, axis=1) for row in x])


def table(rows: list[Row]) -> str:
    """Return all as a markdown table."""
    header = "| figure | ours | other | theirs | difference | target | met |\n" + 7 * "|---" + "|"
    return "\n".join([header, *(row.line() for row in rows)])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--layers", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--threads", type=int, help="torch's own choice by default")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore", message="Metric .* will save all", category=UserWarning)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder, "inception.pth")
        random_weights(weights)
        for layer in arguments.layers:
            print(table(list(compare(layer, CASES[layer], weights))), "\n", flush=True)
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
