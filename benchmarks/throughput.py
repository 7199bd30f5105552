"""Time of a generator iteration: ``trainer.fit`` against a hand-optimised plain PyTorch loop.

How to run, on a machine that does nothing else::

    python -m benchmarks.throughput                       # all cases
    python -m benchmarks.throughput --cases toy --rounds 20 --threads 1 --output toy.json
    python -m benchmarks.throughput --check               # that both sides do the same work

Both sides train equal copies of the same networks on the same preallocated batches, in one
process, in alternating chunks whose order is reversed every other round. The time of an iteration
is the gap between the starts of two consecutive ones; the first of each chunk are dropped.

The plain loop is the fastest that one would write by hand: generated samples for the discriminator
without a graph, the discriminator frozen in the generator's update, fused Adam, softplus losses,
one discriminator pass over real and generated samples where there is no batch normalisation; no
logging, no checks, no gradient norms. Ours is a real fit with CSV logger and progress bar off, and
does all of these but the one pass. It lays convolutions out as channels_last, which the plain loop
does only under ``--channels_last_in_plain_loop``: without it the ratio says what a user gains or
loses, with it what the library costs.

How to read: a ratio below 1 means that the library is faster. The minimum is the least disturbed
iteration, the median the typical one; where the two ratios differ by several percent, the machine
was busy and the smaller differences mean nothing. Every 50th iteration also logs, which shows only
in the means of ``--output``.
"""

import argparse
import json
import logging
import os
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks.plain_loop import PlainGAN, PlainWGANGP
from lightning_gan import GAN, WGANGP
from lightning_gan.gans import AdversarialModule
from lightning_gan.networks import (
    DCGANDiscriminator,
    DCGANGenerator,
    MLPDiscriminator,
    MLPGenerator,
    ResNetDiscriminator,
    ResNetGenerator,
)
from lightning_gan.training.randomness import seed_step

SEED = 0
DROPPED = 1  # iterations at the start of a chunk: cold caches, the optimisers' first state
BATCHES = 4  # preallocated


class Batches:
    """Random samples in [-1, 1], without end."""

    def __init__(self, *shape: int) -> None:
        self._tensors = [torch.rand(shape) * 2 - 1 for _ in range(BATCHES)]

    def __iter__(self) -> Iterator[Tensor]:
        return cycle(self._tensors)


