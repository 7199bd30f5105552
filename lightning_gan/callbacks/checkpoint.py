"""Checkpoints by generator iterations, the last one included."""

from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_gan.callbacks.evaluation import Evaluation


class GANCheckpoint(ModelCheckpoint):
    """Lightning's ModelCheckpoint with defaults for GANs, and the end of the run always saved.

    By default the newest ``save_top_k`` are kept, beside ``last.ckpt``: two, so that a damaged one
    has a predecessor to fall back to. With ``monitor``, the best are kept.

    Args:
        dirpath: Folder of the checkpoints; None takes ``checkpoints`` in the run's folder.
        filename: Name of a file, without its ending.
        monitor: Logged value that decides which ones are kept; ``step`` keeps the newest.
        mode: Whether small (``min``) or large (``max``) values are kept.
        save_top_k: How many are kept; -1 keeps all.
        save_last: Whether ``last.ckpt`` follows the newest one.
        every_n_train_steps: Generator iterations between two checkpoints.
        auto_insert_metric_name: Whether file names carry names of metrics; ours hold slashes.
        enable_version_counter: Whether a file whose name is taken gets a number instead of
            replacing the older one; a resumed run replaces its own.
        **kwargs: See Lightning's ``ModelCheckpoint``.

    Raises:
        ValueError: For ``train_time_interval``, which Lightning ignores in manual optimisation.
    """

    def __init__(
        self,
        dirpath: str | Path | None = None,
        filename: str | None = "step_{step:08d}",
        monitor: str | None = "step",
        mode: str = "max",
        save_top_k: int = 2,
        save_last: bool | None = True,
        every_n_train_steps: int | None = 1000,
        auto_insert_metric_name: bool = False,
        enable_version_counter: bool = False,
        **kwargs: Any,
    ) -> None:
        if kwargs.get("train_time_interval") is not None:
            raise ValueError(
                "Expected no 'train_time_interval', which has no effect in manual optimisation, "
                f"got {kwargs['train_time_interval']}. Use 'every_n_train_steps'."
            )
        super().__init__(
            dirpath,
            filename,
            monitor,
            mode=mode,
            save_top_k=save_top_k,
            save_last=save_last,
            every_n_train_steps=every_n_train_steps,
            auto_insert_metric_name=auto_insert_metric_name,
            enable_version_counter=enable_version_counter,
            **kwargs,
        )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse to write over another run's checkpoints.

        Raises:
            FileExistsError: If a run that does not resume finds checkpoints in its folder.
        """
        super().on_train_start(trainer, pl_module)
        self._refuse_other_runs(trainer)

    def _refuse_other_runs(self, trainer: Trainer) -> None:
        goes_on = trainer.ckpt_path or self.last_model_path  # from a file, or in this process
        if goes_on or self._dry(trainer) or self._enable_version_counter:
            return
        # Every rank looks before any of them writes, so that all decide alike.
        found = {path.name for path in Path(self.dirpath or "").glob("*.ckpt")}
        # One file without last.ckpt is left of a run that was killed at its first save.
        if self.dirpath and (self._last_name in found or len(found) > int(bool(self.save_last))):
            raise FileExistsError(
                f"Expected 'dirpath' without checkpoints for a new run, got {self.dirpath}. "
                "Resume it with ckpt_path='last', or choose another folder."
            )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the final weights where the interval did not fall on them."""
        if self.save_last and self.dirpath and not self._dry(trainer):
            trainer.save_checkpoint(Path(self.dirpath) / self._last_name, self.save_weights_only)

    @property
    def _last_name(self) -> str:
        return self.CHECKPOINT_NAME_LAST + self.FILE_EXTENSION

    @staticmethod
    def _dry(trainer: Trainer) -> bool:
        return bool(trainer.fast_dev_run)  # type: ignore[attr-defined]


class BestCheckpoint(GANCheckpoint):
    """Keep the checkpoint with the best figure of an evaluation, beside those of another callback.

    It looks after each evaluation of :class:`~lightning_gan.callbacks.Evaluation`, at whatever
    interval these are. Before the callback that keeps the last checkpoint, it is part of that one
    as it was then, so that a run which goes on, in another folder too, knows what is to be beaten.

    Args:
        dirpath: Folder of the checkpoint; None takes ``checkpoints`` in the run's folder.
        filename: Name of the file, without its ending.
        monitor: Logged value; by default the Fréchet distance, whichever the extractor.
        mode: Whether small (``min``) or large (``max``) values are better.
        **kwargs: See Lightning's ``ModelCheckpoint``.

    Raises:
        ValueError: At the start of the training, if no ``Evaluation`` is active.
    """

    def __init__(
        self,
        dirpath: str | Path | None = None,
        filename: str | None = "best",
        monitor: str | None = Evaluation.monitor,
        mode: str = "min",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            dirpath,
            filename,
            monitor,
            mode,
            save_top_k=1,
            save_last=False,
            every_n_train_steps=1,
            **kwargs,
        )
        self._evaluation: Evaluation | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the evaluation."""
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        active = [part for part in callbacks if isinstance(part, Evaluation) and part.active]
        if stage == "fit" and not active:
            raise ValueError(
                "Expected an active 'Evaluation' among the callbacks beside BestCheckpoint, got "
                "none. Give it 'every_n_steps' or 'on_validation'."
            )
        self._evaluation = active[0] if active else None
        super().setup(trainer, pl_module, stage)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Look where this iteration was evaluated."""
        self._look(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look where the validation was evaluated."""
        self._look(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the last evaluation."""
        self._look(trainer)

    def _look(self, trainer: Trainer) -> None:
        step = trainer.global_step
        evaluated = self._evaluation is not None and self._evaluation.last_step == step > 0
        if not evaluated or self._dry(trainer):
            return
        if not self._should_skip_saving_checkpoint(trainer):  # a sanity check; twice at one step
            self._save_topk_checkpoint(trainer, self._monitor_candidates(trainer))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what is to be beaten, though its file may lie in another run's folder."""
        self.dirpath, own = state_dict["dirpath"], self.dirpath
        super().load_state_dict(state_dict)
        self.dirpath = own

    def _refuse_other_runs(self, trainer: Trainer) -> None:
        """Leave that to the callback whose folder it is."""
