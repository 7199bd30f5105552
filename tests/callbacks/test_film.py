"""The pictures of a run as a film."""

from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageSequence
from torch import Tensor

from lightning_gan.callbacks.film import LONGEST_SIDE, MOST_FRAMES, save_film
from lightning_gan.callbacks.pictures import image_grid, save_picture, scatter_plot

Pixels = NDArray[np.uint8]


def _plain(grey: int, side: int = 8) -> Tensor:
    return torch.full((3, side, side), grey, dtype=torch.uint8)


def _write(folder: Path, pictures: list[Tensor]) -> list[Path]:
    paths = [folder / f"{i:05d}.png" for i in range(len(pictures))]
    for picture, path in zip(pictures, paths, strict=True):
        save_picture(picture, path)
    return paths


def _read(path: Path) -> tuple[list[Pixels], list[int]]:
    """Return the frames, (H, W, 3) each, and the milliseconds that each is shown."""
    with Image.open(path) as film:
        assert film.format == "GIF"
        assert film.info["loop"] == 0  # without end
        frames = [
            (np.array(frame.convert("RGB")), frame.info["duration"])
            for frame in ImageSequence.Iterator(film)
        ]
    return [pixels for pixels, _ in frames], [time for _, time in frames]


def _greys(path: Path) -> list[int]:
    return [int(pixels[0, 0, 0]) for pixels in _read(path)[0]]


def _mean_error(frame: Pixels, picture: Tensor) -> float:
    exact = picture.permute(1, 2, 0).numpy().astype(float)
    return float(np.abs(frame.astype(float) - exact).mean())


@pytest.mark.parametrize(
    ("fps", "milliseconds"), [(1, 1000), (10, 100), (24, 40), (30, 30), (50, 20), (1000, 20)]
)
def test_frames_in_order_and_time(fps: int, milliseconds: int, tmp_path: Path) -> None:
    greys = [200, 0, 120, 40]
    save_film(_write(tmp_path, [_plain(grey) for grey in greys]), tmp_path / "film.gif", fps)
    assert np.abs(np.subtract(_greys(tmp_path / "film.gif"), greys)).max() <= 4
    assert _read(tmp_path / "film.gif")[1] == [*[milliseconds] * 3, milliseconds + 1000]


def test_colours_are_close(tmp_path: Path) -> None:
    tints = torch.rand(12, 1, 3, 1, 1) - 0.5
    shades = torch.rand(12, 64, 1, 8, 8) - 0.5 + 0.1 * torch.randn(12, 64, 3, 8, 8)
    pictures = [image_grid(x.clamp(-1, 1)) for x in tints + shades]
    save_film(_write(tmp_path, pictures), tmp_path / "film.gif", 10)
    frames, _ = _read(tmp_path / "film.gif")
    assert len(frames) == 12
    for i, frame in enumerate(frames):
        errors = [_mean_error(frame, picture) for picture in pictures]
        assert errors[i] == min(errors) < 10
        assert (frame[:2] == 255).all()  # the margin


def test_what_stays_the_same_does_not_flicker(tmp_path: Path) -> None:
    still = image_grid(torch.rand(16, 3, 8, 8) * 2 - 1)
    pictures = [still.clone() for _ in range(6)]
    for picture in pictures:
        picture[:, :60] = torch.randint(256, picture[:, :60].shape, dtype=torch.uint8)
    save_film(_write(tmp_path, pictures), tmp_path / "film.gif", 10)
    frames, _ = _read(tmp_path / "film.gif")
    assert len(frames) == 6
    assert all((frame[60:] == frames[0][60:]).all() for frame in frames)


def test_points_keep_their_colours(tmp_path: Path) -> None:
    points, groups = torch.randn(200, 2), torch.arange(200) % 4
    real = 3 * torch.randn(200, 2)
    plots = [scatter_plot(points * s, real, f"{s}", groups) for s in (0.1, 0.5, 1.0)]
    save_film(_write(tmp_path, plots), tmp_path / "film.gif", 10)
    frames, _ = _read(tmp_path / "film.gif")
    for frame, plot in zip(frames, plots, strict=True):
        assert _mean_error(frame, plot) < 2
        error = np.abs(frame.astype(int) - plot.permute(1, 2, 0).numpy()).max(axis=2)
        assert (error < 40).mean() > 0.999


def test_long_films_are_thinned_evenly(tmp_path: Path) -> None:
    paths = _write(tmp_path, [_plain(grey, side=2) for grey in range(0, 256, 3)])
    with patch("lightning_gan.callbacks.film.MOST_FRAMES", 6):
        save_film(paths, tmp_path / "film.gif", 10)
    assert np.abs(np.subtract(_greys(tmp_path / "film.gif"), range(0, 256, 51))).max() <= 4
    assert 100 < MOST_FRAMES <= 300


def test_all_of_a_film_that_just_fits(tmp_path: Path) -> None:
    paths = _write(tmp_path, [_plain(grey) for grey in (0, 80, 160, 240)])
    for most, count in ((4, 4), (3, 3), (2, 2)):
        with patch("lightning_gan.callbacks.film.MOST_FRAMES", most):
            save_film(paths, tmp_path / "film.gif", 10)
        greys = _greys(tmp_path / "film.gif")
        assert len(greys) == count
        assert greys[0] < 5
        assert greys[-1] > 235


