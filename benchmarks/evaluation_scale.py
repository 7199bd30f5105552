"""What it takes to compare 50,000 generated with 50,000 real samples by 2048 features each.

    OMP_NUM_THREADS=1 python -m benchmarks.evaluation_scale --samples 50000 --threads 1

The features are random, with a spectrum like Inception's, in float32. Peak memory is that beyond
the features themselves, both sets and the interpreter, which are there before; Linux tells it.
"""

import argparse
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_gan.extractors import Points
from lightning_gan.metrics import GenerationMetrics, Reference

FEATURES, RANK, BATCH = 2048, 256, 100
KINDS = ("fid", "kid", "precision", "recall", "density", "coverage")


class Cost(NamedTuple):
    """What something took: seconds of all cores and of the clock, memory in GB, and one of these.

    Attributes:
        cpu: Seconds of all cores.
        wall: Seconds of the clock.
        peak: Memory at the most, beyond that at the start, in GB of 1e9 bytes.
    """

    cpu: float
    wall: float
    peak: float


def feature_source(width: int = FEATURES, seed: int = 0) -> Callable[[int, int, float], Tensor]:
    """Return a maker of features, of so many samples, by a seed, with some spread.

    They are not below 0, have a mean of about 0.4, and most of their variance in few directions.
    """
    generator = torch.Generator().manual_seed(seed)
    rank = min(RANK, width)
    basis = torch.linalg.qr(torch.randn(width, rank, generator=generator)).Q.T
    scales = 8 * torch.arange(1, rank + 1) ** -0.7

    def make(count: int, seed: int, spread: float = 1.0) -> Tensor:
        draws = torch.Generator().manual_seed(seed)
        made = torch.empty(count, width)
        for rows in made.split(1000):  # in place, so that little memory is used beside
            torch.randn(rows.shape, generator=draws, out=rows)
            latents = torch.randn(len(rows), rank, generator=draws) * scales * spread
            rows.mul_(0.1).addmm_(latents, basis).add_(0.4).relu_()
        return made

    return make


@contextmanager
def measured(costs: dict[str, Cost], name: str) -> Iterator[None]:
    """Note what the body takes."""
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = _memory("VmRSS")
    cpu, wall = time.process_time(), time.perf_counter()
    yield
    seconds = time.process_time() - cpu, time.perf_counter() - wall
    costs[name] = Cost(*seconds, _memory("VmHWM") - before)


def _memory(field: str) -> float:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024 / 1e9


def run(samples: int) -> tuple[dict[str, Cost], dict[str, float]]:
    """Return the costs and the figures of one comparison."""
    make, costs = feature_source(), dict[str, Cost]()
    real = make(samples, 1, 1.0)
    with measured(costs, "real side, once"):
        reference = Reference.measure(real, progress=True)
    metrics = GenerationMetrics(Points(), KINDS, reference, progress=True)
    for start in range(0, samples, BATCH):
        metrics.update(make(min(BATCH, samples - start), 2 + start, 1.03), real=False)
    with measured(costs, "FID, KID, P/R/D/C"):
        values = metrics.compute()
    return costs, {name: value.item() for name, value in values.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--threads", type=int, help="torch's own choice by default")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    before = os.getloadavg()[0]
    costs, values = run(arguments.samples)
    size = arguments.samples * FEATURES * 4 / 1e9
    loads = f"load {before:.1f} at the start and {os.getloadavg()[0]:.1f} at the end"
    print(f"\n{arguments.samples:,} samples of either set, {size:.2f} GB each; {loads}\n")
    print("| what | CPU s | wall s | peak beyond the features, GB |\n|---|---|---|---|")
    for name, cost in costs.items():
        print(f"| {name} | {cost.cpu:.1f} | {cost.wall:.1f} | {cost.peak:.2f} |")
    print()
    print(", ".join(f"{name} {value:.4f}" for name, value in values.items()))


if __name__ == "__main__":
    main()
