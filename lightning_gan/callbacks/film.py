"""The pictures of a run as a film."""

import math
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from PIL import Image

MOST_FRAMES = 300  # half a minute at the usual ten a second
LONGEST_SIDE = 1080  # pixels: Pillow holds all frames, a byte a pixel, until it has written them
LAST_FRAME = 1000  # milliseconds that the last frame is shown beyond its own time
# What the palette is made of: shares of this many frames, of this many pixels' side.
PALETTE_FRAMES, PALETTE_SIDE = 16, 96
COLORS = 254  # of 256: one is white, and one marks pixels that stay as they were

# Pillow looks for the nearest colour of a palette by the upper six bits alone: 255 counts as 252.
COARSE = [value & 0xFC for value in range(256)] * 3
WHITE = 252

UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def save_film(frames: Sequence[Path], path: Path, fps: int) -> None:
    """Write pictures as an animated GIF that repeats, lasting a second longer on the last of them.

    Pictures that cannot be read are left out, and so are those of another size than the last one;
    if fewer than two remain, nothing is written. More than ``MOST_FRAMES`` are thinned evenly, and
    larger ones than ``LONGEST_SIDE`` are reduced by a whole factor. All frames share one palette,
    so that what stays the same does not flicker. The file appears under its name once it is whole.

    Args:
        frames: Files of the pictures, in order.
        path: The film.
        fps: Frames a second. A GIF counts hundredths of a second, and many programs slow down what
            is faster than 50 frames a second, so that nothing faster is written.

    Raises:
        ValueError: If ``fps`` is below 1.
    """
    if fps < 1:
        raise ValueError(f"Expected 'fps' to be at least 1, got {fps}.")
    shots = _thinned(_of_last_size(frames), MOST_FRAMES)
    looks = [look for shot in _thinned(shots, PALETTE_FRAMES) if (look := _read(shot))]
    if len(looks) < 2:
        return
    pictures = _timed(shots, _palette(looks), 10 * max(2, round(100 / fps)))
    first, *second = islice(pictures, 2)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            rest = chain(second, pictures)
            first.save(file, format="GIF", save_all=True, append_images=rest, loop=0)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _thinned(shots: Sequence[Path], count: int) -> list[Path]:
    """Choose up to ``count`` of some, evenly, the first and the last among them."""
    last = len(shots) - 1
    if last < count:
        return list(shots)
    return [shots[round(i * last / (count - 1))] for i in range(count)]


def _of_last_size(shots: Sequence[Path]) -> list[Path]:
    sizes = [(shot, size) for shot in shots if (size := _size(shot))]
    return [shot for shot, size in sizes if size == sizes[-1][1]]


def _size(shot: Path) -> tuple[int, int] | None:
    """Return width and height, which a file begins with."""
    try:
        with Image.open(shot) as image:
            return image.size
    except UNREADABLE:
        return None


def _read(shot: Path) -> Image.Image | None:
    """Return a frame in colours up to ``WHITE``, or None if the file is damaged."""
    try:
        with Image.open(shot) as image:
            frame = image.convert("RGB")
    except UNREADABLE:
        return None
    factor = math.ceil(max(frame.size) / LONGEST_SIDE)
    return (frame.reduce(factor) if factor > 1 else frame).point(COARSE)


def _palette(looks: Sequence[Image.Image]) -> Image.Image:
    """Find colours up to ``WHITE`` that serve frames from all of the film."""
    width, height = (min(side, PALETTE_SIDE) for side in looks[0].size)
    pile = Image.new("RGB", (width, height * len(looks)))
    for i, look in enumerate(looks):
        pile.paste(look.resize((width, height), Image.Resampling.NEAREST), (0, height * i))
    # Where few points have a colour of their own, a median cut would have it vanish.
    colors = pile.quantize(COLORS, Image.Quantize.MAXCOVERAGE, kmeans=1).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([WHITE] * 3 + colors[: 3 * COLORS])  # the margin must not be tinted
    return palette


def _timed(shots: Sequence[Path], palette: Image.Image, time: int) -> Iterator[Image.Image]:
    """Read the frames one by one, each with the milliseconds that it is to be shown."""
    shown = [round(value * 255 / WHITE) for value in palette.getpalette() or []]
    waiting: Image.Image | None = None
    for frame in filter(None, map(_read, shots)):
        if waiting is not None:
            yield waiting
        waiting = frame.quantize(palette=palette, dither=Image.Dither.NONE)
        waiting.putpalette(shown)
        waiting.info["duration"] = time
    if waiting is not None:
        waiting.info["duration"] += LAST_FRAME
        yield waiting
