"""Checkpoints by generator iterations."""

import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer
from lightning.pytorch.loggers import CSVLogger

from lightning_gan import GAN
from lightning_gan.callbacks import GANCheckpoint
from lightning_gan.training import read_checkpoint, verify_checkpoint
from tests.ranks import Ranks
from tests.toys import flat, points, toy_networks, toy_trainer


def _run(
    folder: Path,
    steps: int,
    every: int = 1,
    ckpt_path: Any = None,
    trainer_options: dict[str, Any] | None = None,
    callbacks: list[Callback] | None = None,
    **options: Any,
) -> GAN:
    model = GAN(**toy_networks(), n_critic=2)
    trainer = _trainer(folder, steps, every, trainer_options, callbacks, **options)
    trainer.fit(model, points(batches=1), ckpt_path=ckpt_path)
    assert trainer.global_step == steps
    return model


def _trainer(
    folder: Path,
    steps: int,
    every: int,
    trainer_options: dict[str, Any] | None = None,
    callbacks: list[Callback] | None = None,
    **options: Any,
) -> Trainer:
    checkpoint = GANCheckpoint(folder, every_n_train_steps=every, **options)
    return toy_trainer(
        folder,
        max_steps=steps,
        enable_checkpointing=True,
        callbacks=[*(callbacks or []), checkpoint],
        **trainer_options or {},
    )


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _steps(folder: Path) -> dict[str, int]:
    paths = sorted(folder.glob("*.ckpt"))
    return {path.name: read_checkpoint(path)["global_step"] for path in paths}


def test_interval_newest_two_and_the_end(tmp_path: Path) -> None:
    model = _run(tmp_path, steps=7, every=2)
    assert _names(tmp_path) == {"step_00000004.ckpt", "step_00000006.ckpt", "last.ckpt"}
    assert _steps(tmp_path) == {"step_00000004.ckpt": 4, "step_00000006.ckpt": 6, "last.ckpt": 7}
    assert all(verify_checkpoint(path) for path in tmp_path.iterdir())
    loaded = GAN.load_from_checkpoint(tmp_path / "last.ckpt", **toy_networks())
    assert torch.equal(flat(loaded), flat(model))


def test_end_on_the_interval(tmp_path: Path) -> None:
    _run(tmp_path, steps=6, every=3)
    assert _steps(tmp_path) == {"step_00000003.ckpt": 3, "step_00000006.ckpt": 6, "last.ckpt": 6}


def test_run_shorter_than_the_interval_is_saved(tmp_path: Path) -> None:
    _run(tmp_path, steps=3, every=1000)
    assert _steps(tmp_path) == {"last.ckpt": 3}
    assert verify_checkpoint(tmp_path / "last.ckpt")


def test_last_is_never_older_than_the_newest(tmp_path: Path) -> None:
    seen = []

    class Watching(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            if (tmp_path / "last.ckpt").exists():
                seen.append((trainer.global_step, _steps(tmp_path)["last.ckpt"]))

    _run(tmp_path, steps=5, every=2, callbacks=[Watching()])
    assert seen == [(2, 2), (3, 2), (4, 4)]


def test_folder_is_the_runs_own_by_default(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="run", version="")
    trainer = toy_trainer(
        tmp_path, enable_checkpointing=True, callbacks=[GANCheckpoint()], logger=logger
    )
    trainer.fit(GAN(**toy_networks()), points())
    assert _names(tmp_path / "run" / "checkpoints") == {"last.ckpt"}


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("name", "save_last"),
    [("last.ckpt", True), ("last.ckpt", False), ("step_00000002.ckpt", False), ("x.ckpt", None)],
)
def test_new_run_into_an_old_ones_folder_is_refused(
    name: str, save_last: bool | None, tmp_path: Path
) -> None:
    _run(tmp_path / "old", steps=1)
    folder = tmp_path / "new"
    folder.mkdir()
    (tmp_path / "old" / "last.ckpt").rename(folder / name)
    before = _contents(folder)
    trainer = _trainer(folder, steps=3, every=1, save_last=save_last)
    with pytest.raises(FileExistsError, match="without checkpoints for a new run, got") as refusal:
        trainer.fit(GAN(**toy_networks()), points())
    assert str(folder) in str(refusal.value)
    assert _contents(folder) == before
    assert trainer.global_step == 0


