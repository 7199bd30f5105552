"""The schedule of networks that grow, and all that follows it."""

from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from lightning import Callback
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loggers import CSVLogger
from PIL import Image
from torch import Tensor, nn
from torch.optim import SGD
from torch.optim.lr_scheduler import ExponentialLR

from lightning_gan import GAN
from lightning_gan.callbacks import GeneratorEMA, ProgressiveGrowing
from lightning_gan.data import Digits, ImageFolder
from lightning_gan.networks import Growing, ProGANDiscriminator, ProGANGenerator
from lightning_gan.training import GANAdam, LinearSchedule
from lightning_gan.training.batch import Batch
from lightning_gan.training.penalty import Terms
from tests.gans.test_growing import growing_networks, growing_parts
from tests.toys import (
    ToyData,
    ValidatedData,
    flat,
    image_networks,
    images,
    labelled,
    points,
    sgd,
    toy_trainer,
)

# The schedule's arithmetic

NUMBERS = ProgressiveGrowing(stable_images=600, fade_images=300, end_resolution=16)
DICTS = ProgressiveGrowing(
    stable_images={4: 100, 8: 200, 16: 300},
    fade_images={8: 50, 16: 80},
    end_resolution=16,
    batch_size={4: 16, 8: 8, 16: 4},
)
ABOVE = ProgressiveGrowing(10, {16: 40}, start_resolution=8, end_resolution=16, batch_size=5)
ALONE = ProgressiveGrowing({32: 10}, {}, start_resolution=32, end_resolution=32)


@pytest.mark.parametrize(
    ("growing", "images_seen", "phase", "resolution", "alpha"),
    [
        (NUMBERS, 0, 0, 4, 1.0),
        (NUMBERS, 599, 0, 4, 1.0),
        (NUMBERS, 600, 1, 8, 0.0),
        (NUMBERS, 675, 1, 8, 0.25),
        (NUMBERS, 899, 1, 8, 299 / 300),
        (NUMBERS, 900, 2, 8, 1.0),
        (NUMBERS, 1499, 2, 8, 1.0),
        (NUMBERS, 1500, 3, 16, 0.0),
        (NUMBERS, 1650, 3, 16, 0.5),
        (NUMBERS, 1800, 4, 16, 1.0),
        (NUMBERS, 10**9, 4, 16, 1.0),
        (DICTS, 99, 0, 4, 1.0),
        (DICTS, 100, 1, 8, 0.0),
        (DICTS, 110, 1, 8, 0.2),
        (DICTS, 150, 2, 8, 1.0),
        (DICTS, 349, 2, 8, 1.0),
        (DICTS, 350, 3, 16, 0.0),
        (DICTS, 410, 3, 16, 0.75),
        (DICTS, 430, 4, 16, 1.0),
        (DICTS, 5000, 4, 16, 1.0),
        (ABOVE, 9, 0, 8, 1.0),
        (ABOVE, 20, 1, 16, 0.25),
        (ABOVE, 50, 2, 16, 1.0),
        (ALONE, 0, 0, 32, 1.0),
        (ALONE, 99, 0, 32, 1.0),
    ],
)
def test_schedule(
    growing: ProgressiveGrowing, images_seen: int, phase: int, resolution: int, alpha: float
) -> None:
    assert growing.phase_at(images_seen) == phase
    assert growing.phases[phase].resolution == resolution
    assert growing.phases[phase].alpha(images_seen) == alpha


def test_resolutions() -> None:
    assert [growing.resolutions for growing in (NUMBERS, DICTS, ABOVE, ALONE)] == [
        [4, 8, 16], [4, 8, 16], [8, 16], [32]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("growing", "images_seen", "delivered"),
    [
        (NUMBERS, 0, (None, 4)),
        (NUMBERS, 600, (None, 8)),
        (DICTS, 99, (16, 4)),
        (DICTS, 100, (8, 8)),
        (DICTS, 349, (8, 8)),
        (DICTS, 350, (4, 16)),
        (ABOVE, 0, (5, 8)),
        (ABOVE, 500, (5, 16)),
    ],
)
def test_delivery(
    growing: ProgressiveGrowing, images_seen: int, delivered: tuple[int | None, int]
) -> None:
    assert growing.delivery(images_seen) == delivered


# Refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start_resolution": 3}, "Expected 'start_resolution' to be a power of 2, got 3"),
        ({"start_resolution": 0}, "Expected 'start_resolution' to be a power of 2, got 0"),
        ({"end_resolution": 12}, "Expected 'end_resolution' to be a power of 2, got 12"),
        ({"end_resolution": -8}, "Expected 'end_resolution' to be a power of 2, got -8"),
        (
            {"start_resolution": 16, "end_resolution": 8},
            "Expected 'end_resolution' to be at least start_resolution=16, got 8",
        ),
        *(
            ({name: bad}, rf"Expected '{name}' to be positive at every resolution, got {bad}")
            for name in ("stable_images", "fade_images", "batch_size", "lr_g", "lr_d")
            for bad in (0, -1, float("nan"))
        ),
        *(
            ({name: {4: 1, 8: 1, 16: 0}}, rf"Expected '{name}' to be positive at every resolution")
            for name in ("stable_images", "fade_images", "batch_size", "lr_g", "lr_d")
        ),
    ],
)
def test_bad_numbers_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ProgressiveGrowing(**options)


@pytest.mark.parametrize("known", [True, False])  # the end, before the networks are
@pytest.mark.parametrize("name", ["stable_images", "fade_images", "batch_size", "lr_g", "lr_d"])
@pytest.mark.parametrize("change", ["missing", "surplus"])
def test_incomplete_schedules_are_refused(
    known: bool, name: str, change: str, tmp_path: Path
) -> None:
    sides = [8] if name == "fade_images" else [4, 8]
    given = dict.fromkeys(sides[:-1] if change == "missing" else [*sides, 16], 10)
    message = rf"Expected '{name}' for each of the resolutions \[{str(sides)[1:-1]}\], .* got \{{"
    options: dict[str, Any] = {name: given}
    if known:
        with pytest.raises(ValueError, match=message):
            ProgressiveGrowing(**options, end_resolution=8)
    else:
        growing = ProgressiveGrowing(**options)
        with pytest.raises(ValueError, match=message):
            _fit(tmp_path, growing)


def _fit(folder: Path, *callbacks: Callback, data: Any = None, **options: Any) -> GAN:
    """Train with a growing pair up to 8x8, on full-size images if no others are given."""
    trainer = {name: options.pop(name) for name in ("max_steps", "logger") if name in options}
    model = GAN(**growing_networks() | options)
    toy_trainer(folder, callbacks=list(callbacks), **trainer).fit(model, data or images())
    return model


@pytest.mark.parametrize("name", ["generator", "discriminator"])
def test_networks_that_do_not_grow_are_refused(name: str, tmp_path: Path) -> None:
    plain = {name: image_networks()[name]}
    kind = type(plain[name]).__name__
    with pytest.raises(ValueError, match=f"Expected a '{name}' that grows, .* got {kind}"):
        _fit(tmp_path, ProgressiveGrowing(), **plain)


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({}, (8, 4)),
        ({"end_resolution": 8}, (4, 8)),
        ({"end_resolution": 16}, (8, 8)),
        ({"start_resolution": 2}, (8, 8)),
        ({"start_resolution": 16}, (8, 8)),
    ],
)
def test_networks_that_miss_a_resolution_are_refused(
    options: dict[str, int], sizes: tuple[int, int], tmp_path: Path
) -> None:
    pair = {
        "generator": growing_networks(image_size=sizes[0])["generator"],
        "discriminator": growing_networks(image_size=sizes[1])["discriminator"],
    }
    message = r"Expected networks that reach all resolutions of the schedule, \[.*\], got a ProGAN"
    with pytest.raises(ValueError, match=message):
        _fit(tmp_path, ProgressiveGrowing(**options), **pair)  # type: ignore[arg-type]


def test_other_models_are_refused(tmp_path: Path) -> None:
    trainer = toy_trainer(tmp_path, callbacks=[ProgressiveGrowing()])
    with pytest.raises(TypeError, match=r"a model of lightning_gan, got BoringModel\."):
        trainer.fit(BoringModel())


