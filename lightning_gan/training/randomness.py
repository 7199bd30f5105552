"""Random numbers that depend on the place in the run and on nothing else.

Every iteration starts by seeding torch from (seed of the run, iteration, rank). A resumed run
therefore draws what the uninterrupted one would have drawn, on any rank, without any generator's
state in the checkpoint; and a callback that draws numbers of its own does not change the training.
"""

import os
import secrets
from hashlib import blake2b

import torch
from lightning.pytorch.strategies import Strategy


def run_seed(strategy: Strategy) -> int:
    """Return the seed of ``seed_everything``, or a drawn one that is the same on all ranks."""
    seed = int(os.environ.get("PL_GLOBAL_SEED", secrets.randbits(32)))
    return int(strategy.broadcast(seed))


def seed_step(device: torch.device, *place: int) -> None:
    """Seed torch's generators of the CPU and of ``device`` from a place such as (seed, step, rank).

    Not ``torch.manual_seed``: where CUDA is built in but not in use, that one keeps a formatted
    stack trace of each call.
    """
    # A hash, because generators seeded with neighbouring numbers start alike.
    seed = int.from_bytes(blake2b(repr(place).encode(), digest_size=8).digest(), "little")
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)
