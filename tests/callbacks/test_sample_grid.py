"""Pictures of the same latents over a run."""

import io
import math
import os
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

import numpy as np
import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from PIL import Image, ImageSequence
from torch import Tensor, nn

from lightning_gan import GAN, MGAN
from lightning_gan.callbacks import GeneratorEMA, SampleGrid
from lightning_gan.callbacks.pictures import image_grid, save_picture, scatter_plot
from lightning_gan.cli import main
from lightning_gan.gans import AdversarialModule
from lightning_gan.networks import MixtureGenerator, MLPDiscriminator, MLPGenerator
from lightning_gan.networks.growing import Growing
from tests.ranks import Ranks
from tests.toys import (
    NUM_CLASSES,
    ToyData,
    flat,
    image_networks,
    images,
    labelled,
    mixture_networks,
    points,
    toy_networks,
    toy_trainer,
)


def _networks(*shape: int) -> dict[str, Any]:
    sizes: dict[str, Any] = {"sample_shape": shape, "hidden": (8,)}
    return {"generator": MLPGenerator(**sizes), "discriminator": MLPDiscriminator(**sizes)}


def _data(*shape: int, n: int = 10) -> ToyData:
    return ToyData(*(torch.rand(4, n, *shape) * 2 - 1))


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _steps(*steps: int) -> list[str]:
    return [f"step_{step:08d}.png" for step in steps]


def _pictures(*steps: int) -> list[str]:
    return ["film.gif", "real.png", *_steps(*steps)]


def _read(path: Path | io.BytesIO) -> Tensor:
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@pytest.mark.parametrize(
    ("steps", "every", "expected"),
    [(5, 2, (0, 2, 4, 5)), (4, 2, (0, 2, 4)), (2, 500, (0, 2)), (3, 1, (0, 1, 2, 3))],
)
def test_pictures_before_during_and_after(
    steps: int, every: int, expected: tuple[int, ...], tmp_path: Path
) -> None:
    grid = SampleGrid(every, 9, dirpath=tmp_path / "here")
    with patch("lightning_gan.callbacks.sample_grid.save_picture", wraps=save_picture) as saving:
        toy_trainer(tmp_path, max_steps=steps, callbacks=[grid]).fit(
            GAN(**image_networks(), n_critic=2), images()
        )
    assert _names(tmp_path / "here") == _pictures(*expected)
    assert saving.call_count == len(expected) + 1  # none is drawn twice


def test_real_picture_shows_the_data(tmp_path: Path) -> None:
    data, grid = images(), SampleGrid(num_samples=7, dirpath=tmp_path)
    toy_trainer(tmp_path, callbacks=[grid]).fit(GAN(**image_networks()), data)
    assert torch.equal(_read(tmp_path / "real.png"), image_grid(data.batches[0][:7]))


def _still(parameters: Any) -> torch.optim.SGD:
    return torch.optim.SGD(parameters, lr=0.0)


def test_latents_stay_the_same(tmp_path: Path) -> None:
    seen: list[Tensor] = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        torch.manual_seed(0)
        model = GAN(**_networks(1, 8, 8), optimizer_g=_still)
        render = model.render

        def spy(latents: Tensor, labels: Any = None, render: Any = render) -> Any:
            seen.append(latents)
            return render(latents, labels)

        grid = SampleGrid(1, 4, seed, tmp_path / name)
        with patch.object(model, "render", spy):
            toy_trainer(tmp_path, max_steps=3, callbacks=[grid]).fit(model, images())
    assert len(seen) == 12
    assert all(torch.equal(latents, seen[0]) for latents in seen[:8])
    assert all(torch.equal(latents, seen[8]) for latents in seen[8:])
    assert not torch.equal(seen[0], seen[8])
    drawn = {
        name: {path.read_bytes() for path in (tmp_path / name).glob("step*")} for name in "abc"
    }
    assert len(drawn["a"]) == 1  # of a generator that stands still
    assert drawn["a"] == drawn["b"] != drawn["c"]


