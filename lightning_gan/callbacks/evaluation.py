"""How good the generated samples are, in figures and in words, over a run and at its end."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from lightning_gan.callbacks.curves import Evaluated, draw_curves
from lightning_gan.callbacks.models import expect_model
from lightning_gan.callbacks.pictures import save_picture
from lightning_gan.callbacks.run import extractor_of, real_samples, run_folder
from lightning_gan.extractors import Extractor, make_extractor
from lightning_gan.gans.generative import GenerativeModule
from lightning_gan.metrics import (
    METRICS,
    PUBLISHED_SIZE,
    SEVERE,
    VERDICTS,
    GenerationMetrics,
    Report,
)
from lightning_gan.metrics.real_samples import SetOfSamples, own_part
from lightning_gan.networks import in_final_size
from lightning_gan.training.arguments import check_choice
from lightning_gan.training.record import hand_over

MOST = 10_000  # images by default where nothing published is to be compared with


class Evaluation(Callback):
    """Measure the generated samples and say what is wrong with them.

    While training it logs ``eval/fid`` (or ``eval/fd/<extractor>``) and the other figures of
    :class:`~lightning_gan.metrics.GenerationMetrics`, prints the verdict, and writes all of it to
    ``evaluation/step_00001000.json`` and so on in the run's folder, beside ``curves.png``. Any
    figure can be the ``monitor`` of checkpoints, best by
    :class:`~lightning_gan.callbacks.BestCheckpoint`, and of early stopping, which looks once after
    each validation and therefore goes with ``on_validation``. In ``test`` it logs
    ``test/...``, prints a table with the definition of each figure, and writes it as text, CSV and
    JSON.

    Each generated sample passes once through the extractor, all processes sharing them; real ones
    never again after the first time, as their features are kept in the cache folder under a digest
    of weights and content. The averaged generator is used where there is one. The samples come from
    the same latents every time, and a conditional model's classes are as frequent as in the data.

    Args:
        every_n_steps: Generator iterations between two evaluations in training, the first before
            it; None for none.
        on_validation: Whether to evaluate after each validation, too.
        extractor: What describes the samples: ``inception``, ``digits``, ``points``, a name of
            torch-fidelity's, a file (``.pt2``, TorchScript, or of ``lightning-gan fit-extractor``)
            or a module. None takes what the data module names: points for points, the digits'
            classifier for scikit-learn's digits, else Inception.
        extractor_weights: File of the weights of Inception, for machines without internet.
        num_images: Generated samples. None takes 50,000, as published, with Inception, and
            otherwise as many as there are real ones, up to 10,000.
        num_real: Real samples, drawn once; None takes all of the training set without mirrored
            ones.
        metrics: Which figures; see :class:`~lightning_gan.metrics.GenerationMetrics`.
        batch_size: Samples generated and described at a time.
        seed: Seed of the latents and classes.
        stop_on: Verdicts on which training stops, such as ``mode dropping``, if they concern half
            of the samples or of the data.
        patience: How many such verdicts in succession it takes.
        grace: Number of evaluations at the start of a training whose verdicts do not count for
            that, as an untrained generator fails in the same ways.
        cache_dir: Folder of the real features; None takes ``lightning_gan`` in the user's cache
            folder, or ``$LIGHTNING_GAN_CACHE``. Processes on several machines should share it.

    Attributes:
        monitor: ``eval/frechet_distance``, under which callbacks find the Fréchet distance,
            whichever the extractor.
        report: What the last evaluation found.

    Raises:
        ValueError: If an argument is out of range; before training, if the extractor cannot be
            had or does not fit the samples.
    """

    monitor = "eval/frechet_distance"

    def __init__(
        self,
        every_n_steps: int | None = None,
        on_validation: bool = False,
        extractor: Extractor | str | None = None,
        extractor_weights: str | Path | None = None,
        num_images: int | None = None,
        num_real: int | None = None,
        metrics: Sequence[str] = METRICS,
        batch_size: int = 128,
        seed: int = 0,
        stop_on: Sequence[str] = (),
        patience: int = 3,
        grace: int = 5,
        cache_dir: str | Path | None = None,
    ) -> None:
        for name, value, least in (
            ("every_n_steps", every_n_steps, 1),
            ("num_images", num_images, 2),
            ("num_real", num_real, 2),
            ("batch_size", batch_size, 1),
            ("patience", patience, 1),
            ("grace", grace, 0),
        ):
            if value is not None and value < least:
                raise ValueError(f"Expected '{name}' to be at least {least}, got {value}.")
        for verdict in stop_on:
            check_choice("stop_on", verdict, VERDICTS[1:])
        for metric in metrics:
            check_choice("metrics", metric, METRICS)
        self.every_n_steps = every_n_steps
        self.on_validation = on_validation
        self.extractor = extractor
        self.extractor_weights = extractor_weights
        self.num_images = num_images
        self.num_real = num_real
        self.metrics = tuple(metrics)
        self.batch_size = batch_size
        self.seed = seed
        self.stop_on = tuple(stop_on)
        self.patience = patience
        self.grace = grace
        self.cache_dir = None if cache_dir is None else Path(cache_dir)
        self.report: Report | None = None
        self._metrics: GenerationMetrics | None = None
        self._measured = False
        self._labels: Tensor | None = None
        self._history: list[Evaluated] = []
        self._begun = 0  # evaluations before this training

    @property
    def last_step(self) -> int:
        """Generator iterations before the last evaluation; -1 if there was none."""
        return self._history[-1].step if self._history else -1

    @property
    def active(self) -> bool:
        """Whether anything is evaluated while training."""
        return self.every_n_steps is not None or self.on_validation

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Fetch the extractor while nothing is lost if there is none."""
        if stage == "test" or (stage == "fit" and self.active):
            expect_model(pl_module, GenerativeModule, self)
            data = getattr(trainer, "datamodule", None)
            wanted = self.extractor or extractor_of(data)
            self._measured = False
            self._metrics = GenerationMetrics(
                make_extractor(wanted, self.extractor_weights),
                self.metrics,
                progress=trainer.is_global_zero and trainer.progress_bar_callback is not None,
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the real samples, and the generator before its training."""
        if not self.active:
            return
        begun = trainer.global_step  # nothing of it is there yet where this object was used before
        self._history = [one for one in self._history if one.step <= begun and begun > 0]
        self._begun = len(self._history)
        if not self._history:
            self._evaluate_in_training(trainer, pl_module)
        else:  # monitors wait for figures that this run has not made yet
            self._prepared(trainer, expect_model(pl_module, GenerativeModule, self))
            self._show_to_monitors(trainer)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Evaluate at the interval."""
        if self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0:
            self._evaluate_in_training(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate beside the validation."""
        if self.on_validation and trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._evaluate_in_training(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate what the training ends with."""
        if self.active:
            self._evaluate_in_training(trainer, pl_module)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate and show the whole table."""
        report = self.evaluate(trainer, pl_module)
        figures = {f"test/{name}": value for name, value in report.figures.items()}
        pl_module.log_dict(figures, sync_dist=True)
        folder = run_folder(trainer)
        if trainer.is_global_zero:
            report.write(folder)
            print(f"\n{report.text()}\n\nWritten to {folder}/evaluation.txt, .csv and .json")

    def evaluate(self, trainer: Trainer, pl_module: LightningModule) -> Report:
        """Measure the generator as it is now; all processes must take part.

        Returns:
            The figures with their definitions, and the verdict.
        """
        model = expect_model(pl_module, GenerativeModule, self)
        metrics = self._prepared(trainer, model)
        metrics.reset()
        with torch.random.fork_rng([model.device] if model.device.type == "cuda" else []):
            for samples in self._generated(trainer, model, self._num_images(metrics)):
                metrics.update(samples, real=False)
            self.report = metrics.report()
        return self.report

    def withdraw(self, step: int) -> None:
        """Forget the figures of an iteration whose weights are gone, as after a step back."""
        if self.last_step == step:
            self._history.pop()

    def _prepared(self, trainer: Trainer, model: GenerativeModule) -> GenerationMetrics:
        """Return the metrics with their real side measured."""
        if self._metrics is None:
            raise RuntimeError("Expected 'setup' before 'evaluate'.")
        if not self._measured:
            self._measure_real(trainer, model, self._metrics)
            self._measured = True
        return self._metrics

    def _evaluate_in_training(self, trainer: Trainer, pl_module: LightningModule) -> None:
        step = trainer.global_step
        if self.last_step == step:
            return
        report = self.evaluate(trainer, pl_module)
        self._history.append(Evaluated(step, report.figures, report.verdict, report.severity))
        hand_over(trainer, {f"eval/{name}": value for name, value in report.figures.items()})
        self._show_to_monitors(trainer)
        shown = ", ".join(f"{name} {value:.4g}" for name, value in report.figures.items())
        rank_zero_info(f"After {step:,} generator iterations: {shown}\n{report.explanation or ''}")
        folder = run_folder(trainer) / "evaluation"
        if trainer.is_global_zero:
            report.write(folder, f"step_{step:08d}", kinds=("json",))
            save_picture(draw_curves(self._history), folder / "curves.png")
        last = self._history[max(self._begun, self.grace) :][-self.patience :]
        failed = len(last) == self.patience and all(map(self._alarms, last))
        # One decision for all processes, whose figures may differ in their last digits.
        if trainer.strategy.reduce_boolean_decision(failed, all=False):
            rank_zero_warn(
                f"Training stops after {step:,} generator iterations: {self.patience} evaluations "
                f"in succession ended in a verdict of 'stop_on'. {report.explanation}"
            )
            trainer.should_stop = True

    def _alarms(self, found: Evaluated) -> bool:
        return found.verdict in self.stop_on and (found.severity or 0.0) >= SEVERE

    def _show_to_monitors(self, trainer: Trainer) -> None:
        """Give checkpoints and early stopping the last figures, under their names for monitors."""
        last = self._history[-1]
        values = {f"eval/{name}": torch.tensor(value) for name, value in last.figures.items()}
        if last.distance is not None:
            values[self.monitor] = torch.tensor(last.distance[1])
        trainer.callback_metrics.update(values)

    def _measure_real(
        self, trainer: Trainer, model: GenerativeModule, metrics: GenerationMetrics
    ) -> None:
        metrics.to(model.device)
        train, held_out = real_samples(trainer, self.num_real, self.batch_size, model.device)
        if isinstance(train, SetOfSamples):
            self._labels = train.labels()
        if metrics.needs_real:
            metrics.measure_real(train, held_out, self.cache_dir)

    def _num_images(self, metrics: GenerationMetrics) -> int:
        if self.num_images is not None:
            return self.num_images
        if metrics.extractor.published:
            return PUBLISHED_SIZE
        return MOST if metrics.reference is None else min(len(metrics.reference.features), MOST)

    def _generated(self, trainer: Trainer, model: GenerativeModule, n: int) -> Iterator[Tensor]:
        """Yield this process's part of n samples, which are the same for any number of them."""
        generator = torch.Generator().manual_seed(self.seed)
        latents, labels = model.sample_latents(n, generator), model.sample_labels(n, generator)
        if labels is not None and self._labels is not None:
            drawn = torch.randint(len(self._labels), (n,), generator=generator)
            labels = self._labels[drawn].to(labels.device)
        mine = own_part(torch.arange(n), trainer.world_size, trainer.global_rank)
        for start in range(0, len(mine), self.batch_size):
            rows = mine[start : start + self.batch_size]
            samples = model.render(latents[rows], None if labels is None else labels[rows])
            yield in_final_size(samples, model.generator) if samples.dim() == 4 else samples

    def state_dict(self) -> dict[str, Any]:
        """Return all that was found, for monitors and curves of a run that goes on."""
        return {"history": [tuple(one) for one in self._history]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what was found."""
        self._history = [Evaluated(*one) for one in state_dict["history"]]
