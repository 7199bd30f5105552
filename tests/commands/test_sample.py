"""``lightning-gan sample``: images from a checkpoint alone."""

import os
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_gan import GAN
from lightning_gan.callbacks.pictures import drawable, image_grid
from lightning_gan.cli import main
from lightning_gan.commands import sample
from lightning_gan.gans import AdversarialModule
from lightning_gan.networks import MLPDiscriminator, MLPGenerator
from lightning_gan.training import CheckpointError

MLP = "--model.{0} MLP{1} --model.{0}.hidden [8]"
DCGAN = (
    "--model.{0} DCGAN{1} --model.{0}.image_size 8 --model.{0}.image_channels 1 "
    "--model.{0}.base_channels 4"
)
CONDITIONAL = DCGAN + " --model.{0}.num_classes 10"
POINTS = "--data GaussianMixture --data.num_samples 200 --data.batch_size 8"
DIGITS = "--data Digits --data.batch_size 8"


def _fit(folder: Path, networks: str, data: str, *options: str) -> Path:
    """Train for three iterations from the command line and return the checkpoint."""
    main(
        [
            *("fit", "--seed_everything", "0", "--model", "WGANGP"),
            *networks.format("generator", "Generator").split(),
            *networks.format("discriminator", "Discriminator").split(),
            *data.split(),
            *("--trainer.max_steps", "3", "--trainer.accelerator", "cpu"),
            *("--trainer.devices", "1", "--trainer.logger", "false"),
            *("--trainer.default_root_dir", str(folder), "--checkpoint.dirpath", str(folder)),
            *("--trainer.enable_progress_bar", "false", "--trainer.limit_val_batches", "0"),
            *("--trainer.enable_model_summary", "false"),
            *options,
        ]
    )
    os.environ.pop("PL_GLOBAL_SEED", None)
    return folder / "last.ckpt"


@pytest.fixture(scope="module")
def points_ckpt(tmp_path_factory: Any) -> Path:
    return _fit(tmp_path_factory.mktemp("points"), MLP, POINTS)


@pytest.fixture(scope="module")
def images_ckpt(tmp_path_factory: Any) -> Path:
    return _fit(tmp_path_factory.mktemp("images"), DCGAN, DIGITS)


@pytest.fixture(scope="module")
def classes_ckpt(tmp_path_factory: Any) -> Path:
    return _fit(tmp_path_factory.mktemp("classes"), CONDITIONAL, DIGITS)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _pixels(path: Path) -> Any:
    with Image.open(path) as image:
        return np.array(image)


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_images_as_files(images_ckpt: Path, tmp_path: Path, capsys: Any) -> None:
    folder = tmp_path / "new" / "folder"
    sample(images_ckpt, num_images=12, output_dir=folder)
    assert _names(folder) == [f"{i:06d}.png" for i in range(12)]
    for path in folder.iterdir():
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "L", (8, 8))
    assert capsys.readouterr().out == f"12 samples of {images_ckpt} in {folder}\n"


def test_files_hold_the_models_samples(images_ckpt: Path, tmp_path: Path) -> None:
    sample(images_ckpt, num_images=5, output_dir=tmp_path / "out", seed=3, grid=True)
    model = AdversarialModule.load_from_checkpoint(images_ckpt)
    assert model.ema_generator is not None
    samples = model.sample(5, generator=torch.Generator().manual_seed(3))
    for i, image in enumerate(drawable(samples)):
        assert np.array_equal(_pixels(tmp_path / "out" / f"{i:06d}.png"), image[0].numpy())
    grid = image_grid(samples).permute(1, 2, 0).numpy()
    assert np.array_equal(_pixels(tmp_path / "out-grid.png"), grid)


