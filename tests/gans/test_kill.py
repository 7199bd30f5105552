"""SIGKILL at random moments, on one and on two ranks, and resume from what is on the disk."""

import os
import random
import socket
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from lightning_gan import WGANGP
from tests.gans import test_growing as growing
from tests.gans import test_resume as plain

KILLS = 20


def _train_plain(folder: Path, **options: Any) -> None:
    plain.train(folder, WGANGP, **options)


# For each kind of run: what trains, and what compares it with another one.
RUNS: dict[str, tuple[Callable[..., Any], Callable[[Path, Path], None]]] = {
    "plain": (_train_plain, plain.assert_same_run),
    "growing": (growing.run, growing.assert_same_run),
}


def _train(
    kind: str, folder: Path, rank: int, world_size: int, port: int, kept: str | None
) -> None:
    options: dict[str, Any] = {}
    if world_size > 1:
        os.environ.update(
            RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world_size), GROUP_RANK="0",
            LOCAL_WORLD_SIZE=str(world_size), TORCHELASTIC_RUN_ID="kill",
            MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
        )  # fmt: skip
        options = {"strategy": "ddp", "devices": world_size}
    train, _ = RUNS[kind]
    train(folder, ckpt_path=None if kept is None else folder / kept, **options)


def _start(kind: str, folder: Path, world_size: int) -> list[Any]:
    """Start a run from the last checkpoint there is; forked, as importing takes seconds."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kept = "last.ckpt" if (folder / "last.ckpt").exists() else None
    context = get_context("fork")
    processes = [
        context.Process(target=_train, args=(kind, folder, rank, world_size, port, kept))
        for rank in range(world_size)
    ]
    for process in processes:
        process.start()
    return processes


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("kind", RUNS)
def test_killed_run_ends_in_the_same_bits(kind: str, world_size: int, tmp_path: Path) -> None:
    _, assert_same_run = RUNS[kind]
    reference, folder = tmp_path / "reference", tmp_path / "killed"
    started = time.monotonic()
    for process in _start(kind, reference, world_size):
        process.join()
        assert process.exitcode == 0
    duration = time.monotonic() - started
    moments = random.Random(world_size)
    killed = 0
    while killed < KILLS:
        processes = _start(kind, folder, world_size)
        time.sleep(moments.uniform(0, 1.2 * duration))
        alive = any(process.is_alive() for process in processes)
        for process in processes:
            process.kill()
        for process in processes:
            process.join()
        if alive:
            killed += 1
        else:  # it reached its end: compare, and begin another one
            assert_same_run(folder, reference)
            folder = tmp_path / f"killed_{killed}"
    for process in _start(kind, folder, world_size):
        process.join()
        assert process.exitcode == 0
    assert_same_run(folder, reference)