def test_average_is_drawn(tmp_path: Path) -> None:
    model = GAN(**image_networks())
    callbacks = [SampleGrid(num_samples=6, seed=2, dirpath=tmp_path), GeneratorEMA(0.9)]
    toy_trainer(tmp_path, max_steps=3, callbacks=callbacks).fit(model, images())
    latents = torch.randn(6, 4, generator=torch.Generator().manual_seed(2))
    assert model.ema_generator is not None
    with torch.no_grad():
        averaged = image_grid(model.ema_generator.eval()(latents))
        current = image_grid(model.generator.eval()(latents))
    drawn = _read(tmp_path / "step_00000003.png")
    assert torch.equal(drawn, averaged)
    assert not torch.equal(drawn, current)


def test_points_are_drawn_over_the_real_ones(tmp_path: Path) -> None:
    model, data = GAN(**toy_networks()), points()
    toy_trainer(tmp_path, max_steps=3, callbacks=[SampleGrid(2, dirpath=tmp_path)]).fit(model, data)
    assert _names(tmp_path) == ["film.gif", *_steps(0, 2, 3)]  # no picture of the data alone
    latents = torch.randn(2000, 2, generator=torch.Generator().manual_seed(0))
    real = torch.cat(data.batches[:3])
    expected = scatter_plot(model.render(latents), real, "3 generator iterations")
    assert torch.equal(_read(tmp_path / "step_00000003.png"), expected)


