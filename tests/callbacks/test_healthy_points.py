"""Checkpoints to which a run can go back; what becomes of them is in test_collapse_guard.py."""

from pathlib import Path

import pytest

from lightning_gan import GAN
from lightning_gan.callbacks.healthy_points import HealthyPoints, Point
from tests.toys import toy_networks, toy_trainer


def point(folder: Path, step: int) -> Point:
    path = folder / f"{step}.ckpt"
    path.touch()
    return Point(step, str(path))


@pytest.mark.parametrize(("step", "found"), [(0, None), (1, 1), (4, 1), (5, 5), (99, 5)])
def test_newest_until_an_iteration(step: int, found: int | None) -> None:
    newest = HealthyPoints([Point(1, "a"), Point(5, "b")]).until(step)
    assert (None if newest is None else newest.step) == found


def test_another_runs_points_are_used_and_left(tmp_path: Path) -> None:
    first, second = point(tmp_path, 1), point(tmp_path, 5)
    points = HealthyPoints([first, second, Point(7, "gone.ckpt")])
    trainer = toy_trainer(tmp_path / "new")
    points.open(trainer, GAN(**toy_networks()))
    assert points.state() == [tuple(first), tuple(second)]
    points.forget_after(trainer, 3)
    assert points.steps() == [1]
    assert Path(second.path).exists()
