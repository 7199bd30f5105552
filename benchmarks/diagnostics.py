"""What the diagnostics cost, and which alarms they raise on healthy and on failing runs.

    OMP_NUM_THREADS=1 python -m benchmarks.diagnostics cost --root FOLDER_OF_MNIST
    OMP_NUM_THREADS=1 python -m benchmarks.diagnostics alarms --steps 2000 --results alarms.jsonl

``cost`` measures in turn with iterations of the same run, by the process's CPU time, which other
programs on the machine disturb little. What a measurement takes beside an iteration, logging
included, gives the share at any interval more exactly than the difference of two runs, which is
smaller than their scatter.

``alarms`` trains each committed configuration of the ring and of the digits, which should raise
nothing, and runs that are made to fail, and says which alarms are raised when. A run that is in the
results already is judged anew by the alarms of today without being trained again.
"""

import argparse
import json
import logging
import tempfile
import time
import warnings
from pathlib import Path
from statistics import median
from typing import Any

import torch
import yaml
from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.cli import instantiate_class
from lightning.pytorch.loggers import CSVLogger

from lightning_gan.callbacks import GeneratorEMA
from lightning_gan.callbacks.diagnostics import Diagnostics
from lightning_gan.data import GANDataModule
from lightning_gan.diagnostics.alarms import Alarms
from lightning_gan.gans import AdversarialModule
from lightning_gan.lab.recipes import build

CONFIGS = Path(__file__).parents[1] / "configs"
Options = dict[str, Any]


def adam(**options: float) -> Options:
    """Return the configuration of an optimiser."""
    return {"class_path": "lightning_gan.training.GANAdam", "init_args": options}


def mlp(*hidden: int) -> Options:
    """Return the configuration of a discriminator of points."""
    options = {"hidden": list(hidden)}
    return {"class_path": "lightning_gan.networks.MLPDiscriminator", "init_args": options}


# Runs that are made to fail: a configuration, and what is changed of the model, or of the data.
FAILING: dict[str, tuple[str, Options]] = {
    "rates 2e-3, momentum 0.9, n_critic 5": (
        "ring/gan",
        {
            "n_critic": 5,
            "discriminator": mlp(512, 512),
            "optimizer_g": adam(lr=2e-3, beta1=0.9),
            "optimizer_d": adam(lr=2e-3, beta1=0.9),
        },
    ),
    "G 1e-2 against D 1e-4": (
        "ring/gan",
        {"optimizer_g": adam(lr=1e-2), "optimizer_d": adam(lr=1e-4)},
    ),
    "saturating loss, n_critic 5": (
        "ring/gan",
        {"generator_objective": "minimax", "n_critic": 5},
    ),
    "WGAN, clip 1e-3": ("ring/wgan", {"weight_clip_val_d": 1e-3}),
    "WGAN, clip 1e-3, 5 layers": (
        "ring/wgan",
        {"weight_clip_val_d": 1e-3, "discriminator": mlp(128, 128, 128, 128)},
    ),
    "WGAN, clip 1": ("ring/wgan", {"weight_clip_val_d": 1.0}),
    "WGAN, no clipping": ("ring/wgan", {"weight_clip_val_d": None}),
    "WGAN-GP, weight 1e-5": ("ring/wgan_gp", {"gp_weight": 1e-5}),
    "momentum 0.9, D 1e-2": (
        "ring/gan",
        {"optimizer_g": adam(lr=1e-2, beta1=0.9), "optimizer_d": adam(lr=1e-2, beta1=0.9)},
    ),
    "64 samples, D 1e-3 of 512 units": (
        "ring/gan",
        {"discriminator": mlp(512, 512), "data": {"num_samples": 64, "batch_size": 32}},
    ),
    "digits: saturating, D 2e-3": (
        "digits/gan",
        {"generator_objective": "minimax", "optimizer_d": adam(lr=2e-3)},
    ),
    "digits: D 5e-3, n_critic 5": (
        "digits/gan",
        {"n_critic": 5, "optimizer_d": adam(lr=5e-3)},
    ),
}


def healthy() -> list[str]:
    """Return the names of the committed configurations of the ring and of the digits."""
    paths = [path for data in ("ring", "digits") for path in (CONFIGS / data).glob("*.yaml")]
    return sorted((f"{path.parent.name}/{path.stem}" for path in paths), reverse=True)


def built(
    config: str, changes: Options, root: str | None = None
) -> tuple[AdversarialModule, GANDataModule, Options]:
    """Return a committed configuration's model, with some arguments changed, its data and rest."""
    options = yaml.safe_load((CONFIGS / f"{config}.yaml").read_text())
    seed_everything(0, verbose=False)
    chosen = {part: options[part] for part in ("model", "data")}
    chosen["data"]["init_args"] |= changes.get("data", {})
    chosen["model"]["init_args"] |= {k: v for k, v in changes.items() if k != "data"}
    if root is not None and config.startswith("mnist"):
        chosen["data"]["init_args"]["root"] = root
    model = build(AdversarialModule, chosen["model"])  # type: ignore[type-abstract]
    return model, build(GANDataModule, chosen["data"]), options  # type: ignore[type-abstract]