@pytest.mark.parametrize(("num_samples", "across"), [(12, 3), (7, 3), (2, 2)])
def test_columns_are_classes(num_samples: int, across: int, tmp_path: Path) -> None:
    model = GAN(**image_networks(num_classes=3))
    data = ToyData(*((batch, torch.arange(10) % 3) for batch in images().batches))
    grid = SampleGrid(num_samples=num_samples, dirpath=tmp_path)
    toy_trainer(tmp_path, callbacks=[grid]).fit(model, data)
    latents = torch.randn(num_samples, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2] * num_samples)[:num_samples]
    drawn = _read(tmp_path / "step_00000002.png")
    assert torch.equal(drawn, image_grid(model.render(latents, labels), columns=3))
    assert drawn.shape[2] == across * 50 + 2
    assert drawn.shape[1] == -(-num_samples // 3) * 50 + 2


def _assert_same_picture(actual: Tensor, expected: Tensor) -> None:
    # Batches of another size may be rounded otherwise.
    torch.testing.assert_close(actual.int(), expected.int(), rtol=0, atol=1)


@pytest.mark.parametrize(("num_samples", "across"), [(12, 4), (3, 1), (2, 1), (1, 1)])
@pytest.mark.parametrize("averaged", [False, True])
def test_rows_are_generators_on_the_same_latents(
    num_samples: int, across: int, averaged: bool, tmp_path: Path
) -> None:
    model = MGAN(**mixture_networks(image_networks))
    callbacks: list[Any] = [SampleGrid(num_samples=num_samples, seed=5, dirpath=tmp_path)]
    callbacks += [GeneratorEMA(0.9)] if averaged else []
    toy_trainer(tmp_path, callbacks=callbacks).fit(model, images())
    drawn = _read(tmp_path / "step_00000002.png")
    latents = torch.randn(num_samples, 4 + 3, generator=torch.Generator().manual_seed(5))
    mixture = model.ema_generator if averaged else model.generator
    assert isinstance(mixture, MixtureGenerator)
    parts = mixture.eval().generators
    with torch.no_grad():  # each generator by itself, which takes all but the choice
        rows = torch.cat([part(latents[:across, :4]) for part in parts])
    _assert_same_picture(drawn, image_grid(rows[:num_samples], columns=across))


def test_more_rows_than_generators_have_new_latents(tmp_path: Path) -> None:
    model = MGAN(**mixture_networks(image_networks))
    callbacks: list[Any] = [SampleGrid(num_samples=18, seed=5, dirpath=tmp_path)]
    toy_trainer(tmp_path, callbacks=callbacks).fit(model, images())
    latents = torch.randn(18, 4 + 3, generator=torch.Generator().manual_seed(5))[:, :4]
    parts = model.generator.eval().generators
    with torch.no_grad():
        rows = [part(latents[:5]) for part in parts] + [parts[0](latents[5:8])]  # type: ignore[index, operator, union-attr]
    drawn = _read(tmp_path / "step_00000002.png")
    _assert_same_picture(drawn, image_grid(torch.cat(rows), columns=5))


def test_mixtures_columns_are_classes(tmp_path: Path) -> None:
    model = MGAN(**mixture_networks(image_networks, NUM_CLASSES))
    grid = SampleGrid(num_samples=30, dirpath=tmp_path)
    toy_trainer(tmp_path, callbacks=[grid]).fit(model, labelled(images()))
    latents = torch.randn(30, 4 + 3, generator=torch.Generator().manual_seed(0))
    mixture = model.generator.eval()
    assert isinstance(mixture, MixtureGenerator)
    with torch.no_grad():
        rows = [part(latents[:10, :4], torch.arange(10)) for part in mixture.generators]
    drawn = _read(tmp_path / "step_00000002.png")
    _assert_same_picture(drawn, image_grid(torch.cat(rows), columns=10))


def test_points_of_a_mixture_are_coloured_by_generator(tmp_path: Path) -> None:
    model, data = MGAN(**mixture_networks(toy_networks)), points()
    toy_trainer(tmp_path, callbacks=[SampleGrid(2, dirpath=tmp_path)]).fit(model, data)
    latents = torch.randn(2000, 2 + 3, generator=torch.Generator().manual_seed(0))
    chosen = latents[:, 2:].argmax(dim=1)
    assert chosen.bincount().min() > 500
    mixture = model.generator.eval()
    assert isinstance(mixture, MixtureGenerator)
    samples = torch.zeros(2000, 2)
    with torch.no_grad():
        for k, part in enumerate(mixture.generators):
            samples[chosen == k] = part(latents[chosen == k, :2])
    real = torch.cat(data.batches[:2])
    expected = scatter_plot(samples, real, "2 generator iterations", chosen)
    drawn = _read(tmp_path / "step_00000002.png")
    _assert_same_picture(drawn, expected)
    assert not torch.equal(drawn, scatter_plot(samples, real, "2 generator iterations"))


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_any_number_of_channels(channels: int, tmp_path: Path) -> None:
    shape = (channels, 6, 8)
    grid = SampleGrid(num_samples=4, dirpath=tmp_path)
    toy_trainer(tmp_path, callbacks=[grid]).fit(GAN(**_networks(*shape)), _data(*shape))
    assert _names(tmp_path) == _pictures(0, 2)
    for path in tmp_path.glob("*.png"):
        assert _read(path).shape == (3, 2 * 50 + 2, 2 * 66 + 2)


@pytest.mark.parametrize(
    "precision",
    [
        "bf16-mixed",
        pytest.param("bf16-true"),
        pytest.param("64-true"),
    ],
)
def test_any_precision(precision: str, tmp_path: Path) -> None:
    callbacks = [GeneratorEMA(0), SampleGrid(1, 4, dirpath=tmp_path)]
    trainer = toy_trainer(tmp_path, callbacks=callbacks, precision=precision)
    trainer.fit(GAN(**image_networks()), images())
    assert _names(tmp_path) == _pictures(0, 1, 2)


@pytest.mark.parametrize("shape", [(1, 4, 4, 4), (5,), (3,), (2, 7)])
def test_data_without_a_picture_are_skipped(shape: tuple[int, ...], tmp_path: Path) -> None:
    size = math.prod(shape)
    generator = nn.Sequential(nn.Linear(2, size), nn.Unflatten(1, shape))
    discriminator = nn.Sequential(nn.Flatten(), nn.Linear(size, 1))
    model = GAN(generator, discriminator, latent_dim=2)
    grid = SampleGrid(100, dirpath=tmp_path / "none")
    with patch.object(model, "render", wraps=model.render) as rendering:
        trainer = toy_trainer(tmp_path, max_steps=6, callbacks=[grid])
        trainer.fit(model, _data(*shape))
    assert trainer.global_step == 6
    assert not (tmp_path / "none").exists()
    assert rendering.call_count <= 2  # not in every iteration


@pytest.mark.parametrize("networks", [image_networks, toy_networks])
def test_training_is_the_same_with_pictures(networks: Any, tmp_path: Path) -> None:
    results = []
    for callbacks in ([], [SampleGrid(1, 5, dirpath=tmp_path / "pictures")]):
        torch.manual_seed(0)
        model = GAN(**networks(), n_critic=2)
        data = images() if networks is image_networks else points()
        trainer = toy_trainer(tmp_path, max_steps=5, callbacks=callbacks, log_every_n_steps=1)
        trainer.fit(model, data)
        state = [value.double().flatten() for value in model.state_dict().values()]
        losses = [trainer.callback_metrics[f"train/{name}_loss"] for name in "dg"]
        results.append((torch.cat(state), torch.stack(losses), torch.get_rng_state()))
    for without, with_pictures in zip(*results, strict=True):
        assert torch.equal(without, with_pictures)
    assert (tmp_path / "pictures" / "step_00000005.png").exists()


def test_folder_is_the_runs_own_by_default(tmp_path: Path) -> None:
    for logger, folder in (
        (False, tmp_path / "samples"),
        (CSVLogger(tmp_path, name="run", version=""), tmp_path / "run" / "samples"),
    ):
        trainer = toy_trainer(tmp_path, callbacks=[SampleGrid(num_samples=1)], logger=logger)
        trainer.fit(GAN(**_networks(1, 8, 8)), images())
        assert _names(folder) == _pictures(0, 2)


@pytest.mark.parametrize("networks", [image_networks, toy_networks])
def test_tensorboard_shows_the_pictures(networks: Any, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path, name="board", version="")
    grid = SampleGrid(2, 4, dirpath=tmp_path / "pictures")
    data = images() if networks is image_networks else points()
    toy_trainer(tmp_path, max_steps=3, callbacks=[grid], logger=logger).fit(GAN(**networks()), data)
    events = EventAccumulator(str(tmp_path / "board"), {"images": 0}).Reload()
    assert events.Tags()["images"] == ["samples"]
    shown = events.Images("samples")
    assert [event.step for event in shown] == [0, 2, 3]
    for event in shown:
        on_disk = _read(tmp_path / "pictures" / f"step_{event.step:08d}.png")
        assert torch.equal(_read(io.BytesIO(event.encoded_image_string)), on_disk)


# wandb's own use of what pydantic and the standard library have deprecated since
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_wandb_keeps_the_pictures_offline(tmp_path: Path, monkeypatch: Any) -> None:
    import wandb

    assert os.environ["WANDB_MODE"] == "offline"
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandbLogger(project="tests", save_dir=tmp_path)
    grid = SampleGrid(2, 4, dirpath=tmp_path / "pictures")
    try:
        trainer = toy_trainer(tmp_path, max_steps=3, callbacks=[grid], logger=logger)
        trainer.fit(GAN(**image_networks()), images())
        folder = Path(logger.experiment.dir)
    finally:
        wandb.finish()
    assert tmp_path in folder.parents
    logged = sorted((folder / "media" / "images").rglob("*.png"))
    assert _names(tmp_path / "pictures") == _pictures(0, 2, 3)
    own = [_read(tmp_path / "pictures" / name) for name in _steps(0, 2, 3)]
    assert len(logged) == 3
    for picture in own:
        assert any(torch.equal(_read(path), picture) for path in logged)


def _draw_on_rank(rank: int, folder: Path) -> tuple[Tensor, int]:
    torch.manual_seed(0)
    model = GAN(**image_networks())
    grid = SampleGrid(2, 4, dirpath=folder / f"of_rank_{rank}")
    options: dict[str, Any] = {"strategy": "ddp", "devices": 2}
    with patch.object(model, "render", wraps=model.render) as rendering:
        toy_trainer(folder, max_steps=3, callbacks=[grid], **options).fit(model, images())
    return flat(model), rendering.call_count


def test_only_the_first_rank_draws(ranks: Ranks, tmp_path: Path) -> None:
    (first, drawn), (second, drawn_elsewhere) = ranks.run(_draw_on_rank, tmp_path)
    assert torch.equal(first, second)
    assert (drawn, drawn_elsewhere) == (3, 0)
    assert _names(tmp_path / "of_rank_0") == _pictures(0, 2, 3)
    assert not (tmp_path / "of_rank_1").exists()


def test_callback_can_be_used_again(tmp_path: Path) -> None:
    grid = SampleGrid(num_samples=4, dirpath=tmp_path)
    model: AdversarialModule = GAN(**_networks(1, 8, 8))
    for steps in (2, 3):
        toy_trainer(tmp_path, max_steps=steps, callbacks=[grid]).fit(model, images())
    assert _names(tmp_path) == _pictures(0, 2, 3)


class _Painter(Growing):
    """Images of noise, which show more of it the larger they are."""

    latent_dim = 3

    def __init__(self) -> None:
        super().__init__((4, 8, 16))
        self.pixels = nn.Linear(3, 3 * 16 * 16)

    def forward(self, latents: Tensor) -> Tensor:
        images = (3 * self.pixels(latents)).tanh().unflatten(1, (3, 16, 16))
        shown: Tensor = images[..., : self.resolution, : self.resolution]
        return shown


class _Judge(Growing):
    def __init__(self) -> None:
        super().__init__((4, 8, 16))
        self.logit = nn.Linear(3, 1)

    def forward(self, images: Tensor) -> Tensor:
        assert images.shape[-1] == self.resolution
        logits: Tensor = self.logit(images.mean(dim=(2, 3)))
        return logits


class _Grow(Callback):
    """Have the networks follow the data."""

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Tensor, batch_idx: int
    ) -> None:
        for network in pl_module.modules():
            if isinstance(network, Growing):
                network.grow(batch.shape[-1])