def test_run_that_goes_on_in_the_same_process_is_not_refused(tmp_path: Path) -> None:
    model, trainer = GAN(**toy_networks()), _trainer(tmp_path, steps=2, every=1)
    trainer.fit(model, points(batches=1))
    trainer.fit_loop.epoch_loop.max_steps = 4
    trainer.fit(model, points(batches=1))
    assert _steps(tmp_path)["last.ckpt"] == 4


def test_run_killed_at_its_first_save_can_begin_again(tmp_path: Path) -> None:
    (tmp_path / "step_00000002.ckpt").write_bytes(b"last.ckpt was to follow")
    _run(tmp_path, steps=5, every=2)
    assert _steps(tmp_path) == {"step_00000002.ckpt": 2, "step_00000004.ckpt": 4, "last.ckpt": 5}


def _refused_rank(rank: int, folder: Path) -> str:
    trainer = _trainer(folder, 2, 1, {"strategy": "ddp", "devices": 2})
    with pytest.raises(FileExistsError) as refusal:
        trainer.fit(GAN(**toy_networks()), points())
    return str(refusal.value)


def test_both_ranks_refuse(ranks: Ranks, tmp_path: Path) -> None:
    _run(tmp_path, steps=1)
    before = _contents(tmp_path)
    first, second = ranks.run(_refused_rank, tmp_path)
    assert first == second
    assert _contents(tmp_path) == before


def _saving_rank(rank: int, folder: Path) -> None:
    _run(folder, 3, 2, trainer_options={"strategy": "ddp", "devices": 2})


def test_two_ranks_save_one_set_of_files(ranks: Ranks, tmp_path: Path) -> None:
    ranks.run(_saving_rank, tmp_path)
    assert _steps(tmp_path) == {"step_00000002.ckpt": 2, "last.ckpt": 3}


def test_numbered_files_may_share_a_folder(tmp_path: Path) -> None:
    for _ in range(2):
        _run(tmp_path, steps=2, enable_version_counter=True, save_last=False)
    assert _names(tmp_path) == {
        f"step_0000000{step}{version}.ckpt" for step in (1, 2) for version in ("", "-v1")
    }


def test_resumed_run_replaces_its_own_files(tmp_path: Path) -> None:
    _run(tmp_path, steps=4)
    _run(tmp_path, steps=6, ckpt_path=tmp_path / "last.ckpt")
    assert _steps(tmp_path) == {"step_00000005.ckpt": 5, "step_00000006.ckpt": 6, "last.ckpt": 6}


def test_resume_from_an_older_file_replaces_the_newer(tmp_path: Path) -> None:
    _run(tmp_path, steps=4)
    for name in ("step_00000004.ckpt", "last.ckpt"):
        (tmp_path / name).write_bytes(b"of the run that is left")
    _run(tmp_path, steps=4, ckpt_path=tmp_path / "step_00000003.ckpt")
    assert _steps(tmp_path) == {"step_00000003.ckpt": 3, "step_00000004.ckpt": 4, "last.ckpt": 4}


def test_resume_by_keyword(tmp_path: Path) -> None:
    _run(tmp_path, steps=3, every=2)
    _run(tmp_path, steps=5, every=2, ckpt_path="last")
    assert _steps(tmp_path) == {"step_00000002.ckpt": 2, "step_00000004.ckpt": 4, "last.ckpt": 5}


@pytest.mark.parametrize("damaged", [["last"], ["last", "step_00000004"]])
def test_damaged_last_has_a_stand_in(damaged: list[str], tmp_path: Path) -> None:
    _run(tmp_path, steps=4)
    for name in damaged:
        path = tmp_path / f"{name}.ckpt"
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    with pytest.warns(UserWarning, match=f"of step {5 - len(damaged)} instead"):
        _run(tmp_path, steps=6, ckpt_path=tmp_path / "last.ckpt")
    assert _steps(tmp_path) == {"step_00000005.ckpt": 5, "step_00000006.ckpt": 6, "last.ckpt": 6}
    assert all(verify_checkpoint(path) for path in tmp_path.iterdir())


