"""Fixtures of all tests."""

import os
import tempfile

# Before numerical libraries start their threads: the processes of a test share two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["WANDB_MODE"] = "offline"
os.environ["LIGHTNING_GAN_CACHE"] = tempfile.mkdtemp()  # of no user, and empty

from collections.abc import Iterator

import pytest
import torch
from lightning import seed_everything

from tests.ranks import Ranks


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    torch.set_num_threads(1)
    seed_everything(0, verbose=False)
    yield
    os.environ.pop("PL_GLOBAL_SEED", None)


@pytest.fixture(scope="session")
def ranks() -> Iterator[Ranks]:
    pair = Ranks()
    yield pair
    pair.close()
