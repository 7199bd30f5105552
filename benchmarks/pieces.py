"""What each piece costs: the time of a generator iteration with it, relative to the plain GAN's.

    python -m benchmarks.pieces --threads 1

All models have the same networks and train in turn, a few iterations at a time, on preallocated
batches; see ``benchmarks.throughput``. The ratio is that of the fastest iterations, the least
disturbed ones.
"""

import argparse
import logging
import os
import tempfile
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from lightning import Callback

from benchmarks.throughput import DROPPED, SEED, Batches, Ours
from lightning_gan import DRAGAN, GAN, R3GAN, SAGAN, SNGAN, WGANGP
from lightning_gan.callbacks import GeneratorEMA, LookaheadMinimax
from lightning_gan.gans import AdversarialModule
from lightning_gan.networks import (
    DCGANDiscriminator,
    DCGANGenerator,
    MLPDiscriminator,
    MLPGenerator,
)
from lightning_gan.training import (
    ADA,
    R1,
    R2,
    AugmentationPipeline,
    ConsensusOptimization,
    ConsistencyRegularization,
    DiffAugment,
    Drift,
    ExperienceReplay,
    FeatureMatching,
    GradientPenalty,
    InstanceNoise,
    LatentConsistency,
    LatentDiversity,
    LeCam,
    OptimisticAdam,
    OrthogonalRegularization,
)

Options = dict[str, Any]


def toy(packing: int = 1, minibatch: Any = "none", attention: Any = ()) -> Options:
    """Return networks of points."""
    return {
        "generator": MLPGenerator(),
        "discriminator": MLPDiscriminator((2 * packing,), minibatch=minibatch),
    }


def dcgan(packing: int = 1, minibatch: Any = "none", attention: Any = ()) -> Options:
    """Return networks of 32x32 images in colour, without batch normalisation in the second."""
    return {
        "generator": DCGANGenerator(base_channels=32, attention=attention),
        "discriminator": DCGANDiscriminator(
            image_channels=3 * packing,
            base_channels=32,
            norm="none",
            minibatch=minibatch,
            attention=attention,
        ),
    }


CASES: dict[str, tuple[Callable[..., Options], tuple[int, ...], int, int]] = {
    "toy": (toy, (2,), 512, 50),
    "dcgan": (dcgan, (3, 32, 32), 64, 3),
}
# For each piece: the variant, the networks' options and the model's, made anew each time.
PIECES: dict[str, Callable[[], tuple[type[AdversarialModule], Options, Options]]] = {
    "plain GAN": lambda: (GAN, {}, {}),
    "GradientPenalty": lambda: (GAN, {}, {"penalties": [GradientPenalty()]}),
    "DRAGAN": lambda: (DRAGAN, {}, {}),
    "R1": lambda: (GAN, {}, {"penalties": [R1()]}),
    "R1, every 16th": lambda: (GAN, {}, {"penalties": [R1(interval=16)]}),
    "R1 + R2": lambda: (GAN, {}, {"penalties": [R1(), R2()]}),
    "R3GAN": lambda: (R3GAN, {}, {"gamma": 1.0}),
    "WGANGP, n_critic 1": lambda: (WGANGP, {}, {"n_critic": 1}),
    "SNGAN, n_critic 1": lambda: (SNGAN, {}, {"n_critic": 1}),
    "SAGAN, attention on 16": lambda: (SAGAN, {"attention": [16]}, {}),
    "Drift": lambda: (GAN, {}, {"penalties": [Drift()]}),
    "LeCam": lambda: (GAN, {}, {"penalties": [LeCam()]}),
    "CR": lambda: (GAN, {}, {"penalties": [ConsistencyRegularization(InstanceNoise())]}),
    "bCR": lambda: (
        GAN,
        {},
        {"penalties": [ConsistencyRegularization(InstanceNoise(), fake_weight=1.0)]},
    ),
    "zCR": lambda: (GAN, {}, {"penalties": [LatentConsistency(), LatentDiversity()]}),
    "FeatureMatching": lambda: (GAN, {}, {"penalties": [FeatureMatching()]}),
    "OrthogonalRegularization": lambda: (GAN, {}, {"penalties": [OrthogonalRegularization()]}),
    "ConsensusOptimization": lambda: (GAN, {}, {"penalties": [ConsensusOptimization()]}),
    "InstanceNoise": lambda: (GAN, {}, {"augmentation": InstanceNoise()}),
    "DiffAugment": lambda: (GAN, {}, {"augmentation": DiffAugment()}),
    "AugmentationPipeline, p 0.5": lambda: (GAN, {}, {"augmentation": AugmentationPipeline(0.5)}),
    "ADA": lambda: (GAN, {}, {"augmentation": ADA()}),
    "R1 + R2 through ADA": lambda: (GAN, {}, {"augmentation": ADA(), "penalties": [R1(), R2()]}),
    "replay": lambda: (GAN, {}, {"replay": ExperienceReplay()}),
    "minibatch deviation": lambda: (GAN, {"minibatch": "stddev"}, {}),
    "minibatch discrimination": lambda: (GAN, {"minibatch": "discrimination"}, {}),
    "packing 2": lambda: (GAN, {"packing": 2}, {"packing": 2}),
    "packing 4": lambda: (GAN, {"packing": 4}, {"packing": 4}),
    "top-k 0.5": lambda: (GAN, {}, {"top_k": 0.5}),
    "unrolled 1": lambda: (GAN, {}, {"unrolled_steps": 1}),
    "unrolled 5": lambda: (GAN, {}, {"unrolled_steps": 5}),
    "simultaneous": lambda: (GAN, {}, {"updates": "simultaneous"}),
    "extragradient": lambda: (GAN, {}, {"updates": "extragradient"}),
    "optimistic Adam": lambda: (
        GAN,
        {},
        {"optimizer_g": OptimisticAdam, "optimizer_d": OptimisticAdam},
    ),
    "GeneratorEMA": lambda: (GAN, {}, {}),
    "LookaheadMinimax": lambda: (GAN, {}, {}),
}
CALLBACKS: dict[str, Callable[[], Callback]] = {
    "GeneratorEMA": GeneratorEMA,
    "LookaheadMinimax": LookaheadMinimax,
}
# The last compares every two samples of a batch, and the toy's is of 512.
IMAGES_ONLY = {
    "DiffAugment",
    "AugmentationPipeline, p 0.5",
    "ADA",
    "R1 + R2 through ADA",
    "SAGAN, attention on 16",
    "minibatch discrimination",
}