class _Unmoved(Callback):
    """Check that the training ends before the first update."""

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        assert trainer.global_step == 0
        assert all(not optimizer.state for optimizer in trainer.optimizers)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Digits(image_size=8), r"'resolutions' to be at most .* \[4, 8, 16\] for .* Digits"),
        (images(), r"Expected square images of at least 16x16, .* got samples of .* \(1, 8, 8\)"),
        (ToyData(torch.zeros(4, 1, 16, 8)), r"Expected square images of at least 16x16, .* 16, 8"),
        (
            ToyData(torch.zeros(4, 1, 16, 32)),
            r"Expected square images of at least 16x16, .* 16, 32",
        ),
        (points(), r"Expected square images of at least 16x16, .* got samples of the shape \(2,\)"),
    ],
)
def test_images_below_the_last_resolution_are_refused(
    data: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        _fit(
            tmp_path, ProgressiveGrowing(20, 20), _Unmoved(), data=data,
            **growing_networks(image_size=16),
        )  # fmt: skip


def test_files_below_the_last_resolution_are_refused(tmp_path: Path) -> None:
    for i in range(4):
        Image.new("L", (8, 8), color=50 * i).save(tmp_path / f"{i}.png")
    data = ImageFolder(tmp_path, batch_size=2)
    pair = growing_networks(image_size=16)
    with pytest.raises(ValueError, match=r"'resolutions' to be at most .* for .* ImageFolder, who"):
        _fit(tmp_path, ProgressiveGrowing(), _Unmoved(), data=data, **pair)


@pytest.mark.parametrize("batch_size", [10, {4: 20, 8: 10}])
@pytest.mark.parametrize("loader", [False, True])
def test_batch_sizes_of_other_data_are_refused(
    batch_size: Any, loader: bool, tmp_path: Path
) -> None:
    data = images().train_dataloader() if loader else images()
    with pytest.raises(ValueError, match=r"Expected no 'batch_size' for data of another module"):
        _fit(tmp_path, ProgressiveGrowing(batch_size=batch_size), data=data)


def test_batch_sizes_do_not_matter_to_an_evaluation(tmp_path: Path) -> None:
    trainer = toy_trainer(tmp_path, callbacks=[ProgressiveGrowing(batch_size=10)])
    loader = images().train_dataloader()
    [values] = trainer.validate(GAN(**growing_networks()), loader, verbose=False)
    assert torch.tensor(values["val/d_loss"]).isfinite()


def _scheduled(params: Any) -> GANAdam:
    return GANAdam(params, lr=LinearSchedule(0.1, 0.0, images=100))


def _decay(optimizer: Any) -> ExponentialLR:
    return ExponentialLR(optimizer, 0.9)


@pytest.mark.parametrize("which", ["g", "d"])
@pytest.mark.parametrize("rate", [0.1, {4: 0.1, 8: 0.2}])
@pytest.mark.parametrize("other", [{"optimizer": _scheduled}, {"lr_scheduler": _decay}])
def test_two_schedules_of_one_rate_are_refused(
    which: str, rate: Any, other: dict[str, Any], tmp_path: Path
) -> None:
    options = {f"{name}_{which}": value for name, value in other.items()}
    growing = ProgressiveGrowing(**{f"lr_{which}": rate})
    with pytest.raises(ValueError, match=f"Expected no 'lr_{which}' of ProgressiveGrowing beside"):
        _fit(tmp_path, growing, _Unmoved(), **options)
    unlike = {"g": "d", "d": "g"}[which]
    _fit(tmp_path, ProgressiveGrowing(**{f"lr_{unlike}": rate}), **options)


class _Misshapen(ProGANGenerator):
    """Keeps to 8x8 beyond it."""

    def layers(self, z: Tensor) -> Tensor:  # type: ignore[override]
        return super().layers(z)[:, :, :8, :8]


class _Narrow(ProGANDiscriminator):
    """Cannot read 16x16."""

    def layers(self, x: Tensor) -> Tensor:  # type: ignore[override]
        if self.resolution == 16:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
        return super().layers(x)


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("generator", _Misshapen, r"'generator' to make images of 16x16 .* got .* \(1, 8, 8\)"),
        ("discriminator", _Narrow, r"'discriminator' to take samples .* \(1, 16, 16\)"),
    ],
)
def test_networks_that_fail_later_are_refused_before(
    name: str, kind: Any, message: str, tmp_path: Path
) -> None:
    sizes = {"image_size": 16, "image_channels": 1, "fmap_base": 64, "fmap_max": 4}
    pair = growing_networks(image_size=16) | {name: kind(**sizes)}
    with pytest.raises(ValueError, match=message):
        _fit(tmp_path, ProgressiveGrowing(), _Unmoved(), data=Digits(image_size=16), **pair)