def test_time_interval_is_refused() -> None:
    with pytest.raises(ValueError, match="'train_time_interval', which has no effect"):
        GANCheckpoint(train_time_interval=timedelta(minutes=1))


@pytest.mark.parametrize("mode", ["min", "max"])
def test_monitor_keeps_the_best(mode: str, tmp_path: Path) -> None:
    values: dict[int, float] = {}

    class Watching(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            values[trainer.global_step] = float(trainer.callback_metrics["train/g_loss"])

    _run(
        tmp_path,
        steps=8,
        monitor="train/g_loss",
        mode=mode,
        trainer_options={"log_every_n_steps": 1},
        callbacks=[Watching()],
    )
    ranked = sorted(values, key=lambda step: values[step], reverse=mode == "max")
    assert len(values) == len(set(values.values())) == 8
    assert all(map(math.isfinite, values.values()))
    best = {f"step_{step:08d}.ckpt": step for step in ranked[:2]}
    assert _steps(tmp_path) == best | {"last.ckpt": 8}


def test_metric_in_the_name_makes_no_folder(tmp_path: Path) -> None:
    _run(
        tmp_path,
        steps=2,
        filename="{step}_{train/g_loss:.1f}",
        trainer_options={"log_every_n_steps": 1},
    )
    assert len(_names(tmp_path)) == 3
    assert all(path.is_file() for path in tmp_path.iterdir())


@pytest.mark.parametrize("existing", [False, True])
def test_fast_dev_run_writes_nothing(existing: bool, tmp_path: Path) -> None:
    if existing:
        _run(tmp_path, steps=2)
    before = _contents(tmp_path)
    trainer = _trainer(tmp_path, 5, 1, {"fast_dev_run": 3})
    trainer.fit(GAN(**toy_networks()), points())
    assert trainer.global_step == 3
    assert _contents(tmp_path) == before


@pytest.mark.parametrize(("top_k", "kept"), [(-1, [1, 2, 3, 4]), (1, [4]), (3, [2, 3, 4]), (0, [])])
def test_save_top_k(top_k: int, kept: list[int], tmp_path: Path) -> None:
    _run(tmp_path, steps=4, save_top_k=top_k)
    newest = {f"step_{step:08d}.ckpt" for step in kept}
    assert _names(tmp_path) == newest | {"last.ckpt"}


@pytest.mark.parametrize("save_last", [False, None])
def test_without_last(save_last: bool | None, tmp_path: Path) -> None:
    _run(tmp_path, steps=3, every=2, save_last=save_last)
    assert _names(tmp_path) == {"step_00000002.ckpt"}


def test_weights_only(tmp_path: Path) -> None:
    _run(tmp_path, steps=3, every=2, save_weights_only=True)
    for path in tmp_path.iterdir():
        checkpoint = read_checkpoint(path)
        assert "state_dict" in checkpoint
        assert "optimizer_states" not in checkpoint


def test_other_options_pass_through(tmp_path: Path) -> None:
    _run(tmp_path, steps=3, filename="kept_{step}", every=3, verbose=True)
    assert _names(tmp_path) == {"kept_3.ckpt", "last.ckpt"}
    with pytest.raises(TypeError, match="no_such_option"):
        GANCheckpoint(no_such_option=1)


def test_last_as_a_link_leaves_its_target_alone(tmp_path: Path) -> None:
    _run(tmp_path, steps=5, every=2, save_last="link")
    assert _steps(tmp_path) == {"step_00000002.ckpt": 2, "step_00000004.ckpt": 4, "last.ckpt": 5}


def test_evaluation_of_an_old_run_is_not_refused(tmp_path: Path) -> None:
    _run(tmp_path, steps=1)
    before = _contents(tmp_path)
    loader = points().train_dataloader()
    trainer = _trainer(tmp_path, 1, 1)
    trainer.validate(GAN(**toy_networks()), loader, verbose=False)
    assert _contents(tmp_path) == before
