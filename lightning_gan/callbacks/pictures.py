"""Samples as pictures: grids of images, scatter plots of points."""

import math
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from lightning_gan.functional import to_uint8

GROUP_COLORS = [f"C{i}" for i in (0, 1, 2, 3, 4, 5, 6, 8, 9)]  # without the grey of real points
SMALLEST_TILE = 48  # pixels: smaller images are enlarged, or nothing could be read


def drawable(images: Tensor) -> Tensor:
    """Turn images of any number of channels into bytes of one or three.

    Args:
        images: (N, C, H, W) in [-1, 1]. Of more than three channels the first three are shown, of
            two their mean.

    Returns:
        (N, 1 or 3, H, W) uint8 on the CPU.
    """
    if images.shape[1] == 2:
        images = images.mean(dim=1, keepdim=True)
    return to_uint8(images[:, :3].cpu())


def image_grid(images: Tensor, columns: int | None = None) -> Tensor:
    """Arrange images in a grid, small ones enlarged without blur.

    Args:
        images: (N, C, H, W) in [-1, 1], any C.
        columns: Images in a row; None makes the grid square.

    Returns:
        (3, H', W') uint8.
    """
    tiles = drawable(images)
    scale = math.ceil(SMALLEST_TILE / min(tiles.shape[-2:]))
    tiles = tiles.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)
    columns = columns or math.ceil(math.sqrt(len(tiles)))
    grid: Tensor = make_grid(tiles, nrow=columns, padding=2, pad_value=255)
    return grid


def scatter_plot(
    fake: Tensor, real: Tensor | None = None, title: str = "", groups: Tensor | None = None
) -> Tensor:
    """Draw generated points over real ones.

    Args:
        fake: (N, 2).
        real: (M, 2), or None.
        title: Text above the plot.
        groups: Number of each generated point's group, (N,), which gives it its colour.

    Returns:
        (3, 600, 600) uint8.
    """
    figure = Figure(figsize=(6, 6), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot(aspect="equal", title=title, xlabel="$x_1$", ylabel="$x_2$")
    if real is not None:
        axes.scatter(
            real[:, 0].cpu(), real[:, 1].cpu(), s=14, color="0.75", label="real", linewidths=0
        )
        reach = 1.5 * float(real.abs().max())  # fixed, so that the plots of a run can be compared
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach))
    fake = fake.cpu()
    makers = torch.zeros(len(fake), dtype=torch.int64) if groups is None else groups.cpu()
    for maker in makers.unique().tolist():
        mine = fake[makers == maker]
        axes.scatter(
            mine[:, 0],
            mine[:, 1],
            s=5,
            color="tab:red" if groups is None else GROUP_COLORS[maker % len(GROUP_COLORS)],
            alpha=0.5,
            label="generated" if groups is None else f"generator {maker}",
            linewidths=0,
        )
    if groups is None:
        axes.legend(loc="upper right", markerscale=2)
    else:  # too many entries for a corner
        figure.legend(loc="outside lower center", ncols=4, markerscale=2, fontsize="small")
    return drawn(canvas)


def drawn(canvas: FigureCanvasAgg) -> Tensor:
    """Return what a figure shows, (3, H, W) uint8."""
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]  # (H, W, 3)
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def save_picture(picture: Tensor, path: Path) -> None:
    """Write (1 or 3, H, W) bytes as a PNG file, making its folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = picture.permute(1, 2, 0).numpy()  # (H, W, 1 or 3)
    Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).save(path)


def log_picture(logger: Logger, name: str, picture: Tensor, step: int) -> None:
    """Send a (3, H, W) uint8 picture to a logger that shows pictures; others are left alone."""
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(name, picture, step)
    elif isinstance(logger, WandbLogger):
        logger.log_image(name, [picture.permute(1, 2, 0).numpy()], step)