def test_a_growing_network_of_the_user(tmp_path: Path) -> None:
    class Scaled(Growing):
        def __init__(self) -> None:
            super().__init__((4, 8))
            self.scale = nn.Parameter(torch.ones(()))

    class Colours(Scaled):
        latent_dim = 3

        def forward(self, z: Tensor) -> Tensor:
            colours = (self.scale * z[:, :1, None, None]).tanh()
            return colours.expand(-1, 1, self.resolution, self.resolution)

    class Mean(Scaled):
        def forward(self, x: Tensor) -> Tensor:
            assert x.shape[1:] == (1, self.resolution, self.resolution)
            return self.scale * x.mean(dim=(1, 2, 3))

    pair: dict[str, Any] = {"generator": Colours(), "discriminator": Mean()}
    model = _fit(tmp_path, ProgressiveGrowing(10, 10), data=images(10), max_steps=3, **pair)
    assert [part.resolution for part in growing_parts(model)] == [8, 8]


# Where the networks stand, and what the discriminator is shown


class Judged(GAN):
    """Remember the images and labels that each discriminator loss was computed of."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seen: list[tuple[int, Tensor, Tensor]] = []

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        assert real.samples.shape == fake.samples.shape
        if self.training and real.labels is not None:
            self.seen.append((self.images_seen, real.samples, real.labels))
        return super().discriminator_loss(real, fake)


class Places(Callback):
    """Keep where each network stands after each iteration, and the images seen before it."""

    def __init__(self) -> None:
        self.before: list[int] = []
        self.places: list[list[tuple[int, float]]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.before.append(pl_module.images_seen - pl_module.images_this_step)
        self.places.append([(part.resolution, part.alpha) for part in growing_parts(pl_module)])


def _shown(image: Any, side: int, alpha: float) -> Any:
    """Average areas, repeat pixels and blend, in numpy."""
    k = image.shape[-1] // side
    small = image.reshape(side, k, side, k).mean(axis=(1, 3))
    if alpha == 1:
        return small
    smaller = small.reshape(side // 2, 2, side // 2, 2).mean(axis=(1, 3))
    return (1 - alpha) * np.kron(smaller, np.ones((2, 2))) + alpha * small


def test_networks_and_images_grow_together(tmp_path: Path) -> None:
    """Two updates of 10 images an iteration, which do not divide the phases."""
    growing = ProgressiveGrowing({4: 30, 8: 50, 16: 10}, {8: 50, 16: 70})
    data = labelled(ToyData(*(2 * torch.rand(9, 20, 1, 16, 16) - 1)))
    model, places = Judged(**growing_networks(image_size=16), n_critic=2), Places()
    callbacks = [places, GeneratorEMA(), growing]
    toy_trainer(tmp_path, max_steps=12, callbacks=callbacks).fit(model, data)
    expected = [
        (4, 1.0), (4, 1.0),
        # from 30 images on, in iterations that begin with 40, 60
        (8, 10 / 50), (8, 30 / 50),
        # from 80 on
        (8, 1.0), (8, 1.0), (8, 1.0),
        # from 130 on, with 140, 160, 180
        (16, 10 / 70), (16, 30 / 70), (16, 50 / 70),
        # from 200 on
        (16, 1.0), (16, 1.0),
    ]  # fmt: skip
    assert places.before == [20 * i for i in range(12)]
    assert places.places == [[place] * 3 for place in expected]
    assert len(model.seen) == 24
    for update, (_, samples, _) in enumerate(model.seen):
        side, alpha = expected[update // 2]
        assert samples.shape == (10, 1, side, side)
        batch, _ = data.batches[update // 2 % 9]
        for image, shown in zip(batch[10 * (update % 2) :], samples, strict=False):
            oracle = torch.from_numpy(_shown(image[0].double().numpy(), side, alpha))
            torch.testing.assert_close(shown[0].double(), oracle, rtol=0, atol=1e-6)


def test_other_data_train_like_ours(tmp_path: Path) -> None:
    """Full-size images that the model shrinks, against those which our data module shrank."""
    growing: dict[str, Any] = {"stable_images": 40, "fade_images": 40, "lr_g": 1e-3, "lr_d": 1e-3}
    ours = Digits(image_size=16, batch_size=10, seed=1)
    full = Digits(image_size=16, batch_size=10, seed=1)
    full.setup("fit")
    full.follow(lambda images_seen: (None, 16), [16])  # in the same order
    batches = [batch for batch, _ in zip(full.train_dataloader(), range(18), strict=False)]
    runs = []
    for data in (ours, ToyData(*batches)):
        torch.manual_seed(0)
        model = Judged(**growing_networks(image_size=16), optimizer_g=sgd, optimizer_d=sgd)
        callbacks = [ProgressiveGrowing(**growing)]
        toy_trainer(tmp_path, max_steps=18, callbacks=callbacks).fit(model, data)
        runs.append(model)
    [model, other] = runs
    assert {samples.shape[-1] for _, samples, _ in model.seen} == {4, 8, 16}
    for (seen, samples, labels), (seen_too, others, other_labels) in zip(
        model.seen, other.seen, strict=True
    ):
        assert seen == seen_too
        assert torch.equal(labels, other_labels)
        # Half of a byte's step, and where it is there that it is as large as the images'.
        torch.testing.assert_close(samples, others, rtol=0, atol=0.5 / 127.5 + 1e-6)
    assert not torch.equal(model.seen[0][1], other.seen[0][1])
    assert torch.equal(model.seen[-1][1], other.seen[-1][1])
    torch.manual_seed(0)
    assert (flat(model) - flat(GAN(**growing_networks(image_size=16)))).abs().max() > 0.02
    torch.testing.assert_close(flat(model), flat(other), rtol=0, atol=1e-3)


# The log


def test_places_are_logged(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="log", version="")
    growing = ProgressiveGrowing(40, 40, lr_g={4: 0.1, 8: 0.2})
    model = GAN(**growing_networks())
    trainer = toy_trainer(
        tmp_path, max_steps=5, callbacks=[growing], logger=logger, log_every_n_steps=1
    )
    trainer.fit(model, images(20))
    header, *rows = (tmp_path / "log" / "metrics.csv").read_text().splitlines()
    names = header.split(",")
    logged = [dict(zip(names, row.split(","), strict=True)) for row in rows]
    wanted = ("phase", "resolution", "alpha", "lr_g")
    assert [tuple(float(row[f"train/{name}"]) for name in wanted) for row in logged] == [
        (0, 4, 1, 0.1), (0, 4, 1, 0.1), (1, 8, 0, 0.2), (1, 8, 0.5, 0.2), (2, 8, 1, 0.2)
    ]  # fmt: skip
    assert [float(row["train/images_seen"]) for row in logged] == [20, 40, 60, 80, 100]
    assert "train/lr_d" not in names
    assert float(trainer.callback_metrics["train/resolution"]) == 8


def test_the_plan_is_announced(tmp_path: Path) -> None:
    with patch("lightning_gan.callbacks.progressive_growing.rank_zero_info") as say:
        _fit(tmp_path, ProgressiveGrowing(6000, 30))
    assert say.call_args.args == (
        "Progressive growing, in real images seen: 4x4 is stable from 0 on; 8x8 fades in from "
        "6,000 on; 8x8 is stable from 6,030 on.",
    )


def test_the_number_of_iterations_is_announced(tmp_path: Path) -> None:
    growing = ProgressiveGrowing({4: 100, 8: 60}, 30, batch_size={4: 10, 8: 7})
    with patch("lightning_gan.callbacks.progressive_growing.rank_zero_info") as say:
        _fit(tmp_path, growing, data=Digits(batch_size=5))
    # ceil(100 / 10) + ceil(30 / 7) + ceil(60 / 7)
    assert "In all 24 iterations or so." in say.call_args.args[0]


# Learning rates and moments


class Steps(Callback):
    """Keep, after each iteration, the rates and how many steps each weight's moments saw."""

    def __init__(self) -> None:
        self.rates: list[tuple[float, float]] = []
        self.steps: list[dict[str, int | None]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        g, d = trainer.optimizers
        self.rates.append((g.param_groups[0]["lr"], d.param_groups[0]["lr"]))
        state = {**g.state, **d.state}
        self.steps.append(
            {
                name: int(state[weight]["step"]) if weight in state else None
                for name, weight in pl_module.named_parameters()
            }
        )


# Of a pair for 4x4 and 8x8: some that are in use at all times, from 8x8 on, and until 8x8 is stable
ALWAYS = ["generator.blocks.0.1.bias", "discriminator.blocks.0.1.bias", "discriminator.head."]
LATER = ["generator.blocks.1.1.bias", "generator.to_image.1.bias", "discriminator.blocks.1.0.bias",
         "discriminator.from_image.1.0.bias"]  # fmt: skip
EARLIER = ["generator.to_image.0.bias", "discriminator.from_image.0.0.bias"]


def _steps(steps: dict[str, int | None], names: list[str]) -> set[int | None]:
    found = {name: [n for key, n in steps.items() if key.startswith(name)] for name in names}
    assert all(found.values()), found
    return {n for numbers in found.values() for n in numbers}


@pytest.mark.parametrize(
    ("reset", "always", "later", "earlier"),
    [
        (True, [1, 2, 1, 2, 1, 2], [None, None, 1, 2, 1, 2], [1, 2, 1, 2, None, None]),
        (False, [1, 2, 3, 4, 5, 6], [None, None, 1, 2, 3, 4], [1, 2, 3, 4, 4, 4]),
    ],
)
def test_moments_begin_with_the_first_step(
    reset: bool, always: list[int], later: list[Any], earlier: list[Any], tmp_path: Path
) -> None:
    growing, watch = ProgressiveGrowing(40, 40, reset_optimizers=reset), Steps()
    _fit(tmp_path, growing, watch, data=images(20), max_steps=6)
    for expected, names in ((always, ALWAYS), (later, LATER), (earlier, EARLIER)):
        assert [_steps(steps, names) for steps in watch.steps] == [{n} for n in expected]


def test_moments_of_layers_in_use_go_on_or_restart(tmp_path: Path) -> None:
    """The momentum of SGD after its first step is the gradient alone."""

    class Momentum(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            weight = pl_module.discriminator.blocks[0][1].bias
            moments.append(trainer.optimizers[1].state[weight]["momentum_buffer"].clone())
            gradients.append(weight.grad.clone())

    for reset in (True, False):
        moments: list[Tensor] = []
        gradients: list[Tensor] = []
        growing = ProgressiveGrowing(40, 40, reset_optimizers=reset)
        factory = {"optimizer_d": lambda p: SGD(p, lr=0.01, momentum=0.9)}
        _fit(tmp_path, growing, Momentum(), data=images(20), max_steps=5, **factory)
        for step, (moment, gradient) in enumerate(zip(moments, gradients, strict=True)):
            begins = step == 0 or (reset and step in (2, 4))
            before = torch.zeros_like(moment) if begins else moments[step - 1]
            torch.testing.assert_close(moment, 0.9 * before + gradient, rtol=1e-6, atol=1e-9)


class Counting(SGD):
    """Has a state before its first step, and relies on it, as Adagrad of older releases."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, lr=0.01)
        for weight in self.param_groups[0]["params"]:
            self.state[weight]["step"] = torch.zeros(())

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for weight in self.param_groups[0]["params"]:
            self.state[weight]["step"] += weight.grad is not None


def test_optimizers_with_a_state_from_the_start_begin_anew(tmp_path: Path) -> None:
    watch = Steps()
    options: dict[str, Any] = {"optimizer_g": Counting, "optimizer_d": Counting}
    _fit(tmp_path, ProgressiveGrowing(40, 40), watch, data=images(20), max_steps=6, **options)
    assert [_steps(steps, ALWAYS) for steps in watch.steps] == [{1}, {2}] * 3
    assert [_steps(steps, LATER) for steps in watch.steps] == [{0}, {0}, {1}, {2}, {1}, {2}]


def test_rates_follow_the_resolution(tmp_path: Path) -> None:
    watch = Steps()
    growing = ProgressiveGrowing(20, 20, lr_g={4: 0.1, 8: 0.2}, lr_d=0.05)
    _fit(tmp_path, growing, watch, data=images(20), max_steps=4)
    assert watch.rates == [(0.1, 0.05), (0.2, 0.05), (0.2, 0.05), (0.2, 0.05)]
    watch = Steps()
    _fit(tmp_path, ProgressiveGrowing(20, 20), watch, data=images(20), max_steps=4)
    assert watch.rates == [(2e-4, 2e-4)] * 4


def test_layers_that_are_never_reached_stay_as_they_were(tmp_path: Path) -> None:
    torch.manual_seed(0)
    before = GAN(**growing_networks(image_size=16)).state_dict()
    torch.manual_seed(0)
    pair, watch = growing_networks(image_size=16), Steps()
    growing = ProgressiveGrowing(20, 20, end_resolution=8)
    model = _fit(tmp_path, growing, watch, data=images(20), max_steps=4, **pair)
    after = dict(model.named_parameters())
    unused = [name for name in after if ".blocks.2." in name or "image.2." in name]
    assert len(unused) == 2 * 2 * 2 + 2 * 2  # weights and biases
    for name in unused:
        assert torch.equal(after[name], before[name])
        assert after[name].grad is None
        assert watch.steps[-1][name] is None
    assert not torch.equal(after[LATER[0]], before[LATER[0]])


# Other runs


def test_compiled_code_is_dropped_with_each_phase(tmp_path: Path) -> None:
    pair = growing_networks()
    for network in pair.values():
        network.compile = lambda *_, **__: None
    with patch("torch.compiler.reset") as reset:
        for compiled, expected in ((True, 2), (False, 0)):
            reset.reset_mock()
            options = {"compile_networks": compiled, "max_steps": 4, **pair}
            _fit(tmp_path, ProgressiveGrowing(20, 20), data=images(20), **options)
            assert reset.call_count == expected


def test_callback_can_be_used_again(tmp_path: Path) -> None:
    growing, data = ProgressiveGrowing(20, 20), Digits(image_size=16, batch_size=20)
    for side, last in ((8, 3), (16, 5), (4, 1)):
        places = Places()
        pair = growing_networks(image_size=side)
        _fit(tmp_path, growing, places, data=data, max_steps=last, **pair)
        assert places.places[0] == [(4, 1.0)] * 2
        assert places.places[-1] == [(side, 1.0)] * 2
        assert len(growing.phases) == last


def test_a_resumed_run_begins_where_the_checkpoint_stands(tmp_path: Path) -> None:
    """Before its first iteration, too, for pictures that are drawn of it."""

    class Start(Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            starts.append([(part.resolution, part.alpha) for part in growing_parts(pl_module)])

    starts: list[list[tuple[int, float]]] = []
    path = tmp_path / "saved.ckpt"
    for steps, ckpt_path in ((4, None), (5, path)):
        callbacks = [ProgressiveGrowing(40, 40), GeneratorEMA(), Start()]
        trainer = toy_trainer(tmp_path, max_steps=steps, callbacks=callbacks)
        trainer.fit(GAN(**growing_networks()), images(20), ckpt_path=ckpt_path)
        trainer.save_checkpoint(path)
    assert starts == [[(4, 1.0)] * 3, [(8, 0.5)] * 3]


def test_other_data_are_validated_at_the_current_resolution(tmp_path: Path) -> None:
    class Validated(Places):
        def on_validation_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            self.on_train_batch_end(trainer, pl_module)

    model, places = GAN(**growing_networks()), Validated()
    trainer = toy_trainer(tmp_path, max_steps=3, callbacks=[ProgressiveGrowing(20, 40), places])
    trainer.fit(model, ValidatedData(images(20).batches[0]))
    stages = [
        (4, 1),
        (4, 1),
        (4, 1),
        (8, 0),
        (8, 0),
        (8, 0.5),
        (8, 0.5),
    ]  # before, then in and after each
    assert places.places == [[place] * 2 for place in stages]
    assert trainer.callback_metrics["val/d_loss"].isfinite()


def test_a_run_without_the_callback_stays_at_the_last_resolution(tmp_path: Path) -> None:
    places = Places()
    model = _fit(tmp_path, places, data=Digits(batch_size=20), max_steps=2)
    assert places.places == [[(8, 1.0)] * 2] * 2
    assert model.sample(2).shape == (2, 1, 8, 8)


def test_another_run_goes_on_where_the_model_stands(tmp_path: Path) -> None:
    """Weights and the count of images are the model's, also without a checkpoint."""
    model, places = GAN(**growing_networks()), Places()
    for steps in (3, 2):
        callbacks = [ProgressiveGrowing(40, 40), places]
        toy_trainer(tmp_path, max_steps=steps, callbacks=callbacks).fit(model, images(20))
    assert places.places == [[place] * 2 for place in [(4, 1), (4, 1), (8, 0), (8, 0.5), (8, 1)]]
