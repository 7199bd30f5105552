import errno
import io
import os
import random
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric.utilities.cloud_io import _load as lightning_load
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel
from torch import Tensor

from lightning_gan.training import checkpoint_io, sealed_file
from lightning_gan.training.checkpoint_io import (
    DurableCheckpointIO,
    read_checkpoint,
    resolve_checkpoint,
    verify_checkpoint,
)
from lightning_gan.training.sealed_file import CheckpointError

PREFIX = b"lightning-gan sha256 "
COMMENT = len(PREFIX) + 64
END = 22  # bytes of zip's end record


def checkpoint(step: int = 3, size: int = 2000) -> dict[str, Any]:
    weight = torch.arange(size, dtype=torch.float32) + step
    return {
        "state_dict": {"weight": weight, "count": torch.tensor(step)},
        "optimizer_states": [{"state": {0: {"exp_avg": weight / 2}}, "param_groups": []}],
        "global_step": step,
        "pytorch-lightning_version": "2.6.6",
    }


def save(path: Path, step: int = 3, **changes: Any) -> Path:
    DurableCheckpointIO().save_checkpoint(checkpoint(step) | changes, path)
    return path


def weight(content: dict[str, Any]) -> Tensor:
    tensor = content["state_dict"]["weight"]
    assert isinstance(tensor, Tensor)
    return tensor


