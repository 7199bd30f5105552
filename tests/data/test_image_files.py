import io
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from lightning_gan.data import image_files as module
from lightning_gan.data.image_files import (
    ImageError,
    channels_of,
    cover,
    image_files,
    to_tensor,
)


def png(value: int = 0, size: tuple[int, int] = (4, 4)) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", size, value).save(buffer, "PNG")
    return buffer.getvalue()


def write(root: Path, files: dict[str, bytes]) -> Path:
    """Write a folder, or an archive if the name says so."""
    if root.suffix == ".zip":
        with zipfile.ZipFile(root, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return root
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


@pytest.fixture(params=["images", "images.zip"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


def test_names_are_sorted_and_of_images_only(root: Path) -> None:
    names = ["b/2.png", "a/x y.JPG", "b/10.png", "ü/ß 猫.png"]
    others = ["notes.txt", "b/labels.csv", "__MACOSX/b/._2.png", ".cache/1.png", "a/._x.png"]
    files = image_files(write(root, dict.fromkeys([*names, *others], png())))
    assert files.names == ["a/x y.JPG", "b/10.png", "b/2.png", "ü/ß 猫.png"]
    assert [files.open(name).size for name in files.names] == [(4, 4)] * 4


def test_linked_folders_are_followed(tmp_path: Path) -> None:
    write(tmp_path / "far", {"1.png": png()})
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "cat").symlink_to(tmp_path / "far", target_is_directory=True)
    assert image_files(tmp_path / "root").names == ["cat/1.png"]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"folder or a zip archive, got .*gone, which does"):
        image_files(tmp_path / "gone")


def test_neither_folder_nor_archive(tmp_path: Path) -> None:
    (tmp_path / "images.zip").write_text("not an archive")
    with pytest.raises(ValueError, match=r"got .*images\.zip, which is neither"):
        image_files(tmp_path / "images.zip")


def test_no_images(root: Path) -> None:
    with pytest.raises(ValueError, match=r"to hold images \(.*\.png.*\), got none in .*images"):
        image_files(write(root, {"readme.txt": b"none"}))


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="got none in"):
        image_files(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"just text", b"", png(3, (40, 40))[:60], b"\x89PNG\r\n\x1a\n" + bytes(50)],
    ids=["text", "empty", "truncated", "header"],
)
def test_an_unreadable_file_is_named(root: Path, content: bytes) -> None:
    files = image_files(write(root, {"a/broken one.png": content}))
    with pytest.raises(ImageError, match=r"readable image, got .* for .*images.*: a/broken one\."):
        files.open("a/broken one.png")


def test_a_bomb_is_refused_before_it_is_decoded(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_PIXELS", 99)
    files = image_files(write(root, {"bomb.png": png(0, (10, 10))}))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ImageError, match=r"at most 99 pixels, got 10 x 10 in .*bomb\.png"):
        files.open("bomb.png")


def test_a_huge_file_is_refused_before_it_is_read(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 50)
    files = image_files(write(root, {"big.png": png()}))
    monkeypatch.setattr(files, "read", lambda name: pytest.fail("read"))
    with pytest.raises(ImageError, match=r"at most 50 bytes, got \d+ in .*big\.png"):
        files.open("big.png")


