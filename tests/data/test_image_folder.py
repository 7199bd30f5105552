import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_gan.data import ImageFolder, image_set
from lightning_gan.data.image_folder import LazySamples
from tests.data.test_image_files import jpeg, png, waves, write


def noise(key: int, size: tuple[int, int] = (6, 4), mode: str = "RGB") -> bytes:
    """Return the PNG file of a random image of (W, H)."""
    shape = (size[1], size[0], len(mode)) if mode != "L" else (size[1], size[0])
    pixels = np.random.default_rng(key).integers(0, 256, shape, dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def two_classes(wrapper: str = "") -> dict[str, bytes]:
    names = ["dog/1.png", "cat/b 2.png", "cat/a ü.png", "dog/0.png", "cat/c.png"]
    return {f"{wrapper}{name}": noise(i) for i, name in enumerate(names)}


@pytest.fixture(params=["images", "images.zip"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


def loaded(root: Path, **options: Any) -> ImageFolder:
    data = ImageFolder(root, **{"batch_size": 2, "seed": 0} | options)
    data.setup("fit")
    return data


def everything(data: ImageFolder) -> tuple[torch.Tensor, torch.Tensor]:
    return data.train_set[torch.arange(len(data.train_set))]


def test_folder_and_archive_are_the_same(tmp_path: Path) -> None:
    folder = loaded(write(tmp_path / "images", two_classes()))
    archive = loaded(write(tmp_path / "images.zip", two_classes()))
    for ours, theirs in zip(everything(folder), everything(archive), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert folder.classes == archive.classes == ["cat", "dog"]


def test_images_are_in_the_order_of_their_names(root: Path) -> None:
    data = loaded(write(root, two_classes()))
    images, labels = everything(data)
    assert labels.tolist() == [0, 0, 0, 1, 1]
    assert data.sample_shape == (3, 4, 6)
    assert data.num_classes == 2
    for image, key in zip(images, [2, 1, 4, 3, 0], strict=True):
        pixels = np.asarray(Image.open(io.BytesIO(noise(key))))
        expected = torch.from_numpy(pixels / 127.5 - 1).permute(2, 0, 1).float()
        torch.testing.assert_close(image, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("wrapper", ["set/", "a/b/", "set/train/"])
def test_folders_around_everything_are_skipped(root: Path, wrapper: str) -> None:
    data = loaded(write(root, two_classes(wrapper)))
    assert data.classes == ["cat", "dog"]
    assert data.test_set is None


@pytest.mark.parametrize("folder", ["", "photos/", "set/photos/"])
def test_without_classes(root: Path, folder: str) -> None:
    data = loaded(write(root, {f"{folder}{i}.png": noise(i) for i in range(3)}))
    assert data.classes == []
    assert data.num_classes is None
    assert everything(data)[1].tolist() == [0, 0, 0]


@pytest.mark.parametrize("names", [("train", "test"), ("Training", "val"), ("train", "Valid")])
@pytest.mark.parametrize("wrapper", ["", "set/"])
def test_splits(root: Path, names: tuple[str, str], wrapper: str) -> None:
    train, test = names
    files = two_classes(f"{wrapper}{train}/") | {f"{wrapper}{test}/dog/9.png": noise(9)}
    data = loaded(write(root, files))
    assert data.test_set is not None
    assert data.classes == ["cat", "dog"]
    assert len(data.train_set) == 5
    assert data.test_set.labels.tolist() == [1]


def test_splits_without_classes(root: Path) -> None:
    files = {"train/1.png": noise(1), "train/2.png": noise(2), "test/1.png": noise(3)}
    data = loaded(write(root, files))
    assert data.test_set is not None
    assert data.num_classes is None
    assert (len(data.train_set), len(data.test_set)) == (2, 1)


def test_what_is_in_no_split_is_not_read(root: Path) -> None:
    files = {
        "a.png": noise(0, (9, 9), "L"),
        "extra/1.png": b"broken",
        "val/1.png": noise(1, (8, 8)),
    }
    used = {"train/1.png": noise(1), "train/2.png": noise(2), "test/1.png": noise(3)}
    data = loaded(write(root, files | used))
    assert data.test_set is not None
    assert data.sample_shape == (3, 4, 6)
    assert (len(data.train_set), len(data.test_set)) == (2, 1)


def test_an_image_outside_the_classes_is_refused(root: Path) -> None:
    with pytest.raises(ValueError, match=r"in folders of their classes, or none, got stray\.png"):
        loaded(write(root, two_classes() | {"stray.png": noise(7)}))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_channels_are_those_of_the_first_image(root: Path, mode: str) -> None:
    files = {"1.png": noise(1, mode=mode), "2.png": noise(2)}
    assert loaded(write(root, files)).sample_shape[0] == len(mode)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_can_be_chosen(root: Path, channels: int) -> None:
    data = loaded(write(root, two_classes()), channels=channels)
    assert data.sample_shape == everything(data)[0].shape[1:] == (channels, 4, 6)


@pytest.mark.parametrize(("size", "shape"), [(5, (5, 5)), ((3, 8), (3, 8)), ([8, 2], (8, 2))])
def test_sizes(root: Path, size: Any, shape: tuple[int, int]) -> None:
    files = {"1.png": noise(1), "2.png": noise(2, (9, 9))}
    data = loaded(write(root, files), image_size=size)
    assert everything(data)[0].shape == (2, 3, *shape)
    assert data.sample_shape == (3, *shape)


@pytest.mark.parametrize("limit", [0, 4])
def test_different_sizes_need_one_given(root: Path, limit: float) -> None:
    write(root, {"1.png": noise(1), "2.png": noise(2, (9, 9))})
    with pytest.raises(
        ValueError, match=r"\(4, 6\) in 1\.png and \(9, 9\) in 2\.png of .*Give 'image_size'"
    ):
        everything(loaded(root, memory_limit_gb=limit, skip_unreadable=limit > 0))


@pytest.mark.parametrize("limit", [0, 4])
@pytest.mark.parametrize("broken", ["0.png", "2.png"])
def test_an_unreadable_image_is_named(root: Path, limit: float, broken: str) -> None:
    write(root, {"1.png": noise(1), "3.png": noise(3), broken: b"text"})
    with pytest.raises(ValueError, match=f"readable image, got .*: {broken}"):
        everything(loaded(root, memory_limit_gb=limit))


@pytest.mark.parametrize("limit", [0, 4])
@pytest.mark.parametrize("broken", ["a/0.png", "cat/b 2.png", "dog/z.png"])
def test_unreadable_images_are_skipped(root: Path, limit: float, broken: str) -> None:
    write(root, two_classes() | {broken: noise(3)[:50], "dog/zz.png": b""})
    with pytest.warns(UserWarning, match=f"2 unreadable images of .*, first {broken}") as caught:
        data = loaded(root, skip_unreadable=True, memory_limit_gb=limit)
    assert len(caught) == 1
    assert isinstance(data.train_set, LazySamples) == (limit == 0)
    images, labels = everything(data)
    kept = [name for name in sorted(two_classes()) if name != broken]
    assert [data.classes[label] for label in labels] == [name[:3] for name in kept]
    for image, name in zip(images, kept, strict=True):
        pixels = np.asarray(Image.open(io.BytesIO(two_classes()[name])))
        expected = torch.from_numpy(pixels / 127.5 - 1).permute(2, 0, 1).float()
        torch.testing.assert_close(image, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("skip", [False, True])
def test_nothing_readable(root: Path, skip: bool) -> None:
    write(root, {"1.png": b"text", "2.png": b""})
    with pytest.raises(ValueError, match=r"Expected readable images, got none in .*images"):
        loaded(root, skip_unreadable=skip)


@pytest.mark.filterwarnings("ignore:1 unreadable images")
def test_a_split_without_a_readable_image(root: Path) -> None:
    write(root, {"train/1.png": noise(1), "test/1.png": b""})
    with pytest.raises(ValueError, match=r"got 1 unreadable ones of .*, first test/1\.png"):
        loaded(root, skip_unreadable=True)


def test_an_odd_colour_mode_is_named(root: Path) -> None:
    buffer = io.BytesIO()
    Image.new("LAB", (6, 4)).save(buffer, "TIFF")
    with pytest.raises(ValueError, match=r"converts to L, got the mode LAB in .*: 2\.tif"):
        loaded(write(root, {"1.png": noise(1), "2.tif": buffer.getvalue()}), channels=1)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("flip", [False, True])
def test_batch_by_batch_equals_in_memory(root: Path, workers: int, flip: bool) -> None:
    write(root, {f"{i % 3}/{i}.png": noise(i) for i in range(12)})
    options: dict[str, Any] = {"horizontal_flip": flip, "batch_size": 3}
    memory = loaded(root, **options)
    lazy = loaded(root, memory_limit_gb=0, num_workers=workers, **options)
    assert isinstance(lazy.train_set, LazySamples)
    assert len(lazy.train_set) == len(memory.train_set) == (24 if flip else 12)
    assert lazy.sample_shape == memory.sample_shape
    pairs = zip(lazy.train_dataloader(), memory.train_dataloader(), strict=True)
    for (images, labels), (expected, classes) in pairs:
        torch.testing.assert_close(images, expected, rtol=0, atol=0)
        torch.testing.assert_close(labels, classes, rtol=0, atol=0)


def test_held_out_images_are_not_mirrored(root: Path) -> None:
    write(root, {"train/1.png": noise(1), "test/1.png": noise(2)})
    data = loaded(root, horizontal_flip=True)
    assert data.test_set is not None
    assert (len(data.train_set), len(data.test_set)) == (2, 1)


def test_an_archive_is_read_rightly_by_many_threads(tmp_path: Path) -> None:
    root = write(tmp_path / "a.zip", {f"{i:03}.png": png(i % 256) for i in range(300)})
    images = loaded(root).train_set.samples
    expected = (torch.arange(300) % 256).to(torch.uint8)
    torch.testing.assert_close(images[:, 0, 0, 0], expected, rtol=0, atol=0)


def test_an_archive_is_never_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path / "a.zip", two_classes() | {"../../cat/out.png": noise(5)})
    for name in ("extract", "extractall"):
        monkeypatch.delattr(zipfile.ZipFile, name)
    data = loaded(root, memory_limit_gb=0)
    assert len(everything(data)[1]) == 5
    assert list(tmp_path.rglob("*")) == [root]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 0}, "Expected 'image_size' to be positive, got 0"),
        ({"image_size": (4, -1)}, r"Expected 'image_size' to be positive, got \(4, -1\)"),
        ({"channels": 2}, r"Expected 'channels' to be one of \[1, 3, 4\], got 2"),
        ({"batch_size": 0}, "Expected 'batch_size' to be at least 1, got 0"),
    ],
)
def test_arguments_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageFolder("anywhere", **options)


def test_a_missing_root_is_reported(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="which does not exist"):
        loaded(tmp_path / "gone")


def photos(wrapper: str = "", form: str = "JPEG") -> dict[str, bytes]:
    """Return smooth images of 64x96 pixels, all of them different."""
    files = {}
    for i in range(8):
        image = waves(64, 96 + i).crop((i, 0, 96 + i, 64))
        buffer = io.BytesIO()
        image.save(buffer, form, quality=95)
        files[f"{wrapper}{i % 2}/{i}.{form.lower()}"] = buffer.getvalue()
    return files


@pytest.mark.parametrize(("form", "bound"), [("JPEG", 3.0), ("PNG", 1.5)])
@pytest.mark.parametrize("side", [4, 8, 16, 32])
def test_reduced_images_are_the_means_of_blocks(
    root: Path, form: str, bound: float, side: int
) -> None:
    lazy = loaded(write(root, photos(form=form)), image_size=64, memory_limit_gb=0).train_set
    index = torch.arange(8)
    images, labels = lazy.resized(side)[index]
    full = ((lazy[index][0] + 1) * 127.5).numpy()
    blocks = full.reshape(8, 3, side, 64 // side, side, 64 // side).mean((3, 5))
    assert images.shape[1:] == lazy.resized(side).sample_shape == (3, side, side)
    assert np.abs((images + 1).mul(127.5).numpy() - blocks).mean() < bound
    assert np.abs((images + 1).mul(127.5).numpy() - blocks).max() < 6 * bound
    assert labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_the_full_side_is_the_same_data(root: Path) -> None:
    lazy = loaded(write(root, photos()), image_size=64, memory_limit_gb=0).train_set
    assert lazy.resized(64) is lazy


def test_reduced_images_are_mirrored_in_the_second_half(root: Path) -> None:
    data = loaded(write(root, photos()), image_size=64, memory_limit_gb=0, horizontal_flip=True)
    small = data.train_set.resized(8)
    images, _ = small[torch.arange(16)]
    assert len(small) == 16
    torch.testing.assert_close(images[8:], images[:8].flip(-1), rtol=0, atol=0)


def test_reduced_images_still_need_one_size(root: Path) -> None:
    """Both are 32 pixels wide when they are decoded."""
    write(root, {"1.jpg": jpeg(waves(64, 64)), "2.jpg": jpeg(waves(32, 32))})
    small = loaded(root, memory_limit_gb=0).train_set.resized(32)
    assert small[torch.tensor([0])][0].shape == (1, 3, 32, 32)
    with pytest.raises(ValueError, match=r"\(64, 64\) in 1\.jpg and \(32, 32\) in 2\.jpg"):
        small[torch.tensor([1])]


def test_other_modes_are_converted_before_they_are_averaged(root: Path) -> None:
    image = Image.new("P", (4, 4))
    image.putpalette([0, 0, 0, 10, 20, 30, 200, 100, 50])
    image.putdata([0, 2] * 8)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    write(root, {"1.png": buffer.getvalue()})
    small = loaded(root, memory_limit_gb=0, channels=3).train_set.resized(2)
    pixels = (small[torch.tensor([0])][0] + 1) * 127.5
    expected = torch.tensor([100.0, 50.0, 25.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    torch.testing.assert_close(pixels, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("limit", [0, 4])
@pytest.mark.parametrize("workers", [0, 2])
def test_images_are_delivered_at_the_resolution_asked_for(
    root: Path, limit: float, workers: int
) -> None:
    write(root, photos("train/") | photos("test/"))
    data = loaded(root, image_size=64, memory_limit_gb=limit, num_workers=workers)
    data.follow(lambda images: (2, 8) if images < 4 else (1, 32), [8, 32, 64])
    shapes = [tuple(images.shape) for images, _ in data.train_dataloader()]
    assert shapes == [(2, 3, 8, 8)] * 2 + [(1, 3, 32, 32)] * 2
    held_out = data.val_dataloader()
    assert {tuple(images.shape) for images, _ in held_out} == {(2, 3, 8, 8)}


def test_reduced_images_survive_the_way_to_another_process(root: Path) -> None:
    small = loaded(write(root, photos()), image_size=64, memory_limit_gb=0).train_set.resized(8)
    index = torch.arange(8)
    copy = pickle.loads(pickle.dumps(small))
    torch.testing.assert_close(copy[index][0], small[index][0], rtol=0, atol=0)


@pytest.mark.parametrize("limit", [0, 4])
def test_a_fingerprint_is_of_the_files_content(tmp_path: Path, limit: float) -> None:
    def fingerprint(name: str, files: dict[str, bytes], **options: Any) -> str:
        data = loaded(write(tmp_path / name, files), memory_limit_gb=limit, **options)
        return data.train_set.fingerprint()

    files = two_classes()
    plain = fingerprint("first", files)
    assert fingerprint("second.zip", files, horizontal_flip=True) == plain
    assert fingerprint("third", files | {"dog/1.png": noise(7)}) != plain
    assert fingerprint("fourth", files, channels=1) != plain
    assert loaded(tmp_path / "first", horizontal_flip=True).train_set.originals == len(files)


def test_an_image_set_is_all_there_is(root: Path) -> None:
    names = ["train/a/1.png", "test/b/2.png", "3.png", "b/4.png"]
    images = image_set(write(root, {name: noise(i) for i, name in enumerate(names)}))
    assert images.sample_shape == (3, 4, 6)
    order = torch.argsort(torch.tensor([names.index(name) for name in sorted(names)]))
    for i, image in enumerate(images[order][0]):
        pixels = np.asarray(Image.open(io.BytesIO(noise(i))))
        expected = torch.from_numpy(pixels / 127.5 - 1).permute(2, 0, 1).float()
        torch.testing.assert_close(image, expected, rtol=0, atol=1e-6)
    assert image_set(root, image_size=2, channels=1).sample_shape == (1, 2, 2)


def test_an_image_set_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="Expected 'root' to hold images"):
        image_set(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        image_set(tmp_path / "missing")