def _growing_data(*sides: int) -> ToyData:
    return ToyData(*(torch.rand(9 - i, 3, side, side) * 2 - 1 for i, side in enumerate(sides)))


def _repeated(images: Tensor, side: int) -> Tensor:
    """Draw four images in a grid, each pixel as often as it takes."""
    pixels = np.clip(np.rint((images.numpy() + 1) * 127.5), 0, 255).astype(np.uint8)
    times = side // pixels.shape[-1]
    grid = np.full((3, 2 * side + 6, 2 * side + 6), 255, np.uint8)
    for i, tile in enumerate(pixels.repeat(times, axis=2).repeat(times, axis=3)):
        top, left = (2 + (side + 2) * place for place in divmod(i, 2))
        grid[:, top : top + side, left : left + side] = tile
    return torch.from_numpy(grid)


@pytest.mark.parametrize("averaged", [False, True])
def test_growing_images_fill_the_same_pictures(averaged: bool, tmp_path: Path) -> None:
    model = GAN(_Painter(), _Judge(), optimizer_g=_still)
    data = _growing_data(4, 4, 8, 16)
    callbacks: list[Callback] = [_Grow(), SampleGrid(1, 4, dirpath=tmp_path)]
    callbacks += [GeneratorEMA(0.5)] if averaged else []
    toy_trainer(tmp_path, max_steps=4, callbacks=callbacks).fit(model, data)
    assert _names(tmp_path) == _pictures(0, 1, 2, 3, 4)
    latents = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    painter = model.generator
    assert isinstance(painter, _Painter)
    for step, side in enumerate((4, 4, 4, 8, 16)):
        painter.grow(side)
        with torch.no_grad():
            expected = _repeated(painter(latents), side=48)
        assert torch.equal(_read(tmp_path / _steps(step)[0]), expected), step
    with Image.open(tmp_path / "film.gif") as film:
        assert film.size == (102, 102)
        assert getattr(film, "n_frames") == 3  # noqa: B009  # of five, two stay the same


