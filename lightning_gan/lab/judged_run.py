"""One training, judged at intervals and at its end."""

import time
from collections.abc import Sequence
from typing import Any

from lightning import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import LambdaCallback

from lightning_gan.callbacks import GeneratorEMA
from lightning_gan.callbacks.diagnostics import Diagnostics
from lightning_gan.lab.experiment import Row
from lightning_gan.lab.judges import Figures, Judge, without_average
from lightning_gan.lab.recipes import Recipe
from lightning_gan.lab.training import train

DIGITS = 6  # significant ones of what is kept


class JudgedPoints(Callback):
    """Judge a model every so many iterations, without moving any random numbers of its training.

    It stands last among the callbacks, after what watches the training.

    Args:
        judge: What counts.
        every_n_steps: Iterations between two points; None judges the end alone.
        seed: Of the latents, the same at each point.
        watch: What raises alarms.

    Attributes:
        points: ``step``, figures of the ``average`` generator and of the ``last`` one.
        alarms: ``name`` and ``step`` of each alarm that was raised.
    """

    def __init__(
        self, judge: Judge, every_n_steps: int | None, seed: int, watch: Diagnostics
    ) -> None:
        self.judge = judge
        self.every_n_steps = every_n_steps
        self.seed = seed
        self.watch = watch
        self.points: list[Row] = []
        self.alarms: list[Row] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        """Note alarms, and judge where it is time to."""
        step = trainer.global_step
        if self.watch.last_step == step:
            self.alarms += [{"name": alarm.name, "step": step} for alarm in self.watch.raised]
        if self.every_n_steps and step % self.every_n_steps == 0:
            self._take(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Judge the end."""
        if not self.points or self.points[-1]["step"] != trainer.global_step:
            self._take(trainer, pl_module)

    def _take(self, trainer: Any, model: Any) -> None:
        found = self.judge.of_both(model, trainer.datamodule, self.seed)
        figures = {name: rounded(part) for name, part in found.items()}
        self.points.append({"step": trainer.global_step, **figures})


class Stopwatch(Callback):
    """Stand still while later callbacks look at the training.

    Attributes:
        seconds: CPU time of the training alone, which other processes do not lengthen.
        iterations: How many it took.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.iterations = 0
        self._since = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin."""
        self._since = time.process_time()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        """Stop."""
        self.seconds += time.process_time() - self._since
        self.iterations += 1

    def go_on(self) -> Callback:
        """Return the callback that ends the break; it stands after those that are not timed."""

        def begin(*_: Any) -> None:
            self._since = time.process_time()

        return LambdaCallback(on_train_batch_end=begin)


def judged_run(
    recipe: Recipe,
    judge: Judge,
    seed: int,
    every_n_steps: int | None = None,
    root: str | None = None,
    accelerator: str = "cpu",
) -> Row:
    """Train a model from scratch, and judge the averaged generator and the last one.

    Args:
        recipe: What is trained.
        judge: What counts.
        seed: Of weights, latents and order.
        every_n_steps: Iterations between two points of ``curve``; None judges the end alone.
        root: Folder of the data's files, in place of the recipe's.
        accelerator: Lightning's name of the device.

    Returns:
        ``ms`` of CPU time an iteration, ``images`` that the discriminator was shown, figures of the
        generators ``average`` and ``last`` and of as many ``real`` samples, the ``best`` point by
        its reverse divergence, the ``curve`` of all points, ``alarms``, a ``note``, ``samples``;
        of a run that diverged why it ``ended``, and the worst figures.
    """
    seed_everything(seed, verbose=False)
    data = recipe.build_data(root)
    model = recipe.build_model(data.batch_size)
    stopwatch, watch = Stopwatch(), Diagnostics()
    points = JudgedPoints(judge, every_n_steps, seed, watch)
    own = [GeneratorEMA(recipe.ema_decay), *recipe.build_callbacks()]
    looks = [watch, points, stopwatch.go_on()]
    watched = [*own, stopwatch, *looks]
    ended = ""
    try:
        train(model, data, recipe.steps, watched, accelerator=accelerator)
        last = points.points[-1]
    except FloatingPointError as error:  # a result like any other
        ended = str(error)
        last = {which: judge.of_nothing() for which in ("average", "last")}
        points.points.append({"step": recipe.steps, **last})
    average = judge.keep(model, seed)
    with without_average(model):
        samples = {"average": average, "last": judge.keep(model, seed)}
    return {
        "ms": round(1000 * stopwatch.seconds / max(stopwatch.iterations, 1), 3),
        "images": model.images_seen,
        "average": last["average"],
        "last": last["last"],
        "best": best_of(points.points),
        "real": rounded(judge.of_data(data)),
        "note": judge.note(data),
        "alarms": points.alarms,
        "curve": points.points,
        "ended": ended,
        "samples": samples,
    }


def best_of(points: Sequence[Row]) -> Row:
    """Return the figures of the point with the lowest reverse divergence, its step and which."""
    found = [
        {"step": point["step"], "which": which, **point[which]}
        for point in points
        for which in ("average", "last")
    ]
    known = [one for one in found if one["reverse_kl"] is not None]
    return min(known, key=lambda one: one["reverse_kl"]) if known else found[-1]


def rounded(figures: Figures) -> Figures:
    """Return figures with as many digits as mean anything."""
    return {k: None if v is None else float(f"{v:.{DIGITS}g}") for k, v in figures.items()}