def assert_exact(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return save(tmp_path / "last.ckpt")


@pytest.fixture
def strict() -> DurableCheckpointIO:
    return DurableCheckpointIO(fallback=False)


class Hostile:
    """Creates a file when it is unpickled by an unrestricted loader."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.sentinel),)


# Reading what was written


def test_round_trip_equals_the_original(path: Path) -> None:
    for loaded in (
        DurableCheckpointIO().load_checkpoint(path),
        DurableCheckpointIO().load_checkpoint(str(path), weights_only=True),
        DurableCheckpointIO().load_checkpoint(f"file://{path}", map_location="cpu"),
        read_checkpoint(path),
    ):
        assert_exact(weight(loaded), weight(checkpoint()))
        assert loaded["global_step"] == 3
        assert loaded.keys() == checkpoint().keys()


def test_every_other_loader_reads_the_file(path: Path) -> None:
    for loaded in (
        torch.load(path),
        torch.load(path, weights_only=True),
        torch.load(path, mmap=True),
        torch.load(path, weights_only=False, mmap=True),
        torch.load(io.BytesIO(path.read_bytes())),
        lightning_load(path),
    ):
        assert_exact(weight(loaded), weight(checkpoint()))


def test_zip_tools_read_the_file(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.comment.startswith(PREFIX)
        assert len(archive.comment) == COMMENT


def test_map_location_is_applied(path: Path) -> None:
    loaded = DurableCheckpointIO().load_checkpoint(path, map_location="meta")
    assert weight(loaded).is_meta


def test_own_files_verify_and_others_do_not(path: Path, tmp_path: Path) -> None:
    assert verify_checkpoint(path)
    torch.save(checkpoint(), tmp_path / "other.ckpt")
    assert not verify_checkpoint(tmp_path / "other.ckpt")


def test_missing_folders_are_made_and_odd_names_work(tmp_path: Path) -> None:
    path = save(tmp_path / "a b" / "ü" / "epoch=1 [x*].ckpt")
    assert verify_checkpoint(path)
    assert names(path.parent) == [path.name]


def test_bare_state_dict_of_a_launcher_round_trips(tmp_path: Path) -> None:
    # Lightning's spawning launchers send the weights home like this.
    path = tmp_path / ".temp.ckpt"
    DurableCheckpointIO().save_checkpoint({"weight": torch.ones(2)}, path)
    assert_exact(DurableCheckpointIO().load_checkpoint(path)["weight"], torch.ones(2))
    with pytest.raises(CheckpointError, match="lacks 'state_dict'"):
        read_checkpoint(path)


def test_remote_addresses_use_the_parent() -> None:
    plugin = DurableCheckpointIO()
    plugin.save_checkpoint(checkpoint(), "memory://run/last.ckpt")
    assert_exact(weight(plugin.load_checkpoint("memory://run/last.ckpt")), weight(checkpoint()))


# Arguments


def test_storage_options_are_refused(path: Path) -> None:
    with pytest.raises(TypeError, match="'storage_options' to be None"):
        DurableCheckpointIO().save_checkpoint(checkpoint(), path, storage_options={})


def test_unrestricted_loading_is_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="'weights_only' to be None or True, got False"):
        DurableCheckpointIO().load_checkpoint(path, weights_only=False)


# Damage


def structural_cuts(data: bytes) -> list[int]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        headers = [member.header_offset for member in archive.infolist()]
    end = len(data) - COMMENT - END
    directory = int.from_bytes(data[end + 16 : end + 20], "little")
    cuts = {0, 1, 3, 4, len(data) // 2, directory, directory + 10, len(data) - 1}
    cuts |= {header + more for header in headers for more in (0, 4, 29, 30, 60)}
    cuts |= {end + more for more in (-1, 0, 1, 4, 20, 21, 22)}
    cuts |= set(range(len(data) - COMMENT, len(data)))
    return sorted(cuts)


def test_every_truncation_is_rejected(path: Path, strict: DurableCheckpointIO) -> None:
    data = path.read_bytes()
    for cut in structural_cuts(data):
        path.write_bytes(data[:cut])
        with pytest.raises(CheckpointError, match=r"last\.ckpt: it is|torch cannot load"):
            strict.load_checkpoint(path)


def test_every_flipped_bit_is_rejected(path: Path, strict: DurableCheckpointIO) -> None:
    data = path.read_bytes()
    draw = random.Random(0)
    anywhere = [(draw.randrange(len(data)), draw.randrange(8)) for _ in range(300)]
    trailer = [(at, bit) for at in range(len(data) - COMMENT - END, len(data)) for bit in range(8)]
    for at, bit in anywhere + trailer:
        damaged = bytearray(data)
        damaged[at] ^= 1 << bit
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="damaged"):
            strict.load_checkpoint(path)


def test_every_zeroed_block_is_rejected(tmp_path: Path, strict: DurableCheckpointIO) -> None:
    path = tmp_path / "last.ckpt"
    strict.save_checkpoint(checkpoint(size=10_000), path)
    data = path.read_bytes()
    for start in [*range(0, len(data), 4096), len(data) - 4096]:
        zeroed = data[:start] + bytes(4096) + data[start + 4096 :]
        path.write_bytes(zeroed[: len(data)])
        with pytest.raises(CheckpointError):
            strict.load_checkpoint(path)


def test_appended_bytes_are_rejected(path: Path, strict: DurableCheckpointIO) -> None:
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(CheckpointError, match="does not end the way"):
        strict.load_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "it does not exist"),
        (b"", "it is empty"),
        (b"hello", "torch cannot load it"),
        (b"PK\x03\x04" + bytes(500), "it is truncated"),
    ],
)
def test_message_names_the_file_and_the_reason(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "some.ckpt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=reason) as caught:
        verify_checkpoint(path)
    assert str(caught.value).startswith(f"Expected 'path' to be an intact checkpoint, got {path}:")


def test_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="it cannot be read"):
        verify_checkpoint(tmp_path)


# Files of other programs


def test_file_without_digest_is_read_with_one_warning(tmp_path: Path) -> None:
    torch.save(checkpoint(), tmp_path / "other.ckpt")
    with pytest.warns(UserWarning, match="carries no digest") as warned:
        loaded = DurableCheckpointIO().load_checkpoint(tmp_path / "other.ckpt")
    assert len(warned) == 1
    assert_exact(weight(loaded), weight(checkpoint()))


@pytest.mark.filterwarnings("ignore:.*carries no digest")  # its own test is above
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"weight": torch.ones(1)}, "lacks 'state_dict' and 'pytorch-lightning_version'"),
        ({"state_dict": {}}, "it is no Lightning checkpoint, as it lacks 'pytorch-light"),
        ([1, 2], "it contains a list, not a Lightning checkpoint"),
    ],
)
def test_foreign_content_is_rejected(tmp_path: Path, content: Any, reason: str) -> None:
    torch.save(content, tmp_path / "foreign.ckpt")
    for load in (read_checkpoint, DurableCheckpointIO().load_checkpoint):
        with pytest.raises(CheckpointError, match=reason):
            load(tmp_path / "foreign.ckpt")


@pytest.mark.parametrize("override", [None, "1"])
@pytest.mark.parametrize("sealed", [False, True])
def test_hostile_file_never_executes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: str | None, sealed: bool
) -> None:
    if override is not None:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", override)
    path, sentinel = tmp_path / "hostile.ckpt", tmp_path / "sentinel"
    content = checkpoint() | {"hyper_parameters": Hostile(sentinel)}
    if sealed:
        DurableCheckpointIO().save_checkpoint(content, path)
    else:
        torch.save(content, path)
    for load in (
        read_checkpoint,
        DurableCheckpointIO(fallback=True).load_checkpoint,
        DurableCheckpointIO(fallback=False).load_checkpoint,
    ):
        with pytest.raises(CheckpointError, match=r"torch cannot load it: .*mkdir"):
            load(path)
    # The same when it is met while looking for a stand-in.
    with pytest.raises(CheckpointError, match=r"hostile\.ckpt"):
        resolve_checkpoint(damage(save(tmp_path / "last.ckpt")))
    assert not sentinel.exists()


def test_missing_file_is_not_replaced_by_another(path: Path) -> None:
    save(path.with_name("step=9.ckpt"), 9)
    with pytest.raises(CheckpointError, match=r"absent\.ckpt: it does not exist"):
        resolve_checkpoint(path.with_name("absent.ckpt"))


# Falling back


def damage(path: Path) -> Path:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return path


def test_intact_file_is_used_without_a_warning(path: Path) -> None:
    save(path.with_name("step=9.ckpt"), 9)
    assert resolve_checkpoint(path) == path


def test_stand_in_is_chosen_by_step_and_not_by_time(path: Path) -> None:
    older, newer = save(path.with_name("b.ckpt"), 10), save(path.with_name("a.ckpt"), 20)
    os.utime(older, (4e9, 4e9))
    os.utime(newer, (0, 0))
    damage(path)
    with pytest.warns(UserWarning, match="intact checkpoint") as warned:
        loaded = DurableCheckpointIO().load_checkpoint(path)
    assert loaded["global_step"] == 20
    (warning,) = warned
    assert str(warning.message) == (
        f"Expected 'path' to be an intact checkpoint, got {path}: it is damaged, as its content "
        f"does not match its digest. It was saved at step 3; loading {newer} of step 20 instead."
    )


def test_unreadable_step_is_called_unknown(path: Path) -> None:
    save(path.with_name("a.ckpt"), 2)
    path.write_bytes(b"")
    with pytest.warns(UserWarning, match="it is empty. It was saved at an unknown step; loading"):
        resolve_checkpoint(path)


def test_equal_steps_are_decided_by_name(path: Path) -> None:
    for name in ("b", "c", "a"):
        save(path.with_name(f"{name}.ckpt"))
    with pytest.warns(UserWarning, match=r"c\.ckpt of step 3"):
        assert resolve_checkpoint(damage(path)).name == "c.ckpt"


def test_checkpoint_that_can_resume_is_preferred(path: Path) -> None:
    full = save(path.with_name("full.ckpt"), 10)
    weights = {key: value for key, value in checkpoint(20).items() if key != "optimizer_states"}
    DurableCheckpointIO().save_checkpoint(weights, path.with_name("weights.ckpt"))
    with pytest.warns(UserWarning, match="of step 10 instead"):
        assert resolve_checkpoint(damage(path)) == full


def test_unfit_files_never_stand_in(path: Path) -> None:
    torch.save(checkpoint(50), path.with_name("no_digest.ckpt"))
    damage(save(path.with_name("damaged.ckpt"), 60))
    save(path.with_name("no_step.ckpt"), global_step=None)
    save(path.with_name("other.pt"), 70)
    with pytest.raises(CheckpointError, match="No other file can stand in") as caught:
        DurableCheckpointIO().load_checkpoint(damage(path))
    message = str(caught.value)
    for part in (
        f"{path}: it is damaged",
        "no_digest.ckpt: it carries no digest",
        "damaged.ckpt: it is damaged",
        "no_step.ckpt: it is a checkpoint without 'global_step'",
    ):
        assert part in message
    assert "other.pt" not in message


def test_nothing_to_fall_back_to(path: Path) -> None:
    with pytest.raises(CheckpointError, match="There is no other checkpoint in"):
        resolve_checkpoint(damage(path))


def test_without_fallback_damage_raises(path: Path, strict: DurableCheckpointIO) -> None:
    save(path.with_name("step=9.ckpt"), 9)
    with pytest.raises(CheckpointError, match="does not match its digest"):
        strict.load_checkpoint(damage(path))


# Refusing NaN


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        (
            {"state_dict": {"a": torch.ones(2), "b": torch.tensor([1.0, torch.nan])}},
            "state_dict['b']",
        ),
        (
            {"state_dict": {"a": torch.tensor([torch.nan], dtype=torch.bfloat16)}},
            "state_dict['a']",
        ),
        (
            {"optimizer_states": [{}, {"state": {0: {"exp_avg": torch.tensor(torch.nan)}}}]},
            "optimizer_states[1]['state'][0]['exp_avg']",
        ),
        (
            {"optimizer_states": [{"param_groups": [{"lr": float("nan")}]}]},
            "optimizer_states[0]['param_groups'][0]['lr']",
        ),
    ],
)
def test_nan_never_replaces_a_checkpoint(path: Path, changes: dict[str, Any], place: str) -> None:
    before = path.read_bytes()
    with pytest.raises(ValueError, match="'checkpoint' to be free of NaN") as caught:
        save(path, 4, **changes)
    assert f"got one in {place}." in str(caught.value)
    assert path.read_bytes() == before
    assert names(path.parent) == [path.name]


def test_infinity_and_nan_elsewhere_are_saved(path: Path) -> None:
    save(path, state_dict={"mask": torch.tensor([-torch.inf])}, callbacks={"best": float("nan")})
    assert verify_checkpoint(path)


# Failing file systems


def no_space(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class FullDisk(io.BytesIO):
    """Takes some bytes and then no more."""

    def write(self, data: Any) -> int:
        if self.tell() > 1000:
            no_space()
        return super().write(data)


def assert_unchanged(path: Path, reason: str) -> None:
    before = path.read_bytes()
    with pytest.raises(OSError, match=reason) as caught:
        save(path, 4)
    assert str(path) in str(caught.value)
    assert "what was there before is unchanged" in str(caught.value)
    assert path.read_bytes() == before
    assert names(path.parent) == [path.name]


def test_failed_fsync_keeps_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", no_space)
    assert_unchanged(path, "No space left on device")


def test_failed_write_keeps_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = torch.save
    # torch answers a failed write with a RuntimeError about positions.
    monkeypatch.setattr(torch, "save", lambda content, _: write(content, FullDisk()))
    assert_unchanged(path, "No space left on device")


def test_error_being_handled_is_not_blamed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("cannot copy from the device")

    monkeypatch.setattr(torch, "save", fail)
    try:
        no_space()
    except OSError:
        with pytest.raises(RuntimeError, match="cannot copy from the device"):
            save(path, 4)


def test_refused_rename_keeps_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(Path, "replace", refuse)
    assert_unchanged(path, "Operation not permitted")


def test_interrupt_leaves_no_temporary_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(path, 4)
    assert path.read_bytes() == before
    assert names(path.parent) == [path.name]


def test_failure_of_the_folder_is_told_apart(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_file, "_sync_folder", no_space)
    with pytest.raises(OSError, match="in place, but might not survive a power cut"):
        save(path, 4)
    assert read_checkpoint(path)["global_step"] == 4


def test_folder_that_cannot_be_synchronised_is_tolerated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(_: int) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", unsupported)
    sealed_file._sync_folder(tmp_path)
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        sealed_file._sync_folder(tmp_path)


def test_errors_of_pickling_are_not_dressed_up(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(Exception, match="lambda"):
        save(path, callbacks=lambda: None)
    assert path.read_bytes() == before
    assert names(path.parent) == [path.name]


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write into any folder"
)
def test_read_only_folder_keeps_the_old_file(path: Path) -> None:
    path.parent.chmod(0o500)
    try:
        assert_unchanged(path, "Permission denied")
    finally:
        path.parent.chmod(0o700)


# Dying processes


def test_leftovers_of_dead_processes_are_swept(path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    swept = [f".last.ckpt.{process.pid}.tmp", f".last.ckpt.{os.getpid()}.tmp"]
    kept = [
        f".last.ckpt.{os.getppid()}.tmp",  # at work
        f".best.ckpt.{process.pid}.tmp",  # of another target
        ".last.ckpt.note.tmp",
        ".last.ckpt.99999999999999999999.tmp",  # no process number
    ]
    for name in swept + kept:
        path.with_name(name).touch()
    save(path, 4)
    assert names(path.parent) == sorted([*kept, path.name])


# Forks one saver per line of input, so that the imports are paid once.
SAVERS = """
import os, sys, torch
from pathlib import Path
from lightning_gan.training.checkpoint_io import DurableCheckpointIO

target, plugin = Path(sys.argv[1]), DurableCheckpointIO()

def content(step):
    weight = torch.full((1_000_000,), float(step % 2))
    return {"state_dict": {"w": weight}, "global_step": step, "pytorch-lightning_version": "2"}

contents = [content(0), content(1)]
plugin.save_checkpoint(contents[0], target)
print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        print(os.getpid(), flush=True)
        step = 0
        while True:
            step += 1
            plugin.save_checkpoint(contents[step % 2], target)
    os.waitpid(child, 0)
    print("gone", flush=True)
"""


@pytest.fixture
def savers(path: Path) -> Iterator[subprocess.Popen[str]]:
    root = Path(checkpoint_io.__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", SAVERS, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
    )
    with process:
        yield process
        process.kill()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
def test_file_survives_killed_savers(path: Path, savers: subprocess.Popen[str]) -> None:
    assert savers.stdin is not None
    assert savers.stdout is not None
    assert savers.stdout.readline() == "ready\n"
    draw = random.Random(0)
    leftovers = 0
    for _ in range(10):
        savers.stdin.write("\n")
        savers.stdin.flush()
        saver = int(savers.stdout.readline())
        time.sleep(draw.uniform(0.0, 0.1))
        os.kill(saver, 9)
        assert savers.stdout.readline() == "gone\n"
        assert verify_checkpoint(path)
        loaded = torch.load(path)
        assert_exact(
            loaded["state_dict"]["w"], torch.full((1_000_000,), float(loaded["global_step"] % 2))
        )
        leftovers += len(names(path.parent)) - 1
    assert leftovers > 0  # some were hit while they wrote
    save(path)
    assert names(path.parent) == [path.name]


# In a trainer


class Counting(BoringModel):
    """Counts its batches in a buffer, so that a resumed run can be told apart."""

    batches: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("batches", torch.tensor(0))

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        self.batches += 1
        return super().training_step(batch, batch_idx)


def trainer(folder: Path, steps: int) -> Trainer:
    return Trainer(
        default_root_dir=folder,
        max_steps=steps,
        limit_train_batches=1,
        limit_val_batches=0,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[ModelCheckpoint(folder, filename="{step}", save_last=True, save_top_k=-1)],
        plugins=[DurableCheckpointIO()],
    )


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # Lightning's use of torch
@pytest.mark.filterwarnings("ignore:.*num_workers")  # the loader of Lightning's demonstration
@pytest.mark.filterwarnings("ignore:.*tensorboardX")  # an optional package of Lightning's
@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_trainer_resumes_from_the_stand_in(tmp_path: Path) -> None:
    trainer(tmp_path, 1).fit(Counting())
    assert names(tmp_path) == ["last.ckpt", "step=1.ckpt"]
    assert all(verify_checkpoint(file) for file in tmp_path.iterdir())
    damage(tmp_path / "last.ckpt")

    model = Counting()
    resumed = trainer(tmp_path, 2)
    with pytest.warns(UserWarning, match="does not match its digest"):
        resumed.fit(model, ckpt_path=tmp_path / "last.ckpt")
    assert resumed.global_step == 2
    assert model.batches == 2
    assert read_checkpoint(tmp_path / "step=2.ckpt")["global_step"] == 2
    assert_exact(
        Counting.load_from_checkpoint(tmp_path / "step=2.ckpt").layer.weight.detach(),
        model.layer.weight.detach(),
    )
