"""Each cure beside the plain GAN, on mixtures of Gaussians in which every mode can be counted.

    python -m benchmarks.cures --layouts ring grid --seeds 0 1 2

All rows have the same networks, data, batch size, number of generator iterations and, but for those
that are about optimisers, the same optimisers. A run that is in the results already is not made
again; the table is printed from them. A divergence is undefined where no sample is good.
"""

import argparse
import json
import logging
import math
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from lightning import Trainer, seed_everything

from benchmarks.modes import judge_both
from lightning_gan import DRAGAN, GAN, R3GAN, WGANGP
from lightning_gan.callbacks import GeneratorEMA, LookaheadMinimax
from lightning_gan.data import GaussianMixture
from lightning_gan.gans import AdversarialModule
from lightning_gan.networks import MLPDiscriminator, MLPGenerator
from lightning_gan.training import (
    R1,
    R2,
    ConsensusOptimization,
    ConsistencyRegularization,
    CosineSchedule,
    FeatureMatching,
    GANAdam,
    InstanceNoise,
    LatentConsistency,
    LatentDiversity,
    LeCam,
    LinearSchedule,
    OptimisticAdam,
    OrthogonalRegularization,
)

STEPS = {"ring": 3_000, "grid": 4_000}
BATCH, LR, HIDDEN = 256, 5e-4, (128, 128)
Options = dict[str, Any]


def adam(images: int, kind: type[GANAdam] = GANAdam, beta1: float = 0.5) -> Any:
    """Return a maker of the optimiser of all rows, whose rate falls over the whole run."""

    def make(parameters: Any) -> GANAdam:
        return kind(parameters, lr=LinearSchedule(LR, LR / 20, images), beta1=beta1)

    return make


def networks(packing: int = 1) -> Options:
    """Return the networks of all rows."""
    return {
        "generator": MLPGenerator(hidden=HIDDEN),
        "discriminator": MLPDiscriminator((2 * packing,), HIDDEN),
    }


def plain(variant: type[AdversarialModule] = GAN, packing: int = 1, **options: Any) -> Any:
    """Return a maker of a model that differs from the plain GAN in some options."""

    def make(images: int) -> AdversarialModule:
        shared: Options = {"optimizer_g": adam(images), "optimizer_d": adam(images)}
        return variant(**networks(packing), packing=packing, **shared | options)

    return make


def optimistic(images: int) -> AdversarialModule:
    """Return a GAN under optimistic Adam."""
    optimizer = adam(images, OptimisticAdam)
    return GAN(**networks(), optimizer_g=optimizer, optimizer_d=optimizer)


def r3gan(images: int) -> AdversarialModule:
    """Return an R3GAN with schedules over the whole run, as its authors have them."""

    def make(parameters: Any) -> GANAdam:
        rate = CosineSchedule(LR, LR / 20, images)
        return GANAdam(parameters, lr=rate, beta1=0.0, beta2=CosineSchedule(0.9, 0.99, images))

    gamma = CosineSchedule(0.3, 0.003, images)
    return R3GAN(**networks(), gamma=gamma, optimizer_g=make, optimizer_d=make)


def noise(images: int) -> AdversarialModule:
    """Return a GAN whose samples are blurred at first."""
    falling = InstanceNoise(LinearSchedule(0.5, 0.0, images * 0.8))
    return plain(augmentation=falling)(images)  # type: ignore[no-any-return]


def top_k(images: int) -> AdversarialModule:
    """Return a GAN whose generator learns from ever fewer samples."""
    return plain(top_k=LinearSchedule(1.0, 0.5, images / 2))(images)  # type: ignore[no-any-return]