def test_real_picture_grows(tmp_path: Path) -> None:
    data, grid = _growing_data(4, 4, 8, 8, 16), SampleGrid(num_samples=4, dirpath=tmp_path)
    for steps, shown in ((2, 0), (4, 2), (5, 4)):
        with patch("lightning_gan.callbacks.sample_grid.save_picture", wraps=save_picture) as save:
            grid = SampleGrid(num_samples=4, dirpath=tmp_path)
            trainer = toy_trainer(tmp_path, max_steps=steps, callbacks=[_Grow(), grid])
            trainer.fit(GAN(_Painter(), _Judge()), data)
        names = [call.args[1].name for call in save.call_args_list]
        assert names.count("real.png") == 1 + shown // 2  # the first ones of each shape
        drawn = _read(tmp_path / "real.png")
        assert torch.equal(drawn, _repeated(data.batches[shown][:4], side=48))


def _stub_trainer(folder: Path, step: int = 0) -> Mock:
    return Mock(
        is_global_zero=True, global_step=step, loggers=[], log_dir=str(folder), ckpt_path=None
    )


def test_real_images_above_the_last_resolution_are_shrunk(tmp_path: Path) -> None:
    real, grid = torch.rand(4, 3, 32, 32) * 2 - 1, SampleGrid(num_samples=4, dirpath=tmp_path)
    model = GAN(_Painter(), _Judge())
    trainer = _stub_trainer(tmp_path)
    grid.on_train_start(trainer, model)
    grid.on_train_batch_start(trainer, model, real, 0)
    means = real.unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(4, 5))
    _assert_same_picture(_read(tmp_path / "real.png"), _repeated(means, side=48))