class Piece(Ours):
    """A model with one piece, and a callback if the piece is one."""

    def __init__(self, name: str, case: str, folder: str) -> None:
        networks, shape, size, self.iterations = CASES[case]
        torch.manual_seed(SEED)
        variant, network_options, options = PIECES[name]()
        model = variant(**networks(**network_options), **options)
        super().__init__(model, Batches(size * model.batches_per_step, *shape), folder)
        self.callbacks = [CALLBACKS[name]()] if name in CALLBACKS else []

    def fit(self, iterations: int, **options: Any) -> Any:
        """Train with the callback, too."""
        options["callbacks"] = [*self.callbacks, *options.get("callbacks", [])]
        return super().fit(iterations, **options)

    def times(self) -> list[float]:
        """Return milliseconds of some iterations."""
        stamps = self.run(DROPPED + self.iterations + 1)[DROPPED:]
        return [1e3 * (b - a) for a, b in pairwise(stamps)]


def measure(case: str, names: list[str], rounds: int) -> dict[str, float]:
    """Return the fastest iteration of each piece, in milliseconds."""
    fastest = dict.fromkeys(names, float("inf"))
    with tempfile.TemporaryDirectory() as folder:
        pieces = {name: Piece(name, case, folder) for name in names}
        for i in range(rounds):
            for name in names[:: 1 if i % 2 == 0 else -1]:
                fastest[name] = min(fastest[name], *pieces[name].times())
    return fastest


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--pieces", nargs="+", choices=PIECES, default=list(PIECES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="torch's own choice by default")
    parser.add_argument("--output", type=Path, help="file for the table, too")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    os.environ["PL_GLOBAL_SEED"] = str(SEED)
    columns = {}
    for case in arguments.cases:
        images = len(CASES[case][1]) == 3
        names = [name for name in arguments.pieces if images or name not in IMAGES_ONLY]
        columns[case] = measure(case, list(dict.fromkeys(["plain GAN", *names])), arguments.rounds)
    lines = [f"| piece | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    for name in dict.fromkeys(["plain GAN", *arguments.pieces]):
        cells = []
        for times in columns.values():
            ratio = times.get(name, float("nan")) / times["plain GAN"]
            unit = f" ({times[name]:.1f} ms)" if name == "plain GAN" else ""
            cells.append(f"{ratio:.2f}{unit}" if name in times else "")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    table = "\n".join(lines)
    print(table)
    if arguments.output:
        arguments.output.write_text(table + "\n")


if __name__ == "__main__":
    main()
