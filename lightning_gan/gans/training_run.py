"""What surrounds the training loop: refusals, optimisers, the record, checkpoints."""

from typing import Any

from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lightning_gan.gans.generative import GenerativeModule
from lightning_gan.training import preflight
from lightning_gan.training.arguments import check_bound, refuse_unknown
from lightning_gan.training.batch import unpack
from lightning_gan.training.checkpoint_io import refuse_nan
from lightning_gan.training.optimizers import GANAdam, make_optimizers
from lightning_gan.training.randomness import run_seed
from lightning_gan.training.record import Pace, Record, hand_over
from lightning_gan.training.replay import ExperienceReplay
from lightning_gan.training.runtime import prepare_runtime


class TrainingRun(GenerativeModule):
    """Two networks and their optimisers in a run that is refused early, logged and resumable.

    Args:
        generator: See :class:`~lightning_gan.gans.generative.GenerativeModule`.
        discriminator: Maps samples to logits, (N,) or (N, ...). Any module; one with an attribute
            ``num_classes`` is given the labels as second argument.
        latent_dim: Length of a latent. None takes the generator's ``latent_dim``.
        optimizer_g: Makes the generator's optimiser from its parameters.
        optimizer_d: Makes the discriminator's optimiser from its parameters.
        lr_scheduler_g: Makes the generator's schedule, stepped once per generator iteration.
        lr_scheduler_d: Makes the discriminator's schedule, stepped as often.
        gradient_clip_val_g: Bound on the norm of the generator's gradient.
        gradient_clip_val_d: Bound on the norm of the discriminator's gradient.
        replay: Memory of generated samples, shown to the discriminator again.
        **unknown: Nothing; what no variant knows is refused in words.

    Raises:
        TypeError: For an argument that the variant does not have.
        ValueError: If ``latent_dim`` is unknown, a bound not positive, or the networks have
            different numbers of classes.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        latent_dim: int | None = None,
        optimizer_g: OptimizerCallable = lambda params: GANAdam(params, lr=2e-4),
        optimizer_d: OptimizerCallable = lambda params: GANAdam(params, lr=2e-4),
        lr_scheduler_g: LRSchedulerCallable | None = None,
        lr_scheduler_d: LRSchedulerCallable | None = None,
        gradient_clip_val_g: float | None = None,
        gradient_clip_val_d: float | None = None,
        replay: ExperienceReplay | None = None,
        **unknown: Any,
    ) -> None:
        refuse_unknown(type(self), unknown)
        super().__init__(generator, latent_dim)
        self.automatic_optimization = False
        self.discriminator = discriminator
        preflight.check_same_classes(generator=generator, discriminator=discriminator)
        if self.num_classes is None:
            self.num_classes = getattr(discriminator, "num_classes", None)
        check_bound("gradient_clip_val_g", gradient_clip_val_g)
        check_bound("gradient_clip_val_d", gradient_clip_val_d)
        self.replay = replay
        self._optimizer_factories = (optimizer_g, optimizer_d)
        self._scheduler_factories = (lr_scheduler_g, lr_scheduler_d)
        self._gradient_clip_vals = (gradient_clip_val_g, gradient_clip_val_d)
        self._seed = 0  # of the run, known from `setup` or from the checkpoint
        self._record = Record()
        self._states: dict[str, float] = {}  # by name, as they are now
        self._reports = False  # whether this iteration ends with a hand-over to the loggers
        self._pace = Pace(0)

    def record(self, name: str, value: Tensor) -> None:
        """Log a scalar as ``train/<name>``, or under the stage of an evaluation.

        In training it costs nothing: values are handed over as means every
        ``Trainer(log_every_n_steps)`` iterations.
        """
        if self.training:
            self._record.add(name, value)
        else:
            stage = "test" if self.trainer.testing else "val"
            self.log(f"{stage}/{name}", value, on_epoch=True, sync_dist=True)

    def note(self, name: str, value: float) -> None:
        """Log a number as ``train/<name>`` at each hand-over of this fit, until it is noted anew.

        For what callbacks set in the course of the training; a mean of it would be of no use.
        """
        self._states[name] = value

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Measure and clip the gradient: here it is reduced and unscaled."""
        which = int(optimizer is not self.trainer.optimizers[0])  # 0: generator, 1: discriminator
        bound = self._gradient_clip_vals[which]
        if bound is None and not self._reports:
            return  # on small networks the norm costs as much as a layer
        parameters = [p for p in parameters_of(optimizer) if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        self.record(f"{'gd'[which]}_grad_norm", norm)
        if bound is not None:
            nn.utils.clip_grads_with_norm_(parameters, bound, norm)

    def configure_callbacks(self) -> list[Any]:
        """Refuse Trainer options before Lightning does so in other words; add no callbacks."""
        if self._is_fitting():
            preflight.check_trainer(self.trainer)
        return []

    def setup(self, stage: str) -> None:
        """Choose the run's seed and prepare its checkpoints and networks."""
        self._seed = run_seed(self.trainer.strategy)
        # A run may go on from an older checkpoint; a test must not report on another one.
        prepare_runtime(self.trainer.strategy, self, fallback=stage == "fit")

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LRScheduler]]:
        """Make both optimisers and whichever schedules were asked for, the generator's first."""
        return make_optimizers(
            (self.generator, self.discriminator),
            self._optimizer_factories,
            self._scheduler_factories,
        )

    def on_train_start(self) -> None:
        """Start the clock and an empty record: an earlier run may have been interrupted."""
        preflight.check_synchronization(self.generator)
        self._record = Record()
        self._states = {}
        self._pace = Pace(self.images_seen)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Check every batch while it is on the CPU, where looking costs no synchronisation."""
        if not self.trainer.predicting:
            real = unpack(batch)
            if real.samples.device.type == "cpu":
                preflight.check_batch(real.samples, real.labels, self.num_classes)
        return batch

    def _hand_over(self) -> None:
        """Log the means of what was recorded since the last time, if they are finite."""
        values = self._finite_means() | self.scheduled() | self._states
        values["images_seen"] = self.images_seen
        values["images_per_second"] = self._pace.per_second(self.images_seen)
        hand_over(self.trainer, {f"train/{name}": value for name, value in values.items()})

    def scheduled(self) -> dict[str, float]:
        """Return what follows a schedule over images seen, as it is now, by name for the log."""
        values = {}
        for which, optimizer in zip("gd", self.trainer.optimizers, strict=True):
            for name, schedule in getattr(optimizer, "schedules", {}).items():
                values[f"{name}_{which}"] = schedule(self.images_seen)
        return values

    def _finite_means(self) -> dict[str, float]:
        """Return what was recorded, or stop the training if a term was not finite."""
        # After an overflow the loss scale is lowered and the step left out: one is no failure.
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        return self._record.means(self.trainer.global_step, tolerate_some=scaled)

    def on_train_end(self) -> None:
        """Check the last iterations."""
        self._finite_means()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to save NaN; add what the run needs to go on exactly."""
        # Weights are equal on all ranks, so that all refuse together and none waits for another.
        try:
            refuse_nan(checkpoint)
        except ValueError:
            self._finite_means()  # knows the term at fault
            raise
        run: dict[str, Any] = {"seed": self._seed, "images_seen": self.images_seen}
        if self.replay is not None:
            run["replay"] = self.replay.state()
        checkpoint["lightning_gan"] = run

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the run's seed, its count of images and its memory of samples."""
        super().on_load_checkpoint(checkpoint)
        run = checkpoint.get("lightning_gan", {})
        self._seed = run.get("seed", self._seed)
        self.images_seen = run.get("images_seen", 0)
        if self.replay is not None and "replay" in run:
            self.replay.load_state(run["replay"])


def parameters_of(optimizer: Optimizer | LightningOptimizer) -> list[nn.Parameter]:
    """Return the parameters that an optimiser updates."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
