"""Samples as pictures."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image
from torch import Tensor

from lightning_gan.callbacks.pictures import (
    SMALLEST_TILE,
    drawable,
    image_grid,
    save_picture,
    scatter_plot,
)
from lightning_gan.functional import to_uint8

PADDING, WHITE = 2, 255


def _images(n: int, channels: int, height: int = 8, width: int = 8) -> Tensor:
    return torch.rand(n, channels, height, width) * 2 - 1


def _tile(grid: Tensor, row: int, column: int, height: int, width: int) -> Tensor:
    top = PADDING + row * (height + PADDING)
    left = PADDING + column * (width + PADDING)
    return grid[:, top : top + height, left : left + width]


@pytest.mark.parametrize(("channels", "shown"), [(1, 1), (2, 1), (3, 3), (4, 3), (5, 3)])
def test_drawable_has_one_or_three_channels(channels: int, shown: int) -> None:
    images = _images(4, channels)
    result = drawable(images)
    assert result.shape == (4, shown, 8, 8)
    assert result.dtype == torch.uint8
    expected = images.mean(1, keepdim=True) if channels == 2 else images[:, :3]
    assert torch.equal(result, to_uint8(expected))


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (8, 16), (48, 48), (30, 20), (64, 64)])
def test_small_images_are_enlarged_without_blur(channels: int, height: int, width: int) -> None:
    images = _images(5, channels, height, width)
    scale = math.ceil(SMALLEST_TILE / min(height, width))
    h, w = height * scale, width * scale
    assert min(h, w) >= SMALLEST_TILE
    assert scale == 1 or min(height, width) * (scale - 1) < SMALLEST_TILE
    grid = image_grid(images)
    assert grid.dtype == torch.uint8
    assert grid.shape == (3, 2 * (h + PADDING) + PADDING, 3 * (w + PADDING) + PADDING)
    rows, columns = torch.arange(h) // scale, torch.arange(w) // scale
    for i, tile in enumerate(drawable(images)):
        exact = tile[:, rows][:, :, columns].expand(3, -1, -1)
        assert torch.equal(_tile(grid, i // 3, i % 3, h, w), exact)
    rest = grid.clone()
    for i in range(5):
        _tile(rest, i // 3, i % 3, h, w).fill_(WHITE)
    assert (rest == WHITE).all()


@pytest.mark.parametrize(
    ("n", "columns", "shape"),
    [(64, None, (8, 8)), (10, None, (3, 4)), (2, None, (1, 2)), (20, 10, (2, 10)), (5, 10, (1, 5))],
)
def test_grid_geometry(n: int, columns: int | None, shape: tuple[int, int]) -> None:
    rows, across = shape
    side = SMALLEST_TILE + PADDING
    grid = image_grid(_images(n, 1), columns)
    assert grid.shape == (3, rows * side + PADDING, across * side + PADDING)


def test_single_image_is_its_own_grid() -> None:
    grid = image_grid(_images(1, 1))
    assert grid.shape[0] == 3
    assert min(grid.shape[1:]) >= SMALLEST_TILE


@pytest.mark.parametrize("with_real", [False, True])
def test_scatter_plot_is_a_picture(with_real: bool) -> None:
    fake, real = torch.randn(50, 2), torch.randn(30, 2) if with_real else None
    picture = scatter_plot(fake, real, "a title")
    assert picture.shape == (3, 600, 600)
    assert picture.dtype == torch.uint8
    assert torch.equal(picture, scatter_plot(fake, real, "a title"))
    assert not torch.equal(picture, scatter_plot(fake + 1, real, "a title"))
    assert not torch.equal(picture, scatter_plot(fake, real, "another title"))


def test_axes_do_not_follow_generated_points() -> None:
    real, outlier = torch.randn(30, 2), torch.tensor([[1e6, 1e6]])
    inside = scatter_plot(torch.zeros(1, 2), real)
    assert torch.equal(inside, scatter_plot(torch.cat([torch.zeros(1, 2), outlier]), real))


def _shows(picture: Tensor, colour: str) -> bool:
    """Tell whether a picture has a pixel of a colour of matplotlib's."""
    wanted = 255 * torch.tensor(to_rgb(colour))
    return bool(((picture.permute(1, 2, 0) - wanted).abs().amax(dim=2) < 4).any())


def test_groups_of_points_have_colours_of_their_own() -> None:
    real = torch.tensor([[-3.0, -3.0], [3.0, 3.0]])
    # Two heaps below the legend, left and right of the middle; half transparent points add up.
    fake = torch.tensor([[-2.0, -2.0], [2.0, -2.0]]).repeat_interleave(30, dim=0)
    for groups in ([0, 1], [1, 0], [2, 2], [0, 4]):
        places = torch.tensor(groups).repeat_interleave(30)
        halves = scatter_plot(fake, real, groups=places)[:, 300:].split(300, dim=2)
        for half, group in zip(halves, groups, strict=True):
            assert [_shows(half, f"C{k}") for k in range(5)] == [k == group for k in range(5)]
            assert not _shows(half, "tab:pink")
    for half in scatter_plot(fake, real)[:, 300:].split(300, dim=2):
        assert [_shows(half, colour) for colour in ("tab:red", "C0", "C1")] == [True, False, False]


def test_groups_are_not_recoloured_where_one_is_missing() -> None:
    fake = torch.zeros(30, 2)
    for group in (0, 2):
        picture = scatter_plot(fake, groups=torch.full((30,), group))
        assert [_shows(picture, f"C{k}") for k in range(3)] == [k == group for k in range(3)]


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_saved_picture_is_read_back(channels: int, mode: str, tmp_path: Path) -> None:
    picture = torch.randint(256, (channels, 5, 7), dtype=torch.uint8)
    path = tmp_path / "new" / "folder" / "picture.png"
    save_picture(picture, path)
    with Image.open(path) as image:
        assert (image.format, image.mode, image.size) == ("PNG", mode, (7, 5))
        pixels = torch.from_numpy(np.array(image)).view(5, 7, channels)
    assert torch.equal(pixels.permute(2, 0, 1), picture)
    save_picture(255 - picture, path)  # replaces it
    with Image.open(path) as image:
        assert np.array_equal(np.array(image).reshape(-1), 255 - pixels.flatten().numpy())
