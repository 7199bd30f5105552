"""Checkpoints by generator iterations, the last one included."""

from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


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

    Args:
        dirpath: Folder of the checkpoints; None takes ``checkpoints`` in the run's folder.
        filename: Name of the file, without its ending.
        monitor: Logged value; by default the Fréchet distance of
            :class:`~lightning_gan.callbacks.Evaluation`, whichever its extractor.
        mode: Whether small (``min``) or large (``max``) values are better.
        every_n_train_steps: Generator iterations between two looks, the evaluation's interval; None
            looks after each validation.
        **kwargs: See Lightning's ``ModelCheckpoint``.
    """

    def __init__(
        self,
        dirpath: str | Path | None = None,
        filename: str | None = "best",
        monitor: str | None = "eval/frechet_distance",
        mode: str = "min",
        every_n_train_steps: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            dirpath,
            filename,
            monitor,
            mode,
            save_top_k=1,
            save_last=False,
            every_n_train_steps=every_n_train_steps,
            **kwargs,
        )

    def _refuse_other_runs(self, trainer: Trainer) -> None:
        """Leave that to the callback whose folder it is."""