def test_no_more_real_samples_are_kept_than_drawn(tmp_path: Path) -> None:
    grid, model = SampleGrid(num_samples=2, dirpath=tmp_path), GAN(**_networks(3, 4, 4))
    trainer = _stub_trainer(tmp_path)
    grid.on_train_start(trainer, model)
    batches = [torch.rand(n, 3, 4, 4) for n in (9, 5)]
    for batch in batches:
        grid.on_train_batch_start(trainer, model, (batch, torch.zeros(len(batch))), 0)
    kept = grid._real
    assert kept is not None
    assert torch.equal(kept, batches[0][:2])
    assert kept.untyped_storage().nbytes() == 2 * 3 * 4 * 4 * 4  # not a view of the batch
    with patch("torch.cat") as copying:
        grid.on_train_batch_start(trainer, model, batches[1], 0)
    assert not copying.called
    assert grid._real is kept


def _film(folder: Path) -> tuple[list[Tensor], list[int]]:
    """Return the frames, (3, H, W) each, and the milliseconds that each is shown."""
    with Image.open(folder / "film.gif") as film:
        frames = [
            (torch.from_numpy(np.array(frame.convert("RGB"))), frame.info["duration"])
            for frame in ImageSequence.Iterator(film)
        ]
    return [pixels.permute(2, 0, 1) for pixels, _ in frames], [time for _, time in frames]


def _assert_film_shows(folder: Path, steps: list[int], milliseconds: int = 100) -> None:
    frames, times = _film(folder)
    assert times == [*[milliseconds] * (len(steps) - 1), milliseconds + 1000]
    for frame, name in zip(frames, _steps(*steps), strict=True):
        picture = _read(folder / name)
        assert frame.shape == picture.shape
        assert (frame.int() - picture.int()).abs().float().mean() < 4


def _strides(parameters: Any) -> torch.optim.SGD:
    return torch.optim.SGD(parameters, lr=300.0)


@pytest.mark.parametrize("networks", [_networks, toy_networks])
def test_film_shows_the_pictures(networks: Any, tmp_path: Path) -> None:
    shown, data = ((1, 8, 8), images()) if networks is _networks else ((), points())
    model = GAN(**networks(*shown), optimizer_g=_strides)
    grid = SampleGrid(1, 9, dirpath=tmp_path, fps=20)
    toy_trainer(tmp_path, max_steps=4, callbacks=[grid]).fit(model, data)
    _assert_film_shows(tmp_path, [0, 1, 2, 3, 4], 50)