def test_large_pictures_are_reduced_by_a_whole_factor(tmp_path: Path) -> None:
    side = LONGEST_SIDE + 20
    halves = torch.zeros(2, 3, side, 40, dtype=torch.uint8)
    halves[0, :, : side // 2] = 255
    halves[1, :, side // 2 :] = 255
    save_film(_write(tmp_path, list(halves)), tmp_path / "film.gif", 10)
    frames, _ = _read(tmp_path / "film.gif")
    for frame, half in zip(frames, halves, strict=True):
        assert np.abs(frame.astype(int) - half[:, ::2, ::2].permute(1, 2, 0).numpy()).max() <= 4


def test_other_sizes_are_left_out(tmp_path: Path) -> None:
    shades = [(10, 8), (60, 6), (110, 8), (160, 7), (210, 8)]
    paths = _write(tmp_path, [_plain(*shade) for shade in shades])
    save_film(paths, tmp_path / "film.gif", 10)
    frames, _ = _read(tmp_path / "film.gif")
    assert [frame.shape for frame in frames] == [(8, 8, 3)] * 3
    assert np.abs(np.subtract(_greys(tmp_path / "film.gif"), [10, 110, 210])).max() <= 4


@pytest.mark.parametrize("broken", [0, 1, 2, 3])
def test_truncated_pictures_are_left_out(broken: int, tmp_path: Path) -> None:
    greys = [10, 90, 170, 250]
    paths = _write(tmp_path, [_plain(grey) for grey in greys])
    whole = paths[broken].read_bytes()
    for length in range(0, whole.index(b"IDAT") + 8, 3):
        paths[broken].write_bytes(whole[:length])
        save_film(paths, tmp_path / "film.gif", 10)
        rest = np.delete(greys, broken)
        assert np.abs(np.subtract(_greys(tmp_path / "film.gif"), rest)).max() <= 4
        assert _read(tmp_path / "film.gif")[1] == [100, 100, 1100]


def test_no_frame_is_half_a_picture(tmp_path: Path) -> None:
    whole = torch.full((3, 8, 8), 255, dtype=torch.uint8)
    whole[:, ::2] = torch.randint(4, whole[:, ::2].shape, dtype=torch.uint8) + 64
    paths = _write(tmp_path, [_plain(9), whole, _plain(250)])
    content = paths[1].read_bytes()
    counts = []
    for length in [*range(0, len(content), 3), len(content)]:
        paths[1].write_bytes(content[:length])
        save_film(paths, tmp_path / "film.gif", 10)
        frames, _ = _read(tmp_path / "film.gif")
        counts.append(len(frames))
        if len(frames) == 3:
            assert _mean_error(frames[1], whole) < 4
    assert counts == sorted(counts)
    assert counts.count(2) > len(counts) / 2
    assert counts[-1] == 3


def test_missing_and_foreign_files_are_left_out(tmp_path: Path) -> None:
    paths = _write(tmp_path, [_plain(10), _plain(90), _plain(170)])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "folder.png").mkdir()
    others = [tmp_path / name for name in ("text.png", "folder.png", "missing.png")]
    save_film([others[0], paths[0], *others, *paths[1:], *others], tmp_path / "film.gif", 10)
    assert np.abs(np.subtract(_greys(tmp_path / "film.gif"), [10, 90, 170])).max() <= 4


def test_no_film_of_fewer_than_two_frames(tmp_path: Path) -> None:
    paths = _write(tmp_path, [_plain(10), _plain(90)])
    paths[0].write_bytes(paths[0].read_bytes()[:40])
    before = set(tmp_path.iterdir())
    for frames in ([], paths[1:], paths, paths[:1], [tmp_path / "missing.png"]):
        save_film(frames, tmp_path / "film.gif", 10)
    assert set(tmp_path.iterdir()) == before


class _Killed(BaseException):
    pass


def test_half_a_film_has_no_name(tmp_path: Path) -> None:
    paths = _write(tmp_path, [_plain(grey) for grey in (10, 90, 170)])
    save_film(paths, tmp_path / "film.gif", 10)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with (
        patch("PIL.GifImagePlugin._write_frame_data", side_effect=[None, _Killed]) as writing,
        pytest.raises(_Killed),
    ):
        save_film(paths[::-1], tmp_path / "film.gif", 10)
    assert writing.call_count == 2
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_film_is_written_beside_and_replaces(tmp_path: Path) -> None:
    paths = _write(tmp_path, [_plain(grey) for grey in (10, 90, 170)])
    (tmp_path / ".film.gif.tmp").write_text("left by a kill")
    for frames, greys in ((paths, [10, 90, 170]), (paths[:2], [10, 90])):
        save_film(frames, tmp_path / "film.gif", 10)
        assert np.abs(np.subtract(_greys(tmp_path / "film.gif"), greys)).max() <= 4
    assert {path.name for path in tmp_path.iterdir()} == {"film.gif", *(p.name for p in paths)}


def test_few_pictures_are_in_memory_at_a_time(tmp_path: Path) -> None:
    paths = _write(tmp_path, [_plain(grey) for grey in range(0, 250, 5)])
    seen: list[str] = []
    opening, quantizing = Image.open, Image.Image.quantize

    def opened(path: Path) -> Image.Image:
        seen.append("open")
        return opening(path)

    def quantized(image: Image.Image, *args: object, **options: object) -> Image.Image:
        seen.append("quantize")
        return quantizing(image, *args, **options)  # type: ignore[arg-type]

    with patch.object(Image, "open", opened), patch.object(Image.Image, "quantize", quantized):
        save_film(paths, tmp_path / "film.gif", 10)
    assert seen[-100:] == ["open", "quantize"] * 50


@pytest.mark.parametrize("fps", [0, -1])
def test_bad_speed_is_refused(fps: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"Expected 'fps' to be at least 1, got {fps}"):
        save_film([], tmp_path / "film.gif", fps)