class Stamps(Callback):
    """Note when each iteration begins."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        """Look at the clock."""
        self.times.append(time.perf_counter())


class Ours:
    """The library, a fit per chunk on one model."""

    def __init__(self, model: AdversarialModule, batches: Batches, folder: str) -> None:
        self.model, self.batches, self.folder = model, batches, folder

    def run(self, iterations: int) -> list[float]:
        """Train and return when each iteration began."""
        stamps = Stamps()
        self.fit(iterations, callbacks=[stamps])
        return stamps.times

    def fit(self, iterations: int, **options: Any) -> lightning.Trainer:
        """Train and return the Trainer."""
        defaults = {"log_every_n_steps": 50, "logger": CSVLogger(self.folder)}
        trainer = lightning.Trainer(
            accelerator="cpu",
            devices=1,
            max_steps=iterations,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            **{**defaults, **options},
        )
        trainer.fit(self.model, self.batches)
        return trainer


@dataclass
class Case:
    """What is trained and how it is written by hand."""

    model: Callable[[], AdversarialModule]
    plain: type[PlainGAN]
    sample_shape: tuple[int, ...]
    batch_size: int
    iterations: int  # timed ones per chunk

    def sides(self, folder: str, channels_last: bool) -> tuple[Ours, PlainGAN]:
        """Return both sides, with equal weights and the same data."""
        torch.manual_seed(SEED)
        model = self.model()
        batches = Batches(self.batch_size * model.n_critic, *self.sample_shape)
        plain = self.plain(model, batches, channels_last)
        return Ours(model, batches, folder), plain


CASES = {
    "toy": Case(lambda: GAN(MLPGenerator(), MLPDiscriminator()), PlainGAN, (2,), 512, 100),
    "dcgan": Case(
        lambda: GAN(DCGANGenerator(base_channels=64), DCGANDiscriminator(base_channels=64)),
        PlainGAN,
        (3, 32, 32),
        64,
        5,
    ),
    "wgan_gp": Case(
        lambda: WGANGP(ResNetGenerator(base_channels=64), ResNetDiscriminator(base_channels=32)),
        PlainWGANGP,
        (3, 32, 32),
        64,
        2,
    ),
}


@dataclass
class Result:
    """Milliseconds of each timed iteration of one case."""

    case: str
    ours: list[float]
    plain: list[float]

    def row(self) -> str:
        """Return the line of the table."""
        ours, plain = self.ours, self.plain
        medians, minima = [[f(ours), f(plain)] for f in (statistics.median, min)]
        return (
            f"{self.case:8}{medians[0]:11.3f}{minima[0]:11.3f}{medians[1]:12.3f}{minima[1]:11.3f}"
            f"{medians[0] / medians[1]:13.3f}{minima[0] / minima[1]:11.3f}{len(ours):12d}"
        )


def measure(name: str, case: Case, rounds: int, channels_last: bool) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        ours, plain = sides = case.sides(folder, channels_last)
        times: dict[Any, list[float]] = {ours: [], plain: []}
        for side in sides:
            side.run(1)  # loads libraries, tries the networks, fills the allocator's caches
        for i in range(rounds):
            for side in sides[:: 1 if i % 2 == 0 else -1]:
                stamps = side.run(DROPPED + case.iterations + 1)[DROPPED:]
                times[side] += [1e3 * (b - a) for a, b in pairwise(stamps)]
    return Result(name, times[ours], times[plain])


def check(name: str, case: Case) -> None:
    """Compare losses, weights, updates and FLOPs after the same iteration in double precision."""
    case = replace(case, batch_size=min(case.batch_size, 16))
    torch.set_default_dtype(torch.float64)
    with tempfile.TemporaryDirectory() as folder:
        ours, plain = case.sides(folder, channels_last=False)
        trainer = ours.fit(1, log_every_n_steps=1)
        seed_step(torch.device("cpu"), SEED, 0, 0)  # as the library does before its iteration
        *d_losses, g_loss = plain.iterate(next(iter(plain.batches)))
        logged = [trainer.callback_metrics[f"train/{key}_loss"] for key in "dg"]
        expected = [torch.stack(d_losses).mean().detach(), g_loss.detach()]
        torch.testing.assert_close(logged, expected, rtol=1e-6, atol=1e-6)
        pairs = [
            (ours.model.generator, plain.generator),
            (ours.model.discriminator, plain.discriminator),
        ]
        for mine, theirs in pairs:
            torch.testing.assert_close(mine.state_dict(), theirs.state_dict(), rtol=0, atol=1e-8)
        updates = [_updates(trainer.optimizers), _updates(plain.optimizers)]
        flops = [_flops(lambda: ours.run(1)), _flops(lambda: plain.run(1))]
    torch.set_default_dtype(torch.float32)
    sizes = [sum(p.numel() for p in net.parameters()) for net in pairs[0] + pairs[1]]
    print(
        f"{name}: losses {[round(float(x), 6) for x in expected]} and weights after an iteration "
        f"agree\n  parameters g {sizes[0]}, {sizes[1]}; d {sizes[2]}, {sizes[3]}\n"
        f"  updates (g, d) {updates[0]}, {updates[1]}\n"
        f"  FLOPs per iteration {flops[0]:.4g}, {flops[1]:.4g} at batch size {case.batch_size}"
    )
    if updates[0] != updates[1] or flops[0] != flops[1]:
        raise RuntimeError("The two sides do different work.")


def _updates(optimizers: list[Any]) -> list[int]:
    return [int(next(iter(o.state.values()))["step"]) for o in optimizers]


class _FlopCounter(TorchDispatchMode):
    """Like torch's ``FlopCounterMode``, whose hooks on modules do not allow double backward."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        self.total += count(*args, **(kwargs or {}), out_val=out) if count else 0
        return out


def _flops(run: Callable[[], object]) -> int:
    counter = _FlopCounter()
    with counter:
        run()
    return counter.total


def _machine(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "torch": torch.__version__,
        "lightning": lightning.__version__,
        "python": platform.python_version(),
        "processor": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_1min": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "channels_last": f"ours yes, plain {'yes' if args.channels_last_in_plain_loop else 'no'}",
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--rounds", type=int, default=6, help="chunks of each side")
    parser.add_argument("--threads", type=int, help="torch's own choice by default")
    parser.add_argument("--output", type=Path, help="JSON file for all times")
    parser.add_argument("--channels_last_in_plain_loop", action="store_true")
    parser.add_argument("--check", action="store_true", help="compare the work, time nothing")
    return parser.parse_args()


def main() -> None:
    args = _arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    os.environ["PL_GLOBAL_SEED"] = str(SEED)
    machine = _machine(args)
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    if args.check:
        for name in args.cases:
            check(name, CASES[name])
        return
    print("case     ours median     min (ms)  plain median  min  ratio median  min  iterations")
    results = []
    for name in args.cases:
        results.append(measure(name, CASES[name], args.rounds, args.channels_last_in_plain_loop))
        print(results[-1].row(), flush=True)
    if args.output:
        report = {"machine": machine, "results": [asdict(result) for result in results]}
        args.output.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