def test_a_member_unpacks_to_no_more_than_it_claims(tmp_path: Path) -> None:
    content = bytes(100_000)
    path = write(tmp_path / "a.zip", {"a.png": content})
    packed = path.read_bytes()
    lie = packed.replace(len(content).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    checksum = zlib.crc32(content).to_bytes(4, "little")
    path.write_bytes(lie.replace(checksum, zlib.crc32(bytes(100)).to_bytes(4, "little")))
    assert len(image_files(path).read("a.png")) <= 4096


def test_each_process_has_its_own_handle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files: Any = image_files(write(tmp_path / "a.zip", {"a.png": png(9)}))
    handle = files._open_archive()
    assert files._open_archive() is handle
    copy = pickle.loads(pickle.dumps(files))
    assert copy.read("a.png") == files.read("a.png")
    assert copy._open_archive() is not handle
    monkeypatch.setattr("os.getpid", lambda: -1)
    assert files._open_archive() is not handle


@pytest.mark.parametrize(
    ("modes", "channels"),
    [("1 L I I;16 I;16B F", 1), ("RGB P CMYK YCbCr LAB", 3), ("RGBA LA PA", 4)],
)
def test_channels_of_a_mode(modes: str, channels: int) -> None:
    assert {channels_of(mode) for mode in modes.split()} == {channels}


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16", "F"])
def test_modes_convert(mode: str, channels: int) -> None:
    tensor = to_tensor(Image.new(mode, (3, 2)), channels)
    assert tensor.shape == (channels, 2, 3)
    assert tensor.dtype == torch.uint8
    assert tensor[:3].unique().tolist() == [255 if mode == "CMYK" else 0]


def test_pixels_keep_their_places() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    tensor = to_tensor(Image.fromarray(pixels), 3)
    torch.testing.assert_close(tensor, torch.from_numpy(pixels).permute(2, 0, 1), rtol=0, atol=0)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled(form: str) -> None:
    buffer = io.BytesIO()
    pixels = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    Image.fromarray(pixels).save(buffer, form)
    assert to_tensor(Image.open(buffer), 1).flatten().tolist() == [0, 1, 128, 255]


def test_integers_out_of_range_do_not_wrap() -> None:
    pixels = np.array([[-1000, 70_000]], dtype=np.int32)
    assert to_tensor(Image.fromarray(pixels), 1).flatten().tolist() == [0, 255]


def test_a_palette_is_looked_up() -> None:
    image = Image.new("P", (2, 1), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    assert to_tensor(image, 3)[:, 0, 0].tolist() == [10, 20, 30]
    image.info["transparency"] = b"\xff\x80"
    assert to_tensor(image, 4)[:, 0, 0].tolist() == [10, 20, 30, 128]
    assert to_tensor(image, 3)[:, 0, 0].tolist() == [10, 20, 30]


def columns(height: int, width: int) -> Image.Image:
    row = np.arange(width, dtype=np.uint8) * 10
    return Image.fromarray(np.tile(row, (height, 1)))


@pytest.mark.parametrize("size", [(4, 4), (2, 6), (9, 3), (1, 1), (20, 30)])
def test_cover_gives_the_size_asked_for(size: tuple[int, int]) -> None:
    for native in [(4, 4), (3, 7), (7, 3), (1, 24)]:
        assert to_tensor(columns(*native), 1, size).shape == (1, *size)


def test_cover_keeps_an_image_of_that_size() -> None:
    image = columns(4, 6)
    np.testing.assert_array_equal(np.asarray(cover(image, (4, 6))), np.asarray(image))


def test_cover_cuts_the_centre() -> None:
    np.testing.assert_array_equal(np.asarray(cover(columns(4, 8), (4, 4)))[0], [20, 30, 40, 50])
    tall = columns(4, 8).transpose(Image.Transpose.TRANSPOSE)
    np.testing.assert_array_equal(np.asarray(cover(tall, (4, 4)))[:, 0], [20, 30, 40, 50])


def test_cover_does_not_distort() -> None:
    shrunk = np.asarray(cover(columns(8, 24), (4, 4)))[0]
    np.testing.assert_allclose(shrunk, [85, 105, 125, 145], atol=1)


def test_cover_of_a_long_image_takes_little_memory() -> None:
    assert cover(Image.new("L", (1_000_000, 1)), (64, 64)).size == (64, 64)


def jpeg(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **{"quality": 95} | options)
    return buffer.getvalue()


def waves(height: int, width: int) -> Image.Image:
    """Return a smooth image, in which every place looks different."""
    y, x = np.mgrid[:height, :width]
    values = [np.sin(x / 17 + y / 23), np.cos(x / 29 - y / 19), x / width - y / height]
    return Image.fromarray((127.5 + 120 * np.stack(values, -1)).astype(np.uint8))


@pytest.mark.parametrize(
    ("size", "side", "decoded"),
    [
        ((64, 64), 64, (64, 64)),
        ((64, 64), 33, (64, 64)),
        ((64, 64), 32, (32, 32)),
        ((64, 96), 16, (16, 24)),
        ((96, 64), 9, (24, 16)),
        ((64, 64), 2, (8, 8)),
        ((67, 99), 16, (17, 25)),
        ((10, 10), 16, (10, 10)),
    ],
)
def test_a_jpeg_file_is_decoded_no_larger_than_needed(
    root: Path,
    size: tuple[int, int],
    side: int,
    decoded: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = image_files(write(root, {"a.jpg": jpeg(waves(*size))}))
    sizes, load = [], JpegImageFile.load

    def record(self: JpegImageFile) -> Any:
        sizes.append(self.size)
        return load(self)

    monkeypatch.setattr(JpegImageFile, "load", record)
    image, native, extent = files.open_reduced("a.jpg", side)
    assert sizes[0] == image.size == decoded[::-1]
    assert native == size
    scale = round(size[0] / decoded[0])
    assert extent == (size[0] / scale, size[1] / scale)


def test_other_files_are_decoded_fully(root: Path) -> None:
    buffer = io.BytesIO()
    waves(64, 96).save(buffer, "PNG")
    files = image_files(write(root, {"a.png": buffer.getvalue()}))
    image, native, extent = files.open_reduced("a.png", 4)
    assert (image.height, image.width) == native == extent == (64, 96)


def test_a_bomb_is_refused_before_it_is_reduced(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_PIXELS", 99)
    files = image_files(write(root, {"bomb.jpg": jpeg(waves(10, 10))}))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ImageError, match=r"at most 99 pixels, got 10 x 10 in .*bomb\.jpg"):
        files.open_reduced("bomb.jpg", 1)


def test_a_broken_jpeg_file_is_named(root: Path) -> None:
    files = image_files(write(root, {"a.jpg": jpeg(waves(64, 64))[:600]}))
    with pytest.raises(ImageError, match=r"readable image, got .* for .*: a\.jpg"):
        files.open_reduced("a.jpg", 8)


def test_cover_of_a_reduced_image_leaves_out_what_was_padded() -> None:
    """9 columns at half their size are 4.5, of which 4 from 0.25 on are the centre."""
    image = Image.fromarray(np.array([[0, 100, 100, 200, 200]] * 4, dtype=np.uint8))
    pixels = np.asarray(cover(image, (2, 2), (4.0, 4.5)))
    np.testing.assert_array_equal(pixels, [[50, 150]] * 2)  # columns whose middle is inside


def test_cover_enlarges_smoothly_what_is_too_small() -> None:
    image = Image.fromarray(np.array([[0, 200]] * 2, dtype=np.uint8))
    pixels = np.asarray(cover(image, (4, 4), (2, 2)))
    np.testing.assert_array_equal(pixels[0], [0, 50, 150, 200])
