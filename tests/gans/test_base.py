"""What the loop does beside the contract: refusals, logging, clipping, randomness."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor, nn

from lightning_gan import GAN, WGANGP
from lightning_gan.callbacks import GANCheckpoint
from lightning_gan.training import R1, CheckpointError, DurableCheckpointIO, read_checkpoint
from lightning_gan.training.batch import Batch
from lightning_gan.training.penalty import Terms
from tests.toys import (
    ToyData,
    flat,
    image_networks,
    images,
    points,
    sgd,
    toy_networks,
    toy_trainer,
)


def fit(model: GAN | WGANGP, data: Any, folder: Path, **options: Any) -> Trainer:
    trainer = toy_trainer(folder, **options)
    trainer.fit(model, data)
    return trainer


# Networks of the user's own


class _Latent(nn.Linear):
    latent_dim = 3


def test_plain_modules_serve_as_networks(tmp_path: Path) -> None:
    generator, discriminator = nn.Linear(3, 2), nn.Linear(2, 1)
    model = GAN(generator, discriminator, latent_dim=3)
    before = flat(generator), flat(discriminator)
    fit(model, points(), tmp_path)
    assert not torch.equal(flat(generator), before[0])
    assert not torch.equal(flat(discriminator), before[1])
    assert GAN(_Latent(3, 2), discriminator).latent_dim == 3


def test_latent_dim_is_asked_for() -> None:
    with pytest.raises(ValueError, match="Expected 'latent_dim' to be a positive integer"):
        GAN(nn.Linear(3, 2), nn.Linear(2, 1))


def test_n_critic_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected 'n_critic' to be at least 1, got 0"):
        GAN(**toy_networks(), n_critic=0)


def test_batch_norm_under_a_penalty_is_refused() -> None:
    with pytest.raises(ValueError, match=r"BatchNorm1d in '1'.*norm='layer'"):
        WGANGP(_Latent(3, 2), nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)))


# Data in the forms of other people's loaders


@pytest.mark.parametrize("form", ["tensor", "pair", "mapping"])
def test_batches_of_every_form(form: str, tmp_path: Path) -> None:
    batch, labels = points().batches[0], torch.zeros(20, dtype=torch.int64)
    forms = {"tensor": batch, "pair": (batch, labels), "mapping": {"image": batch, "id": labels}}
    model = GAN(**toy_networks())
    before = flat(model)
    fit(model, ToyData(forms[form]), tmp_path, max_steps=1)
    assert not torch.equal(flat(model), before)


def test_batches_of_no_known_form_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"got dict with the keys \['picture'\]"):
        fit(GAN(**toy_networks()), ToyData({"picture": torch.zeros(4, 2)}), tmp_path)


class _Sizes(GAN):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sizes: list[int] = []

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        assert real.samples.shape == fake.samples.shape
        self.sizes.append(len(real.samples))
        return super().discriminator_loss(real, fake)


def test_foreign_batch_is_split_into_near_equal_parts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = _Sizes(**toy_networks(), n_critic=3)
    fit(model, points(n=11, batches=1), tmp_path, max_steps=1)
    assert model.sizes == [4, 4, 3]
    assert model.images_seen == 11


def test_effective_batch_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        fit(GAN(**toy_networks(), n_critic=3), points(n=11), tmp_path)
    told = [r.message for r in caplog.records if "discriminator updates" in r.message]
    assert told == [
        "Every generator iteration makes 3 discriminator updates on 3 or 4 real samples each, then "
        "one generator update."
    ]


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        (torch.zeros(2, 2), ValueError, "at least 5 samples.*got 2"),
        (torch.full((10, 2), torch.nan), ValueError, "Expected finite values in the data"),
        (torch.zeros(10, 3), ValueError, r"make samples of the data's shape \(3,\), got \(2,\)"),
        (torch.zeros(10, 2, dtype=torch.uint8), TypeError, "as float in .*got torch.uint8"),
    ],
)
def test_bad_points_are_refused_before_training(
    batch: Tensor, error: type[Exception], message: str, tmp_path: Path
) -> None:
    model = WGANGP(**toy_networks())
    before = flat(model)
    with pytest.raises(error, match=message):
        fit(model, ToyData(batch), tmp_path)
    assert torch.equal(flat(model), before)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (torch.rand(10, 1, 8, 8) * 255, r"images in \[-1, 1\], got minimum"),
        (-torch.ones(10, 3, 8, 8), r"the data's shape \(3, 8, 8\), got \(1, 8, 8\)"),
        (-torch.ones(10, 1, 16, 16), r"the data's shape \(1, 16, 16\), got \(1, 8, 8\)"),
    ],
)
def test_bad_images_are_refused_before_training(
    batch: Tensor, message: str, tmp_path: Path
) -> None:
    model = GAN(**image_networks())
    before = flat(model)
    with pytest.raises(ValueError, match=message):
        fit(model, ToyData(batch), tmp_path)
    assert torch.equal(flat(model), before)


def test_images_in_the_unit_range_are_warned_of(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"into \[-1, 1\] by 2 \* x - 1"):
        fit(GAN(**image_networks()), ToyData(torch.rand(10, 1, 8, 8)), tmp_path, max_steps=1)


def test_discriminator_of_another_shape_is_refused(tmp_path: Path) -> None:
    networks = image_networks() | {"discriminator": toy_networks()["discriminator"]}
    with pytest.raises(ValueError, match=r"Expected 'discriminator' to take samples.*\(1, 8, 8\)"):
        fit(GAN(**networks), images(), tmp_path)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, r"\(images, labels\) for networks with num_classes=3, got images alone"),
        (torch.full((10,), 3), r"labels in \[0, 2\] .* got 3"),
        (torch.full((10,), -1), r"labels in \[0, 2\] .* got -1"),
    ],
)
def test_bad_labels_are_refused(labels: Tensor | None, message: str, tmp_path: Path) -> None:
    batch = torch.zeros(10, 2) if labels is None else (torch.zeros(10, 2), labels)
    with pytest.raises(ValueError, match=message):
        fit(GAN(**toy_networks(num_classes=3)), ToyData(batch), tmp_path)


def test_bad_labels_of_samples_are_refused() -> None:
    model = GAN(**toy_networks(num_classes=3))
    for labels, message in (
        (torch.tensor([0]), r"Expected 'labels' to be 2 integers, got \(1,\)"),
        (torch.tensor([0, 3]), r"Expected 'labels' in \[0, 2\], got 3"),
    ):
        with pytest.raises(ValueError, match=message):
            model.sample(2, labels)
    with pytest.raises(ValueError, match="Expected 'n' to be at least 1, got 0"):
        model.sample(0)


# Trainer options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gradient_clip_val": 1.0}, "Set the model's 'gradient_clip_val_g'"),
        ({"accumulate_grad_batches": 2}, "Use a larger batch size"),
    ],
)
def test_trainer_options_are_refused(options: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        fit(GAN(**toy_networks()), points(), tmp_path, **options)


def test_schedule_by_metric_is_refused(tmp_path: Path) -> None:
    model = GAN(**toy_networks(), lr_scheduler_g=torch.optim.lr_scheduler.ReduceLROnPlateau)
    with pytest.raises(TypeError, match="got ReduceLROnPlateau"):
        fit(model, points(), tmp_path)


# Gradients


class _Norms(GAN):
    """Remembers the norm of each gradient that an optimiser is given."""

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        super().on_before_optimizer_step(optimizer)
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"]]
        which = "gd"[optimizer is not self.trainer.optimizers[0]]
        self.norms[which] = torch.cat([g.flatten() for g in gradients]).norm().item()

    norms: dict[str, float]


@pytest.mark.parametrize("scaled", [False, True])
def test_networks_are_clipped_separately_and_unscaled(scaled: bool, tmp_path: Path) -> None:
    model = _Norms(**toy_networks(), gradient_clip_val_d=1e-3)
    model.norms = {}
    options: dict[str, Any] = {}
    if scaled:
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        options["plugins"] = MixedPrecision("16-mixed", "cpu", scaler)
    fit(model, points(), tmp_path, max_steps=1, **options)
    assert model.norms["d"] == pytest.approx(1e-3, rel=1e-2)
    assert model.norms["g"] > 1e-2


def test_schedules_step_once_per_generator_iteration(tmp_path: Path) -> None:
    def halve(optimizer: Any) -> torch.optim.lr_scheduler.LRScheduler:
        return torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)

    model = GAN(
        **toy_networks(), n_critic=2, optimizer_g=sgd, optimizer_d=sgd, lr_scheduler_d=halve
    )
    trainer = fit(model, points(), tmp_path, max_steps=3)
    rates = [optimizer.param_groups[0]["lr"] for optimizer in trainer.optimizers]
    assert rates == pytest.approx([0.05, 0.05 / 8])


def test_penalty_can_be_added_to_any_variant(tmp_path: Path) -> None:
    model = GAN(**toy_networks(), penalties=[R1(weight=1.0, interval=2)])
    trainer = fit(model, points(), tmp_path, max_steps=2, log_every_n_steps=1)
    assert "train/d_r1" in trainer.callback_metrics


# What is logged


def test_stable_names_are_logged(tmp_path: Path) -> None:
    trainer = fit(WGANGP(**toy_networks()), points(), tmp_path, log_every_n_steps=1)
    expected = (
        "d_loss g_loss d_wasserstein d_gradient_penalty g_wasserstein real_logits fake_logits "
        "d_grad_norm g_grad_norm images_seen images_per_second wasserstein"
    )
    assert set(trainer.callback_metrics) == {f"train/{name}" for name in expected.split()}
    values = trainer.callback_metrics
    estimate = values["train/real_logits"] - values["train/fake_logits"]
    torch.testing.assert_close(values["train/wasserstein"], estimate, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        values["train/d_loss"],
        values["train/d_gradient_penalty"] - values["train/wasserstein"],
        rtol=1e-4,
        atol=1e-5,
    )
    assert values["train/images_seen"] == 40


def test_training_does_not_depend_on_logging_or_other_draws(tmp_path: Path) -> None:
    class Disturbing(ToyData):
        def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            torch.rand(7)
            return batch

    results = []
    for data, options in (
        (points(), {}),
        (points(), {"logger": CSVLogger(tmp_path), "log_every_n_steps": 1}),
        (Disturbing(*points().batches), {}),
    ):
        torch.manual_seed(0)
        model = WGANGP(**toy_networks())
        fit(model, data, tmp_path, **options)
        results.append(flat(model))
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=0)
    torch.testing.assert_close(results[2], results[0], rtol=0, atol=0)


# NaN and checkpoints


class _Failing(GAN):
    """Its generator loss is NaN from one iteration on."""

    def generator_loss(self, real: Batch, fake: Batch) -> Terms:
        terms = super().generator_loss(real, fake)
        if self.trainer.global_step >= 5:
            terms["adversarial"] = terms["adversarial"] * torch.nan
        return terms


@pytest.mark.parametrize("log_every_n_steps", [1, 3, 50])
def test_nan_stops_and_keeps_the_last_good_checkpoint(
    log_every_n_steps: int, tmp_path: Path
) -> None:
    model = _Failing(**toy_networks())
    trainer = toy_trainer(
        tmp_path,
        max_steps=20,
        log_every_n_steps=log_every_n_steps,
        enable_checkpointing=True,
        callbacks=[GANCheckpoint(tmp_path, every_n_train_steps=4)],
    )
    with pytest.raises(FloatingPointError, match="got 'g_adversarial' = nan"):
        trainer.fit(model, points())
    kept = read_checkpoint(tmp_path / "last.ckpt")
    assert kept["global_step"] == 4
    assert all(weight.isfinite().all() for weight in kept["state_dict"].values())


def test_durable_checkpoints_need_no_option(tmp_path: Path) -> None:
    trainer = fit(GAN(**toy_networks()), points(), tmp_path)
    checkpoint_io = trainer.strategy.checkpoint_io
    assert isinstance(checkpoint_io, DurableCheckpointIO)
    assert checkpoint_io.fallback
    trainer.validate(GAN(**toy_networks()), points().train_dataloader(), verbose=False)
    own = DurableCheckpointIO(fallback=False)
    strategy = SingleDeviceStrategy(checkpoint_io=own)
    assert (
        fit(GAN(**toy_networks()), points(), tmp_path, strategy=strategy).strategy.checkpoint_io
        is own
    )


def test_checkpoint_of_python_networks_loads_with_them(tmp_path: Path) -> None:
    model = WGANGP(**toy_networks(), n_critic=2)
    trainer = fit(model, points(), tmp_path)
    path = tmp_path / "model.ckpt"
    trainer.save_checkpoint(path)
    loaded = WGANGP.load_from_checkpoint(path, **toy_networks())
    assert loaded.n_critic == 2
    assert torch.equal(flat(loaded), flat(model))
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"model\.ckpt"):
        WGANGP.load_from_checkpoint(path, **toy_networks())


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch")
def test_damaged_checkpoint_falls_back_in_fit_only(tmp_path: Path) -> None:
    checkpoints = GANCheckpoint(tmp_path, every_n_train_steps=2)
    options: dict[str, Any] = {"enable_checkpointing": True}
    toy_trainer(tmp_path, max_steps=4, callbacks=[checkpoints], **options).fit(
        WGANGP(**toy_networks()), points()
    )
    for name in ("last.ckpt", "step_00000004.ckpt"):
        path = tmp_path / name
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    last = str(tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match="does not match its digest"):
        toy_trainer(tmp_path).validate(
            WGANGP(**toy_networks()), points().train_dataloader(), ckpt_path=last
        )
    trainer = toy_trainer(tmp_path, max_steps=6)
    with pytest.warns(UserWarning, match=r"loading .*step_00000002\.ckpt of step 2 instead"):
        trainer.fit(WGANGP(**toy_networks()), points(), ckpt_path=last)
    assert trainer.global_step == 6


# Compilation


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch's own, in dynamo
def test_compiled_networks_train_alike(tmp_path: Path) -> None:
    results = []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = WGANGP(
            **toy_networks(),
            compile_networks=compiled,
            n_critic=2,
            optimizer_g=sgd,
            optimizer_d=sgd,
        )
        if compiled:
            for network in (model.generator, model.discriminator):
                network.compile = lambda *_, n=network: nn.Module.compile(n, backend="aot_eager")  # type: ignore[method-assign]
        fit(model, points(), tmp_path)
        results.append(flat(model))
    torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("error:The number of training batches")
def test_epochs_shorter_than_the_logging_interval_are_meant(tmp_path: Path) -> None:
    trainer = toy_trainer(tmp_path, max_steps=4, logger=CSVLogger(tmp_path), log_every_n_steps=3)
    trainer.fit(GAN(**toy_networks()), points(batches=2))
    assert "train/d_loss" in trainer.callback_metrics  # of iteration 3, in the second epoch
