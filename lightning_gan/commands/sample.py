"""``lightning-gan sample``: images from a checkpoint alone."""

from pathlib import Path

import numpy as np
import torch
from jsonargparse import ArgumentParser

from lightning_gan.callbacks.pictures import drawable, image_grid, save_picture, scatter_plot
from lightning_gan.gans import AdversarialModule
from lightning_gan.gans.generative import SAMPLE_CHUNK


def add_sample_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments; a switch and a list as shells are used to them."""
    parser.add_function_arguments(sample, skip={"grid", "labels"})
    parser.add_argument(
        "--grid", type=bool, nargs="?", const=True, default=False, help="Write one picture of all."
    )
    parser.add_argument(
        "--labels", type=int, nargs="+", help="Classes, repeated in turn; random if left out."
    )


def sample(
    ckpt_path: Path,
    num_images: int = 64,
    output_dir: Path = Path("samples"),
    grid: bool = False,
    seed: int = 0,
    labels: list[int] | None = None,
    device: str = "cpu",
    truncation: float | None = None,
    standing_statistics: int | None = None,
) -> None:
    """Write samples of a trained model as PNG files; of a model of points, as one CSV file.

    Args:
        ckpt_path: Checkpoint of a run from the command line.
        num_images: Number of samples.
        output_dir: Folder to write into; made if it is missing.
        grid: Whether to write all samples into one picture, too, beside the folder and named after
            it; of points, their first two coordinates, if there are two.
        seed: Seed of the latents.
        labels: Classes of a conditional model, repeated in turn; drawn at random if left out.
        device: Where to compute, such as cpu or cuda.
        truncation: Bound on the magnitude of each number in a latent, such as 0.5: less variety for
            more typical samples; none if left out.
        standing_statistics: Number of batches from which batch normalisation's statistics are
            measured anew before sampling, such as 16; those of training if left out.
    """
    model = AdversarialModule.load_from_checkpoint(ckpt_path, map_location=device)
    if labels is not None and model.num_classes is None:
        raise ValueError(f"Expected no 'labels' for an unconditional model, got {labels}.")
    chosen = None if labels is None else torch.tensor(labels).repeat(num_images)[:num_images]
    if standing_statistics is not None:
        # From latents of their own, so that the seed gives the same samples' latents without them.
        others = torch.Generator().manual_seed(-1 - seed)
        model.standing_statistics(standing_statistics, SAMPLE_CHUNK, others, truncation)
    generator = torch.Generator().manual_seed(seed)
    samples = model.sample(num_images, chosen, generator, truncation).cpu()
    output_dir.mkdir(parents=True, exist_ok=True)
    if samples.dim() == 2:
        np.savetxt(output_dir / "points.csv", samples.numpy(), delimiter=",")
    else:
        for i, image in enumerate(drawable(samples)):
            save_picture(image, output_dir / f"{i:06d}.png")
    if grid and samples.shape[1:] != (1,):
        picture = scatter_plot(samples[:, :2]) if samples.dim() == 2 else image_grid(samples)
        save_picture(picture, grid_beside(output_dir))
    print(f"{num_images} samples of {ckpt_path} in {output_dir}")


def grid_beside(folder: Path) -> Path:
    """Return where the picture of all samples of a folder is, which holds samples alone."""
    return folder.resolve().with_name(f"{folder.resolve().name}-grid.png")