# Made anew for every run, as penalties have state.
CURES: dict[str, Callable[[int], AdversarialModule]] = {
    "plain GAN": plain(),
    "WGAN-GP 0.1, n_critic 1": plain(WGANGP, gp_weight=0.1, n_critic=1),
    "DRAGAN 0.1": plain(DRAGAN, penalty_weight=0.1),
    "R1 0.1": lambda n: plain(penalties=[R1(0.1)])(n),
    "R1 + R2 0.1": lambda n: plain(penalties=[R1(0.1), R2(0.1)])(n),
    "R3GAN, constant": plain(R3GAN, gamma=0.1),
    "R3GAN, scheduled": r3gan,
    "LeCam 0.3": lambda n: plain(penalties=[LeCam(0.3)])(n),
    "CR 10, noise 0.05": lambda n: plain(
        penalties=[ConsistencyRegularization(InstanceNoise(0.05))]
    )(n),
    "bCR 10, noise 0.05": lambda n: plain(
        penalties=[ConsistencyRegularization(InstanceNoise(0.05), fake_weight=1.0)]
    )(n),
    "zCR 5, 0.5": lambda n: plain(penalties=[LatentConsistency(), LatentDiversity()])(n),
    "feature matching 1": lambda n: plain(penalties=[FeatureMatching()])(n),
    "orthogonal, G 1e-4": lambda n: plain(penalties=[OrthogonalRegularization()])(n),
    "top-k to 0.5": top_k,
    "instance noise 0.5 to 0": noise,
    "packing 2": plain(packing=2),
    "packing 4": plain(packing=4),
    "packing 2, R1 + R2 0.1": lambda n: plain(packing=2, penalties=[R1(0.1), R2(0.1)])(n),
    "unrolled 1": plain(unrolled_steps=1),
    "unrolled 5": plain(unrolled_steps=5),
    "simultaneous": plain(updates="simultaneous"),
    "extragradient": plain(updates="extragradient"),
    "optimistic Adam": optimistic,
    "consensus 0.1": lambda n: plain(penalties=[ConsensusOptimization(0.1)])(n),
    "lookahead 5, 0.5": plain(),
}
CALLBACKS: dict[str, Callable[[], Any]] = {
    "lookahead 5, 0.5": lambda: LookaheadMinimax(steps=5, alpha=0.5)
}


def run(cure: str, layout: Any, seed: int, steps: int) -> dict[str, Any]:
    """Train once and judge the averaged generator and the last one."""
    seed_everything(seed, verbose=False)
    model = CURES[cure](steps * BATCH)
    data = GaussianMixture(layout, batch_size=BATCH, seed=seed)
    average = GeneratorEMA(0.999)
    extra = [CALLBACKS[cure]()] if cure in CALLBACKS else []
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            max_steps=steps,
            callbacks=[average, *extra],
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
            default_root_dir=folder,
        )
        start = time.perf_counter()
        trainer.fit(model, data)
        seconds = time.perf_counter() - start
    result: dict[str, Any] = {"cure": cure, "layout": layout, "seed": seed, "steps": steps}
    result["ms"] = 1000 * seconds / steps
    return result | judge_both(model, data, seed)


def table(results: list[dict[str, Any]], layout: str) -> str:
    """Return a markdown table, a cure a row: means over the seeds, with standard deviations."""
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for result in results:
        if result["layout"] == layout:
            rows[result["cure"]].append(result)
    number = {"ring": 8, "grid": 25}[layout]
    lines = [
        f"| cure | modes of {number} | within 3 std | reverse KL | last: modes | last: within "
        "| last: KL | ms an iteration | seeds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for cure in CURES:
        if found := rows.get(cure):
            cells = [
                _spread([result[which][name] for result in found], digits)
                for which in ("average", "last")
                for name, digits in (("modes", 1), ("good", 1), ("kl", 3))
            ]
            fastest = min(result["ms"] for result in found)
            lines.append(f"| {cure} | {' | '.join(cells)} | {fastest:.1f} | {len(found)} |")
    return "\n".join(lines)


def _spread(values: list[float], digits: int) -> str:
    """Return mean and standard deviation of those that are defined, and of how many."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return "-"
    text = f"{mean(known):.{digits}f}"
    if len(known) > 1:
        text += f" ± {stdev(known):.{digits}f}"
    return text if len(known) == len(values) else f"{text} ({len(known)} of {len(values)})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--layouts", nargs="+", default=["ring", "grid"], choices=list(STEPS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--cures", nargs="+", default=list(CURES), choices=list(CURES))
    parser.add_argument("--results", type=Path, default=Path("runs/cures.jsonl"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    arguments.results.touch()

    def known() -> list[dict[str, Any]]:
        return [json.loads(line) for line in arguments.results.read_text().splitlines()]

    for seed in arguments.seeds:
        for layout in arguments.layouts:
            for cure in arguments.cures:
                done = {(r["cure"], r["layout"], r["seed"]) for r in known()}
                if (cure, layout, seed) not in done:
                    result = run(cure, layout, seed, STEPS[layout])
                    with arguments.results.open("a") as file:
                        file.write(json.dumps(result) + "\n")
    for layout in arguments.layouts:
        print(f"\n{layout}, {STEPS[layout]:,} generator iterations\n")
        print(table(known(), layout))


if __name__ == "__main__":
    main()
