"""A run that is resumed ends with the very bits of the run that was not interrupted."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from torch import nn

from lightning_gan import CGAN, WGANGP
from lightning_gan.callbacks import GANCheckpoint, GeneratorEMA, SampleGrid
from lightning_gan.data import Digits
from lightning_gan.gans import AdversarialModule
from lightning_gan.training import read_checkpoint
from lightning_gan.training.augmentation import InstanceNoise
from lightning_gan.training.replay import ExperienceReplay
from lightning_gan.training.schedules import LinearSchedule
from tests.ranks import Ranks
from tests.toys import VARIANTS, assert_same, image_networks, networks_for, toy_trainer

# Each case resumes from one reference run's folder into a folder of its own.
pytestmark = pytest.mark.filterwarnings("ignore:The dirpath has changed")

STEPS, EVERY = 12, 1
EPOCH = 5  # iterations


def _decay(optimizer: Any) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)


def _model(variant: type[AdversarialModule], extras: bool) -> AdversarialModule:
    torch.manual_seed(0)
    networks = networks_for(variant, image_networks)
    layers = networks["discriminator"].layers
    assert isinstance(layers, nn.Sequential)
    layers.insert(1, nn.Dropout(0.3))  # draws random numbers of its own
    options: dict[str, Any] = {}
    if extras:  # a memory that is full after two iterations, noise that is gone in the last ones
        falling = LinearSchedule(0.3, 0.0, images=300 * (STEPS - 2))
        options = {"replay": ExperienceReplay(100), "augmentation": InstanceNoise(falling)}
    return variant(**networks, n_critic=2, lr_scheduler_d=_decay, **options)


def train(
    folder: Path,
    variant: type[AdversarialModule],
    workers: int = 0,
    ckpt_path: Path | None = None,
    extras: bool = False,
    **options: Any,
) -> Trainer:
    """Train on an epoch of 5 iterations, validating after each, saving every iteration.

    With ``extras``, earlier samples are shown again and all have noise.
    """
    world_size = options.get("devices", 1)
    # 1,617 training digits: 5 steps of 2 batches on each rank, and some left over.
    data = Digits(batch_size=150 // world_size, num_workers=workers, seed=3)
    trainer = toy_trainer(
        folder,
        enable_checkpointing=True,
        log_every_n_steps=4,
        limit_val_batches=1,
        num_sanity_val_steps=0,
        callbacks=[
            GeneratorEMA(0.9),
            SampleGrid(3, dirpath=folder / "samples"),
            GANCheckpoint(folder, save_top_k=-1, every_n_train_steps=EVERY),
        ],
        **{"max_steps": STEPS} | options,
    )
    trainer.fit(_model(variant, extras), data, ckpt_path=ckpt_path)
    return trainer


def assert_same_run(folder: Path, reference: Path) -> None:
    actual, expected = (read_checkpoint(path / "last.ckpt") for path in (folder, reference))
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "lightning_gan"):
        assert_same(actual[part], expected[part], part)
    assert expected["global_step"] == STEPS


@pytest.mark.parametrize(
    ("variant", "step"),
    [
        *((variant, step) for variant in VARIANTS.values() for step in (EPOCH, EPOCH + 2)),
        *((WGANGP, step) for step in (1, EPOCH - 1, 2 * EPOCH)),
    ],
)
def test_resume_is_exact(
    variant: type[AdversarialModule], step: int, tmp_path: Path, tmp_path_factory: Any
) -> None:
    reference = _reference(variant, tmp_path_factory)
    train(tmp_path, variant, ckpt_path=reference / f"step_{step:08d}.ckpt")
    assert_same_run(tmp_path, reference)


def test_resume_with_workers_is_exact(tmp_path: Path, tmp_path_factory: Any) -> None:
    reference = _reference(WGANGP, tmp_path_factory)
    for step in (EPOCH + 1, 2 * EPOCH):
        folder = tmp_path / str(step)
        train(folder, WGANGP, workers=2, ckpt_path=reference / f"step_{step:08d}.ckpt")
        assert_same_run(folder, reference)


@pytest.mark.parametrize("step", [EPOCH, EPOCH + 2])
def test_finished_run_can_be_prolonged(step: int, tmp_path: Path, tmp_path_factory: Any) -> None:
    reference = _reference(WGANGP, tmp_path_factory)
    train(tmp_path / "short", WGANGP, max_steps=step)
    train(tmp_path / "long", WGANGP, ckpt_path=tmp_path / "short" / "last.ckpt")
    assert_same_run(tmp_path / "long", reference)


_references: dict[str, Path] = {}


def _reference(variant: type[AdversarialModule], factory: Any) -> Path:
    if variant.__name__ not in _references:
        folder = factory.mktemp(variant.__name__)
        train(folder, variant)
        _references[variant.__name__] = folder
    return _references[variant.__name__]


def _run_rank(rank: int, folder: Path, step: int | None, reference: Path | None) -> None:
    ckpt_path = None if reference is None else reference / f"step_{step:08d}.ckpt"
    train(folder, WGANGP, ckpt_path=ckpt_path, strategy="ddp", devices=2)


@pytest.mark.parametrize("step", [2, EPOCH, EPOCH + 3])
def test_resume_on_two_ranks_is_exact(
    ranks: Ranks, step: int, tmp_path: Path, tmp_path_factory: Any
) -> None:
    if "two ranks" not in _references:
        _references["two ranks"] = tmp_path_factory.mktemp("two_ranks")
        ranks.run(_run_rank, _references["two ranks"], None, None)
    reference = _references["two ranks"]
    ranks.run(_run_rank, tmp_path, step, reference)
    assert_same_run(tmp_path, reference)


def _run_rank_with_extras(rank: int, folder: Path, ckpt_path: Path | None) -> None:
    train(folder, CGAN, ckpt_path=ckpt_path, extras=True, strategy="ddp", devices=2)


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("step", [1, EPOCH + 2])
def test_resume_with_replay_and_noise_is_exact(
    ranks: Ranks, devices: int, step: int, tmp_path: Path, tmp_path_factory: Any
) -> None:
    def run(folder: Path, ckpt_path: Path | None = None) -> None:
        if devices == 1:
            train(folder, CGAN, ckpt_path=ckpt_path, extras=True)
        else:
            ranks.run(_run_rank_with_extras, folder, ckpt_path)

    name = f"extras on {devices}"
    if name not in _references:
        _references[name] = tmp_path_factory.mktemp("extras")
        run(_references[name])
    reference = _references[name]
    run(tmp_path, reference / f"step_{step:08d}.ckpt")
    assert_same_run(tmp_path, reference)
    memory = read_checkpoint(tmp_path / "last.ckpt")["lightning_gan"]["replay"]
    assert len(memory["samples"]) == len(memory["labels"]) == 100