def trainer_for(folder: str, steps: int, callbacks: list[Callback]) -> Trainer:
    """Return a quiet trainer with a logger."""
    return Trainer(
        max_steps=steps,
        max_epochs=-1,
        callbacks=callbacks,
        accelerator="cpu",
        devices=1,
        logger=CSVLogger(folder),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        default_root_dir=folder,
    )


def run(name: str, steps: int, every: int) -> dict[str, Any]:
    """Train once and return all figures."""
    config, changes = FAILING.get(name, (name, {}))
    model, data, options = built(config, changes)
    diagnostics = Diagnostics(every, every)
    ema = GeneratorEMA(**options.get("ema", {}))
    others = [instantiate_class((), c) for c in options["trainer"].get("callbacks", [])]
    ended = ""
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_for(folder, steps, [ema, *others, diagnostics])
        try:
            trainer.fit(model, data)
        except FloatingPointError as error:
            ended = str(error)
    history = [tuple(one) for one in diagnostics.history]
    return {"run": name, "steps": steps, "history": history, "ended": ended}


def judged(result: dict[str, Any]) -> list[str]:
    """Return which alarms are raised when, by the alarms of today."""
    alarms = Alarms()
    raised = [one for step, figures in result["history"] for one in alarms.update(step, figures)]
    found = [f"{one.name} at {one.step} (since {one.since})" for one in raised]
    return found + ([f"NaN at {result['history'][-1][0]}"] if result["ended"] else [])


class Timed(Diagnostics):
    """Measures what it is told to after every iteration, and notes the CPU time of all parts."""

    def __init__(self, every: int) -> None:
        super().__init__(every, None)
        self.iterations: list[float] = []
        self.measurements: dict[str, list[float]] = {"probe": [], "steepness": []}
        self._began = 0.0

    def on_train_batch_start(self, *_: Any) -> None:
        """Look at the clock."""
        self._began = time.process_time()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        """Look at it again, then measure."""
        self.iterations.append(time.process_time() - self._began)
        if trainer.global_step % self.every_n_steps == 0:
            for name, every in (("probe", None), ("steepness", 1)):
                self.steepness_every_n_steps = every
                began = time.process_time()
                self._measure(trainer, pl_module, pl_module.receive(rest[1]))
                self.measurements[name].append(time.process_time() - began)


def cost(config: str, measurements: int, root: str | None, every: int = 10) -> str:
    """Return a row of a table: what an iteration and the two kinds of measurements take."""
    model, data, options = built(config, {}, root)
    timed = Timed(every)
    others = [instantiate_class((), c) for c in options["trainer"].get("callbacks", [])]
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_for(folder, measurements * every, [*others, timed])
        trainer.fit(model, data)
    iteration = median(timed.iterations)
    cheap = median(timed.measurements["probe"])
    steep = median(timed.measurements["steepness"]) - cheap
    usual = Diagnostics()
    share = cheap / (usual.every_n_steps or 1) + steep / (usual.steepness_every_n_steps or 1)
    shown = " | ".join(f"{1000 * seconds:.1f}" for seconds in (iteration, cheap, steep))
    return f"| {config} | {shown} | {100 * share / iteration:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["cost", "alarms"])
    parser.add_argument("--runs", nargs="+", default=None)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--every", type=int, default=Diagnostics().every_n_steps)
    parser.add_argument("--measurements", type=int, default=20)
    parser.add_argument("--root", help="folder of MNIST's files")
    parser.add_argument("--results", type=Path, default=Path("runs/diagnostics.jsonl"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if arguments.what == "cost":
        print("| configuration | ms an iteration | ms a probe | ms of the slopes | % in all |")
        print("|---|---|---|---|---|")
        for config in arguments.runs or [*healthy(), "mnist/gan", "mnist/wgan_gp"]:
            print(cost(config, arguments.measurements, arguments.root), flush=True)
        return
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    arguments.results.touch()
    lines = arguments.results.read_text().splitlines()
    known = {result["run"]: result for result in map(json.loads, lines)}
    for name in arguments.runs or [*healthy(), *FAILING]:
        if name not in known:
            known[name] = run(name, arguments.steps, arguments.every)
            with arguments.results.open("a") as file:
                file.write(json.dumps(known[name]) + "\n")
        print(f"| {name} | {'; '.join(judged(known[name])) or '-'} |", flush=True)


if __name__ == "__main__":
    main()
