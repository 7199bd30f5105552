"""Checkpoints of a run to which it can go back."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from lightning import LightningModule, Trainer

from lightning_gan.callbacks.run import run_folder
from lightning_gan.networks import Growing


class Point(NamedTuple):
    """Where a training was healthy.

    Attributes:
        step: Number of generator iterations.
        path: The checkpoint.
    """

    step: int
    path: str


class HealthyPoints:
    """Ordinary checkpoints in ``guard`` in the run's folder, of which the old ones are deleted.

    Those of a run that this one resumes are used, and left where they are.

    Args:
        points: Those that are known already.
    """

    def __init__(self, points: Iterable[Point] = ()) -> None:
        self._points = [*points]
        self._growing: list[Growing] = []
        self._resolutions: list[int] = []

    def open(self, trainer: Trainer, model: LightningModule) -> None:
        """Look for what is still there, at the start of a training; all processes together."""
        self._folder = run_folder(trainer) / "guard"
        kept = [point for point in self._points if Path(point.path).exists()]
        self._points = trainer.strategy.broadcast(kept)  # of a run that went on, some are deleted
        self._growing = [part for part in model.modules() if isinstance(part, Growing)]
        self._resolutions = [part.resolution for part in self._growing]

    def follow_growth(self, trainer: Trainer) -> None:
        """Delete those of another resolution, whose later layers are not trained."""
        resolutions = [part.resolution for part in self._growing]
        if resolutions != self._resolutions:
            self._resolutions = resolutions
            self._drop(trainer, self._points)

    def steps(self) -> list[int]:
        """Return the iterations of all points, ascending."""
        return [point.step for point in self._points]

    def until(self, step: int) -> Point | None:
        """Return the newest that is not later than an iteration; None if there is none."""
        return next((p for p in reversed(self._points) if p.step <= step), None)

    def keep(self, trainer: Trainer, delay: int) -> None:
        """Write one of now, and delete those that nothing can lead back to any more.

        Args:
            trainer: The run's.
            delay: Iterations for which an illness can go on before it is known.
        """
        step = trainer.global_step
        path = self._folder / f"step_{step:08d}.ckpt"
        self._points.append(Point(step, str(path)))  # which is part of itself, for a resume from it
        trainer.save_checkpoint(path, weights_only=False)
        proven = self.until(step - delay)
        if proven is not None:
            self._drop(trainer, [point for point in self._points if point.step < proven.step])

    def forget_after(self, trainer: Trainer, step: int) -> None:
        """Delete those that are later than an iteration."""
        self._drop(trainer, [point for point in self._points if point.step > step])

    def state(self) -> list[tuple[int, str]]:
        """Return all points in plain data."""
        return [(step, path) for step, path in self._points]

    def _drop(self, trainer: Trainer, points: list[Point]) -> None:
        self._points = [point for point in self._points if point not in points]
        for point in points:
            if Path(point.path).parent == self._folder:  # and not of the run that this one resumes
                trainer.strategy.remove_checkpoint(point.path)
