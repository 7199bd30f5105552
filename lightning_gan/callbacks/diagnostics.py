"""How healthy a training is, in figures over the run and in words where it is not."""

from math import isfinite, nan
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from lightning_gan.callbacks.diagnosis import write_diagnosis
from lightning_gan.callbacks.held_out import held_out_samples
from lightning_gan.callbacks.history import History, Measured
from lightning_gan.callbacks.models import expect_model
from lightning_gan.callbacks.run import run_folder
from lightning_gan.diagnostics.alarms import EARLY, Alarms, Raised
from lightning_gan.diagnostics.jacobian import game_eigenvalues
from lightning_gan.diagnostics.motion import Motion
from lightning_gan.diagnostics.precision import widest
from lightning_gan.diagnostics.probe import SAMPLES, probe
from lightning_gan.diagnostics.steepness import steepness
from lightning_gan.diagnostics.unnoticed import unnoticed
from lightning_gan.gans.base import AdversarialModule
from lightning_gan.gans.wgan import WGAN
from lightning_gan.training import GradientPenalty
from lightning_gan.training.batch import Batch
from lightning_gan.training.distributed import broadcast, smallest
from lightning_gan.training.record import hand_over


class Diagnostics(Callback):
    """Measure at intervals how the game goes, and say once what is wrong with it.

    Every ``every_n_steps`` iterations, and after the first, the figures of
    :func:`~lightning_gan.diagnostics.probe` and :class:`~lightning_gan.diagnostics.Motion` are
    logged as ``diagnostics/<figure>``; at longer intervals those that cost more. They are measured
    on the iteration's own real samples, and on fixed held-out ones where the run has any: those of
    the data module's test set, or of the validation's loader. The losses whose swing is measured
    are the logged means, at iterations that log.

    Where the figures show an illness for long enough, an alarm is raised: a warning on the console,
    ``diagnostics/alarm/<name>`` of 1 in place of 0, and an entry in ``diagnostics/alarms.json`` of
    the run's folder, beside ``report.md`` and ``curves.png``, which are written then and at the
    end, if there are two measurements. It is not repeated before the illness has gone. See
    :data:`~lightning_gan.diagnostics.ALARMS` for what is looked for, and
    :data:`~lightning_gan.diagnostics.THRESHOLDS` for the bounds with their reasons.

    The training is not changed by any of it. Under ddp all processes measure together. With
    ``fast_dev_run`` and on batches of a single sample nothing is measured.

    Args:
        every_n_steps: Generator iterations between two measurements; None measures nothing.
        steepness_every_n_steps: Iterations between two of the discriminator's slopes and layer
            norms, rounded up to whole intervals; None leaves them out.
        eigenvalues_every_n_steps: Likewise, of the eigenvalues of the game's Jacobian, which cost
            as much as a hundred iterations.
        thresholds: Bounds that differ from the usual ones, by name.
        patience: Measurements in a row that show an illness before any alarm is raised; None leaves
            each alarm its own.
        grace: Measurements at the start of a training that raise no alarm.

    Attributes:
        alarms: How each alarm stands.
        raised: Alarms of the last measurement.
        history: All measurements of the run, evenly thinned out where they are many.

    Raises:
        ValueError: If an interval is below 1 or a threshold unknown; before the training, if the
            eigenvalues of a game with unrolling are asked for.
    """

    def __init__(
        self,
        every_n_steps: int | None = 50,
        steepness_every_n_steps: int | None = 500,
        eigenvalues_every_n_steps: int | None = None,
        thresholds: dict[str, float] | None = None,
        patience: int | None = None,
        grace: int = EARLY,
    ) -> None:
        for name, value in (
            ("every_n_steps", every_n_steps),
            ("steepness_every_n_steps", steepness_every_n_steps),
            ("eigenvalues_every_n_steps", eigenvalues_every_n_steps),
        ):
            if value is not None and value < 1:
                raise ValueError(f"Expected '{name}' to be at least 1, got {value}.")
        self.every_n_steps = every_n_steps
        self.steepness_every_n_steps = steepness_every_n_steps
        self.eigenvalues_every_n_steps = eigenvalues_every_n_steps
        self.alarms = Alarms(thresholds or {}, patience, grace)
        self.raised: list[Raised] = []
        self.history = History()
        self._all_raised: list[Raised] = []
        self._motion = Motion()
        self._held_out: Batch | None = None
        self._folder: Path | None = None  # known from the start of a training on

    @property
    def last_step(self) -> int:
        """Generator iterations before the last measurement; -1 if there was none."""
        return self.history[-1].step if self.history else -1

    @property
    def active(self) -> bool:
        """Whether anything is measured."""
        return self.every_n_steps is not None

    def patience_of(self, alarm: str) -> int:
        """Return for how many iterations there are signs of an illness before an alarm."""
        return self.alarms.patience_of(alarm) * self._rounded(self._intervals.get(alarm) or 1)

    def silent(self, model: AdversarialModule) -> list[str]:
        """Return the alarms whose figures are not measured in this training, once it has begun."""
        measured = {
            "discriminator overfits": self._held_out is not None,
            "weights at the bound": getattr(model, "weight_clip_val_d", None) is not None,
        } | {name: interval is not None for name, interval in self._intervals.items()}
        return [name for name, is_measured in measured.items() if not is_measured]

    @property
    def _intervals(self) -> dict[str, int | None]:
        """Of the alarms whose figures are not in every measurement."""
        return {
            "discriminator too steep": self.steepness_every_n_steps,
            "unstable equilibrium": self.eigenvalues_every_n_steps,
        }

    def _rounded(self, interval: int) -> int:
        """Return an interval as whole intervals between measurements."""
        every = self.every_n_steps or 1
        return -(-interval // every) * every

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse models that cannot be measured."""
        if stage != "fit" or not self.active:
            return
        model = self._model(pl_module)
        if self.eigenvalues_every_n_steps is not None and model.unrolled_steps > 0:
            raise ValueError(
                "Expected no 'eigenvalues_every_n_steps' for a generator that looks at an unrolled "
                f"discriminator, got {self.eigenvalues_every_n_steps}."
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fetch the held-out samples; forget another run's figures."""
        if not self.active:
            return
        if trainer.global_step == 0:
            self.alarms.reset()
            self.history, self._all_raised, self._motion = History(), [], Motion()
        self.raised = []
        self._folder = run_folder(trainer) / "diagnostics"  # where all processes still answer
        self._held_out = held_out_samples(trainer, SAMPLES)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Measure at the interval."""
        step = trainer.global_step
        dry: bool = trainer.fast_dev_run  # type: ignore[attr-defined]
        if self.every_n_steps is None or step <= self.last_step or dry:
            return
        if step == 1 or step % self.every_n_steps == 0:
            model = self._model(pl_module)
            received = model.receive(batch)
            if smallest(len(received.samples), model.device) > 1:
                self._measure(trainer, model, received)
            else:
                rank_zero_warn("Batches of a single sample are too small for Diagnostics.")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what was found."""
        self._write(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Write what was found before it."""
        self._write(trainer)

    def forget_signs(self) -> None:
        """Let all alarms begin anew, as after a step back of the weights."""
        self.alarms.clear()
        self._motion = Motion()

    def _measure(self, trainer: Trainer, model: AdversarialModule, received: Batch) -> None:
        step = trainer.global_step
        figures = self._figures(trainer, model, received)
        self.raised = self.alarms.update(step, figures)
        self.history.add(Measured(step, figures))
        self._all_raised += self.raised
        logged = {f"diagnostics/{name}": value for name, value in figures.items()}
        for name, active in self.alarms.active.items():
            logged[f"diagnostics/alarm/{name.replace(' ', '_')}"] = float(active)
        hand_over(trainer, logged)
        for alarm in self.raised:
            rank_zero_warn(f"After {step:,} generator iterations {alarm.sentence}")
        if self.raised:
            self._write(trainer)

    def _figures(
        self, trainer: Trainer, model: AdversarialModule, received: Batch
    ) -> dict[str, float]:
        """Return all figures that are due, the same on all processes."""
        step, parts = trainer.global_step, model.batches_per_step
        enough = smallest(len(received.samples), model.device) >= 2 * parts
        real = received.split(parts)[-1] if enough else received
        figures = probe(model, real, self._seen_by(model, len(real.samples)))
        figures |= self._motion.update(model, self._losses(trainer))
        if self._due(self.steepness_every_n_steps, step):
            figures |= steepness(model, real) | _slope_target(model)
        if self._due(self.eigenvalues_every_n_steps, step):
            figures |= _eigenvalues(model, real)
        dtype = widest(model.device)
        values = torch.tensor(list(figures.values()), dtype=dtype, device=model.device)
        shared = zip(figures, broadcast(values).tolist(), strict=True)
        return {name: value for name, value in shared if isfinite(value)}

    def _due(self, every: int | None, step: int) -> bool:
        return every is not None and (step == 1 or step % self._rounded(every) == 0)

    def _seen_by(self, model: AdversarialModule, count: int) -> Batch | None:
        """Return some held-out samples, as large as the discriminator has grown."""
        if self._held_out is None:
            return None
        own = self._held_out.rows(slice(count)).map(lambda values: values.to(model.device))
        samples = own.samples.to(model.dtype)
        return model.receive((samples, own.labels) if own.labels is not None else samples)

    @staticmethod
    def _losses(trainer: Trainer) -> dict[str, float]:
        """Return the mean losses that this iteration has logged, if it has."""
        interval: int = trainer.log_every_n_steps or 50  # type: ignore[attr-defined]
        if trainer.global_step % interval:
            return {}
        logged = {name: trainer.callback_metrics.get(f"train/{name}_loss") for name in "gd"}
        return {name: float(value) for name, value in logged.items() if value is not None}

    def _write(self, trainer: Trainer) -> None:
        if self._folder is not None and len(self.history) > 1 and trainer.is_global_zero:
            active = [name for name, raised in self.alarms.active.items() if raised]
            write_diagnosis(self._folder, self.history, self._all_raised, active)

    def _model(self, pl_module: LightningModule) -> AdversarialModule:
        return expect_model(pl_module, AdversarialModule, self)  # type: ignore[type-abstract]

    def state_dict(self) -> dict[str, Any]:
        """Return all that was found, and how the alarms stand."""
        return {
            "alarms": self.alarms.state_dict(),
            "motion": self._motion.state_dict(),
            "history": self.history.state_dict(),
            "raised": [tuple(one) for one in self._all_raised],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what was found."""
        self.alarms.load_state_dict(state_dict["alarms"])
        self._motion.load_state_dict(state_dict["motion"])
        self.history = History.of_state(state_dict["history"])
        self._all_raised = [Raised(*one) for one in state_dict["raised"]]


def _slope_target(model: AdversarialModule) -> dict[str, float]:
    """Return the slope that a critic should have, where one is known."""
    targets = [p.target for p in model.penalties.all() if isinstance(p, GradientPenalty)]
    target = max(targets, default=1.0 if isinstance(model, WGAN) else 0.0)
    return {"slope_target": target} if target > 0 else {}


def _eigenvalues(model: AdversarialModule, real: Batch) -> dict[str, float]:
    """Return what the eigenvalues of the game's Jacobian tell."""
    real = real.rows(slice(SAMPLES))
    with unnoticed(model):
        spectrum = game_eigenvalues(model, real, model.sample_latents(len(real.samples))).within()
    if not len(spectrum.values):  # under the same names on every process, whatever each finds
        return dict.fromkeys(("eigenvalue", "eigenvalue_modulus", "eigenvalue_rotation"), nan)
    return {
        "eigenvalue": spectrum.largest_real,
        "eigenvalue_modulus": spectrum.modulus,
        "eigenvalue_rotation": spectrum.rotation,
    }
