"""Pictures of the same latents over a run."""

import math
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from lightning_gan.callbacks.film import save_film
from lightning_gan.callbacks.models import expect_model
from lightning_gan.callbacks.pictures import image_grid, log_picture, save_picture, scatter_plot
from lightning_gan.callbacks.run import run_folder
from lightning_gan.gans.generative import GenerativeModule
from lightning_gan.networks import in_final_size
from lightning_gan.training.batch import unpack

SCATTER_POINTS = 2000  # enough to show every mode of a mixture, few enough to see single points


class SampleGrid(Callback):
    """Draw what the generator makes of the same latents, before, during and after training.

    Writes ``samples/step_00000000.png`` and so on into the run's folder, beside ``real.png``, and
    shows them in TensorBoard or Weights & Biases where one of these is the logger. Two-dimensional
    data are drawn as points over the real ones. The averaged generator is used where there is one.
    A conditional model's columns are its classes. The rows of a mixture are its generators, all on
    the same latents; of points, their colours are.

    Images of a generator that grows (:class:`~lightning_gan.networks.Growing`) are enlarged
    without blur to the last of its resolutions. So are real ones, which are drawn anew whenever
    those that arrive have another shape.

    In the end the pictures of all steps so far become a film, ``film.gif``. A run that goes on from
    a checkpoint takes over those that lie in ``samples`` beside the folder of the checkpoint. As
    pictures have one size, other tools can join them, too::

        ffmpeg -framerate 10 -pattern_type glob -i 'samples/step_*.png' -pix_fmt yuv420p film.mp4

    Args:
        every_n_steps: Generator iterations between two pictures.
        num_samples: Images in a grid.
        seed: Seed of the latents.
        dirpath: Folder of the pictures; None takes ``samples`` in the run's folder.
        fps: Frames of the film in a second, at most 50; 0 makes no film.

    Raises:
        ValueError: If ``every_n_steps`` or ``num_samples`` is below 1, or ``fps`` below 0.
    """

    def __init__(
        self,
        every_n_steps: int = 500,
        num_samples: int = 64,
        seed: int = 0,
        dirpath: str | Path | None = None,
        fps: int = 10,
    ) -> None:
        for name, value in (("every_n_steps", every_n_steps), ("num_samples", num_samples)):
            if value < 1:
                raise ValueError(f"Expected '{name}' to be at least 1, got {value}.")
        if fps < 0:
            raise ValueError(f"Expected 'fps' to be at least 0, got {fps}.")
        self.every_n_steps = every_n_steps
        self.num_samples = num_samples
        self.seed = seed
        self.dirpath = None if dirpath is None else Path(dirpath)
        self.fps = fps
        self._real: Tensor | None = None
        self._drawn_step: int | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw where the run begins."""
        folder = self.dirpath or run_folder(trainer) / "samples"
        # Loggers choose a folder on rank 0 alone, and only that rank writes.
        self._folder = folder
        self._drawn_step = None
        if trainer.is_global_zero and trainer.ckpt_path:
            earlier = Path(trainer.ckpt_path).parent.parent / "samples"
            for picture in _pictures_until(trainer.global_step, earlier):
                if not (folder / picture.name).exists():
                    folder.mkdir(parents=True, exist_ok=True)
                    shutil.copy(picture, folder)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Keep some real samples to compare with, and draw the untrained generator's."""
        if not trainer.is_global_zero:
            return
        real, new = self._keep(unpack(batch).samples)
        first = self._drawn_step is None
        if first:
            self._draw(trainer, pl_module)
        if (first or new) and real.dim() == 4:
            images = in_final_size(
                real[: self.num_samples], expect_model(pl_module, GenerativeModule, self).generator
            )
            self._write("real", image_grid(images))

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Draw at the interval."""
        if trainer.is_global_zero and trainer.global_step % self.every_n_steps == 0:
            self._draw(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw what the run ends with."""
        if trainer.is_global_zero and self._drawn_step != trainer.global_step:
            self._draw(trainer, pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the film, after the last checkpoint was saved."""
        if trainer.is_global_zero and self.fps:
            frames = _pictures_until(trainer.global_step, self._folder)
            save_film(frames, self._folder / "film.gif", self.fps)

    def _keep(self, real: Tensor) -> tuple[Tensor, bool]:
        """Return the samples to compare with, and whether none of their shape were kept before."""
        kept = self._real
        new = kept is None or kept.shape[1:] != real.shape[1:]
        limit = SCATTER_POINTS if real.dim() == 2 else self.num_samples
        if kept is None or new or (real.dim() == 2 and len(kept) < limit):
            seen = [] if kept is None or new else [kept]
            kept = self._real = torch.cat([*seen, real[:limit].detach().cpu()])[:limit]
        return kept, new

    def _draw(self, trainer: Trainer, pl_module: LightningModule) -> None:
        model = expect_model(pl_module, GenerativeModule, self)
        step = self._drawn_step = trainer.global_step
        picture = self._picture(model, f"{step:,} generator iterations")
        if picture is None:
            return
        self._write(f"step_{step:08d}", picture)
        for logger in trainer.loggers:
            log_picture(logger, "samples", picture, step)

    def _picture(self, model: GenerativeModule, title: str) -> Tensor | None:
        """Draw images or points; data of another kind have no picture."""
        points = self._real is not None and self._real.dim() == 2
        n = SCATTER_POINTS if points else self.num_samples
        latents = model.sample_latents(n, torch.Generator().manual_seed(self.seed))
        classes, columns = model.num_classes, model.num_classes
        labels = None if classes is None else torch.arange(n, device=latents.device) % classes
        makers = None
        if hasattr(model.generator, "num_generators"):  # a mixture
            if not points:
                columns, latents = _rows_of_generators(model.generator, latents, columns)
            makers = model.generator.choose(latents)  # type: ignore[operator]
        samples = model.render(latents, labels)
        if samples.dim() == 4:
            return image_grid(in_final_size(samples, model.generator), columns=columns)
        if samples.shape[1:] != (2,):
            return None
        return scatter_plot(samples, self._real, title, makers)

    def _write(self, name: str, picture: Tensor) -> None:
        save_picture(picture, self._folder / f"{name}.png")


def _pictures_until(step: int, folder: Path) -> list[Path]:
    """List a run's pictures in order, without those of later steps that were undone."""
    names = ((re.fullmatch(r"step_(\d+)\.png", path.name), path) for path in folder.glob("*"))
    found = {int(name[1]): path for name, path in names if name}
    return [found[number] for number in sorted(found) if number <= step]


def _rows_of_generators(
    generator: nn.Module, latents: Tensor, columns: int | None
) -> tuple[int, Tensor]:
    """Have each row of a grid made by one generator of a mixture, all from the same latents."""
    n, count = len(latents), int(generator.num_generators)  # type: ignore[arg-type]
    columns = columns or max(1, min(math.ceil(math.sqrt(n)), n // count))
    place = torch.arange(n, device=latents.device)
    row, column = place // columns, place % columns
    shared = latents[row // count * columns + column]  # new ones once each generator had its row
    return columns, generator.assign(shared, row % count)  # type: ignore[operator]
