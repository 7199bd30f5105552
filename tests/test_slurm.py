"""The sbatch recipe: signalled, requeued and resumed, with stand-ins for SLURM's commands."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from lightning_gan.cli import main
from lightning_gan.training import read_checkpoint
from tests.test_cli import points_run

RECIPE = Path(__file__).parents[1] / "configs" / "slurm.sbatch"
STEPS = 200

# What SLURM tells each task, and what happens to a job that is requeued: its tasks are killed.
SRUN = f"""#!/bin/bash
export SLURM_NTASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_NODELIST=localhost
echo $$ > task
shift
exec {sys.executable} -m lightning_gan "$@"
"""
SCONTROL = """#!/bin/bash
echo "$@" > requeued
kill -9 "$(cat task)"
"""


def _wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_recipe_requeues_and_resumes(tmp_path: Path) -> None:
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    command, *arguments = points_run(tmp_path / "logs")
    longer = [
        *arguments,
        *("--trainer.max_steps", str(STEPS), "--seed_everything", "3"),
        *("--samples.every_n_steps", str(STEPS), "--checkpoint.every_n_train_steps", "5"),
    ]
    (tmp_path / "empty.yaml").write_text("{}\n")
    environment = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "77",
        "SLURM_JOB_NAME": "train",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_NTASKS_PER_NODE": "1",
    }
    start = ["bash", str(RECIPE), "empty.yaml", *longer]
    last = tmp_path / "runs" / "77" / "checkpoints" / "last.ckpt"

    job = subprocess.Popen(start, cwd=tmp_path, env=environment)
    _wait_for(last, job)
    job.send_signal(signal.SIGUSR1)
    job.wait(60)
    assert (tmp_path / "requeued").read_text().split() == ["requeue", "77"]
    interrupted = read_checkpoint(last)["global_step"]
    assert interrupted < STEPS

    subprocess.run(start, cwd=tmp_path, env=environment, check=True, timeout=120)
    main([command, *longer, "--checkpoint.dirpath", str(tmp_path / "reference")])
    actual, expected = map(read_checkpoint, (last, tmp_path / "reference" / "last.ckpt"))
    assert actual["global_step"] == expected["global_step"] == STEPS
    for name, weight in expected["state_dict"].items():
        torch.testing.assert_close(actual["state_dict"][name], weight, rtol=0, atol=0)