def test_film_goes_on_with_a_resumed_run(tmp_path: Path) -> None:
    folder, path = tmp_path / "samples", tmp_path / "two.ckpt"
    model = GAN(**_networks(1, 8, 8), optimizer_g=_strides)
    trainer = toy_trainer(tmp_path, max_steps=2, callbacks=[SampleGrid(1, 9, dirpath=folder)])
    trainer.fit(model, images(batches=2))
    trainer.save_checkpoint(path)
    _assert_film_shows(folder, [0, 1, 2])
    # What a kill leaves: half a picture of this part, and pictures of steps that will be undone.
    content = (folder / "step_00000001.png").read_bytes()
    (folder / "step_00000001.png").write_bytes(content[: len(content) // 2])
    (folder / "step_00000009.png").write_bytes(content)
    (folder / "step_best.png").write_bytes(content)
    for steps in (3, 4):
        model = GAN(**_networks(1, 8, 8), optimizer_g=_strides)
        trainer = toy_trainer(
            tmp_path, max_steps=steps, callbacks=[SampleGrid(100, 9, dirpath=folder)]
        )
        trainer.fit(model, images(batches=2), ckpt_path=path)
        _assert_film_shows(folder, [0, 2, *range(3, steps + 1)])


def test_film_goes_on_in_the_folder_of_a_resumed_run(tmp_path: Path) -> None:
    """As from the command line, where every start of a run has a folder of its own."""
    ckpt_path = None
    for version, steps in enumerate((2, 4, 6)):
        folder = tmp_path / f"version_{version}"
        trainer = toy_trainer(
            tmp_path, max_steps=steps, callbacks=[SampleGrid(1, 9, dirpath=folder / "samples")]
        )
        model = GAN(**_networks(1, 8, 8), optimizer_g=_strides)
        trainer.fit(model, images(batches=2), ckpt_path=ckpt_path)
        ckpt_path = folder / "checkpoints" / "last.ckpt"
        trainer.save_checkpoint(ckpt_path)
        # Of a step that the next part, which begins before it, does not undo but never made.
        (folder / "samples" / "step_00000009.png").write_bytes(b"")
    _assert_film_shows(folder / "samples", [0, 1, 2, 3, 4, 5, 6])
    assert _names(folder / "samples") == ["film.gif", "real.png", *_steps(*range(7), 9)]
    last = [tmp_path / f"version_{i}" / "samples" / "step_00000003.png" for i in (1, 2)]
    assert last[0].read_bytes() == last[1].read_bytes()


def test_frames_are_ordered_by_number(tmp_path: Path) -> None:
    numbers = [5, 99_999_999, 100_000_000, 1_000_000_000]
    for i, number in enumerate(numbers):
        picture = torch.full((3, 102, 102), 80 * i, dtype=torch.uint8)
        save_picture(picture, tmp_path / f"step_{number:08d}.png")
    grid, model = SampleGrid(num_samples=4, dirpath=tmp_path), GAN(**_networks(1, 8, 8))
    trainer = _stub_trainer(tmp_path, numbers[-1])
    grid.on_train_start(trainer, model)
    grid._drawn_step = numbers[-1]
    grid.on_train_end(trainer, model)
    grid.on_fit_end(trainer, model)
    levels = [int(frame[0, 0, 0]) for frame in _film(tmp_path)[0]]
    assert np.abs(np.subtract(levels, [0, 80, 160, 240])).max() <= 4


def test_no_film_on_request(tmp_path: Path) -> None:
    grid = SampleGrid(1, 9, dirpath=tmp_path, fps=0)
    toy_trainer(tmp_path, callbacks=[grid]).fit(GAN(**image_networks()), images())
    assert _names(tmp_path) == ["real.png", *_steps(0, 1, 2)]


def test_film_of_a_run_from_the_command_line(tmp_path: Path) -> None:
    main(
        [
            *("fit", "--model", "GAN", "--data", "GaussianMixture", "--data.num_samples", "400"),
            *("--model.generator", "MLPGenerator", "--model.generator.hidden", "[8]"),
            *("--model.discriminator", "MLPDiscriminator", "--model.discriminator.hidden", "[8]"),
            *("--data.batch_size", "10", "--trainer.logger.save_dir", str(tmp_path)),
            *("--trainer.accelerator", "cpu", "--trainer.max_steps", "2"),
            *("--trainer.limit_val_batches", "0", "--trainer.enable_progress_bar", "false"),
            *("--trainer.enable_model_summary", "false"),
            *("--samples.every_n_steps", "1", "--samples.fps", "5"),
        ]
    )
    folder = tmp_path / "version_0" / "samples"
    assert _names(folder) == ["film.gif", *_steps(0, 1, 2)]
    _assert_film_shows(folder, [0, 1, 2], 200)


def test_negative_speed_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected 'fps' to be at least 0, got -1"):
        SampleGrid(fps=-1)


@pytest.mark.parametrize("name", ["every_n_steps", "num_samples"])
@pytest.mark.parametrize("value", [0, -1])
def test_bad_arguments_are_refused(name: str, value: int) -> None:
    options: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=f"Expected '{name}' to be at least 1, got {value}"):
        SampleGrid(**options)


def test_foreign_module_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="model of lightning_gan, got BoringModel"):
        toy_trainer(tmp_path, callbacks=[SampleGrid(dirpath=tmp_path)]).fit(BoringModel())