def test_grid_is_beside_the_samples(
    images_ckpt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the folder, `evaluate` would count it among them."""
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    sample(images_ckpt, num_images=9, output_dir=Path(), grid=True)
    assert _names(tmp_path / "out") == [f"{i:06d}.png" for i in range(9)]
    assert _pixels(tmp_path / "out-grid.png").shape == (3 * 50 + 2, 3 * 50 + 2, 3)


def test_seed_decides(images_ckpt: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        torch.manual_seed(ord(name))
        sample(images_ckpt, num_images=4, output_dir=tmp_path / name, seed=seed)
    assert _contents(tmp_path / "a") == _contents(tmp_path / "b")
    assert _contents(tmp_path / "a") != _contents(tmp_path / "c")


def test_seed_decides_on_labels_too(classes_ckpt: Path, tmp_path: Path) -> None:
    for name in "ab":
        torch.manual_seed(ord(name))
        sample(classes_ckpt, num_images=4, output_dir=tmp_path / name)
    assert _contents(tmp_path / "a") == _contents(tmp_path / "b")


@pytest.mark.parametrize("labels", [[7], [1, 4, 9], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]])
def test_labels_are_repeated(labels: list[int], classes_ckpt: Path, tmp_path: Path) -> None:
    sample(classes_ckpt, num_images=8, output_dir=tmp_path, labels=labels)
    assert len(_names(tmp_path)) == 8
    model = AdversarialModule.load_from_checkpoint(classes_ckpt)
    latents = model.sample_latents(8, torch.Generator().manual_seed(0))
    repeated = torch.tensor((labels * 8)[:8])
    for i, image in enumerate(drawable(model.render(latents, repeated))):
        assert np.array_equal(_pixels(tmp_path / f"{i:06d}.png"), image[0].numpy())


@pytest.mark.parametrize("label", [-1, 10])
def test_unknown_labels_are_refused(label: int, classes_ckpt: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"'labels' in \[0, 9\], got {label}"):
        sample(classes_ckpt, output_dir=tmp_path / "none", labels=[3, label])
    assert not (tmp_path / "none").exists()


def test_labels_need_a_conditional_model(images_ckpt: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no 'labels' for an unconditional model, got \[1\]"):
        sample(images_ckpt, output_dir=tmp_path / "none", labels=[1])
    assert not (tmp_path / "none").exists()


def test_no_images_are_refused(images_ckpt: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="got 0"):
        sample(images_ckpt, num_images=0, output_dir=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_damaged_checkpoint_is_refused(images_ckpt: Path, tmp_path: Path) -> None:
    content = bytearray(images_ckpt.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = tmp_path / "last.ckpt"
    damaged.write_bytes(content)
    # An intact neighbour is no stand-in: its samples would pass for those of the one asked for.
    (tmp_path / "other.ckpt").write_bytes(images_ckpt.read_bytes())
    for path in (damaged, tmp_path / "missing.ckpt"):
        with pytest.raises(CheckpointError, match=str(path)):
            sample(path, output_dir=tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("grid", [False, True])
def test_points_as_one_table(grid: bool, points_ckpt: Path, tmp_path: Path) -> None:
    sample(points_ckpt, num_images=300, output_dir=tmp_path / "out", grid=grid, seed=5)
    assert _names(tmp_path) == ["out"] + (["out-grid.png"] if grid else [])
    assert _names(tmp_path / "out") == ["points.csv"]
    table = torch.from_numpy(np.loadtxt(tmp_path / "out" / "points.csv", delimiter=","))
    model = AdversarialModule.load_from_checkpoint(points_ckpt)
    samples = model.sample(300, generator=torch.Generator().manual_seed(5))
    assert torch.equal(table.float(), samples)
    if grid:
        assert _pixels(tmp_path / "out-grid.png").shape == (600, 600, 3)


@pytest.mark.parametrize(("size", "drawn"), [(1, []), (2, ["out-grid.png"]), (5, ["out-grid.png"])])
def test_points_of_any_dimension(size: int, drawn: list[str], tmp_path: Path) -> None:
    generator = MLPGenerator(sample_shape=(size,), hidden=(8,))
    model = GAN(generator, MLPDiscriminator(sample_shape=(size,), hidden=(8,)))
    with patch.object(AdversarialModule, "load_from_checkpoint", return_value=model):
        sample(Path("any.ckpt"), num_images=7, output_dir=tmp_path / "out", grid=True)
    assert _names(tmp_path) == ["out", *drawn]
    table = np.loadtxt(tmp_path / "out" / "points.csv", delimiter=",", ndmin=2)
    assert table.shape == (7, size)


@pytest.mark.parametrize("picture", ["image_grid", "scatter_plot"])
def test_no_picture_is_made_unless_asked_for(
    picture: str, images_ckpt: Path, points_ckpt: Path, tmp_path: Path
) -> None:
    """Of the 50,000 samples of an evaluation it would fill the memory."""
    ckpt_path = images_ckpt if picture == "image_grid" else points_ckpt
    with patch(f"lightning_gan.commands.sample.{picture}") as draw:
        sample(ckpt_path, num_images=3, output_dir=tmp_path)
    assert not draw.called


def test_truncation(images_ckpt: Path, tmp_path: Path) -> None:
    sample(images_ckpt, 5, tmp_path, seed=3, truncation=0.5)
    model = AdversarialModule.load_from_checkpoint(images_ckpt)
    samples = model.sample(5, generator=torch.Generator().manual_seed(3), truncation=0.5)
    for i, image in enumerate(drawable(samples)):
        assert np.array_equal(_pixels(tmp_path / f"{i:06d}.png"), image[0].numpy())


def test_standing_statistics_change_the_samples_of_the_same_latents(
    images_ckpt: Path, tmp_path: Path
) -> None:
    options: Any = {"num_images": 5, "seed": 3, "truncation": 0.5, "standing_statistics": 2}
    for name, passes in (("a", 2), ("b", 2), ("c", None)):
        torch.manual_seed(ord(name))
        sample(images_ckpt, output_dir=tmp_path / name, **options | {"standing_statistics": passes})
    assert _contents(tmp_path / "a") == _contents(tmp_path / "b")
    assert _contents(tmp_path / "a") != _contents(tmp_path / "c")
    with patch.object(AdversarialModule, "standing_statistics") as measure:
        sample(images_ckpt, output_dir=tmp_path / "d", **options)
    assert measure.call_args.args[0] == 2
    assert measure.call_args.args[-1] == 0.5
    assert _contents(tmp_path / "d") == _contents(tmp_path / "c")


def test_standing_statistics_need_batch_normalisation(points_ckpt: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"network with batch .* got a MLPGenerator"):
        sample(points_ckpt, output_dir=tmp_path / "none", standing_statistics=2)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("truncation", [0.0, -1.0])
def test_wrong_truncation_is_refused(truncation: float, images_ckpt: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"'truncation' to be positive, got {truncation}"):
        sample(images_ckpt, output_dir=tmp_path / "none", truncation=truncation)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("precision", ["bf16-mixed", pytest.param("bf16-true")])
def test_half_precision_run(precision: str, tmp_path: Path) -> None:
    ckpt_path = _fit(tmp_path, DCGAN, DIGITS, "--trainer.precision", precision, "--ema.decay", "0")
    options: Any = {"truncation": 0.8, "standing_statistics": 2}
    sample(ckpt_path, num_images=3, output_dir=tmp_path / "out", grid=True, **options)
    assert len(_names(tmp_path / "out")) == 3
    assert (tmp_path / "out-grid.png").exists()
    pixels = _pixels(tmp_path / "out" / "000000.png")
    assert (pixels.shape, pixels.dtype) == ((8, 8), np.uint8)
    assert pixels.min() < pixels.max()


def test_command_line(classes_ckpt: Path, tmp_path: Path) -> None:
    main(
        [
            *("sample", "--ckpt_path", str(classes_ckpt), "--num_images", "4"),
            *("--output_dir", str(tmp_path / "a"), "--labels", "2", "3", "--seed", "8"),
            *("--truncation", "0.5", "--standing_statistics", "2"),
        ]
    )
    options: Any = {"truncation": 0.5, "standing_statistics": 2}
    sample(classes_ckpt, 4, tmp_path / "b", labels=[2, 3], seed=8, **options)
    assert _contents(tmp_path / "a") == _contents(tmp_path / "b")
    assert len(_names(tmp_path / "a")) == 4
