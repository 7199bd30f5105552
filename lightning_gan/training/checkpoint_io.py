"""Checkpoint files that are either whole or refused.

Lightning's writer can leave a torn file behind and swallows some refusals of the file system;
``torch.load`` accepts a file in which bits have flipped. Here a file appears under its name only
once it is on the disk, and carries the SHA-256 of its own bytes.
"""

import math
import pickle
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, UntypedStorage

from lightning_gan.training.sealed_file import (
    CheckpointError,
    damage,
    matches_digest,
    opened,
    write_sealed,
)


def _keep_on_cpu(storage: UntypedStorage, location: str) -> UntypedStorage:
    """Load a storage where the file puts it first, as Lightning does."""
    return storage


class DurableCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints that survive crashes and refuses to load damaged ones.

    A file is written beside its target, synchronised to the disk and renamed over the target, so
    that whatever ends the process leaves either the old checkpoint or the new one. Remote
    addresses (``s3://...``) are left to Lightning's own writer and get no digest.

    Args:
        fallback: Whether to load the newest intact checkpoint of the same folder, with a warning,
            when the one asked for is damaged. Every rank makes this choice by itself from the
            files it sees, so under ddp the folder must be shared.

    Note:
        The digest finds accidents, not attacks: whoever can change a file can renew its digest.
        Against hostile files, every load is restricted to tensors and plain data
        (``weights_only=True``), which no argument or environment variable can lift.
    """

    def __init__(self, fallback: bool = True) -> None:
        self.fallback = fallback

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Replace the file at ``path`` by ``checkpoint``, completely or not at all.

        Args:
            checkpoint: What to save; its model and optimizer states must be free of NaN.
            path: Target; missing folders are made.
            storage_options: Not supported.

        Raises:
            TypeError: If ``storage_options`` is given.
            ValueError: If the state of the model or of an optimizer contains a NaN.
            OSError: If the file system refuses or the disk is full.
        """
        if storage_options is not None:
            raise TypeError(f"Expected 'storage_options' to be None, got {storage_options!r}.")
        refuse_nan(checkpoint)
        local = _local(path)
        if local is None:
            super().save_checkpoint(checkpoint, path)
        else:
            write_sealed(checkpoint, local)

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Any = _keep_on_cpu,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Load an intact checkpoint.

        Args:
            path: The checkpoint asked for.
            map_location: Where to put the tensors, as in ``torch.load``; the CPU by default.
            weights_only: None or True, which mean the same.

        Returns:
            The content of the file, or of its stand-in if ``fallback`` is set.

        Raises:
            ValueError: If ``weights_only`` is False.
            CheckpointError: If the file is not intact and nothing can stand in for it, or if it
                was written elsewhere and is no Lightning checkpoint.
        """
        if weights_only is False:
            raise ValueError(
                "Expected 'weights_only' to be None or True, got False: such a load would run "
                "any code that the file contains."
            )
        local = _local(path)
        if local is None:
            remote: dict[str, Any] = super().load_checkpoint(path, map_location, weights_only=True)
            return remote
        try:
            checkpoint, verified = _read(local, map_location)
        except CheckpointError:
            if not self.fallback:
                raise
            # Only now: choosing reads every byte, which the load above has just done.
            local = resolve_checkpoint(local)
            checkpoint, verified = _read(local, map_location)
        # Launchers that spawn processes send a bare state_dict home through this method, so what
        # the plugin wrote itself is taken as it is.
        return checkpoint if verified else _lightning_checkpoint(local, checkpoint)


def refuse_nan(checkpoint: Mapping[str, Any]) -> None:
    """Check that the state of the model and of the optimizers is free of NaN.

    Raises:
        ValueError: Naming the first place of one.
    """
    for name in ("state_dict", "optimizer_states"):
        place = _first_nan(checkpoint.get(name), name)
        if place is not None:
            raise ValueError(f"Expected 'checkpoint' to be free of NaN, got one in {place}.")


def verify_checkpoint(path: Path) -> bool:
    """Check that a checkpoint file is intact.

    Args:
        path: Local file.

    Returns:
        True if the file matches its digest. False if it carries none, because another program
        wrote it: then it can be loaded, but flipped bits would go unnoticed.

    Raises:
        CheckpointError: If the file is missing, empty, truncated, damaged or not a checkpoint.
    """
    with opened(path) as file:
        verified = matches_digest(path, file)
        if not verified:
            _load(path, file, "cpu")
    return verified


def read_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Verify and load a Lightning checkpoint without running any code it contains.

    Args:
        path: Local file; a warning is given if it carries no digest.
        map_location: Where to put the tensors, as in ``torch.load``.

    Returns:
        The checkpoint.

    Raises:
        CheckpointError: If the file is not intact or not a Lightning checkpoint.
    """
    return _lightning_checkpoint(path, _read(path, map_location)[0])


def resolve_checkpoint(path: Path) -> Path:
    """Return ``path`` if it is intact, otherwise the newest intact checkpoint beside it.

    Only ``*.ckpt`` files that match their digest can stand in. Those that hold optimizers come
    first, since training cannot resume from the others; then the highest ``global_step`` counts,
    never the time stamp, and equal steps are decided by name. No collective is used.

    Args:
        path: Local file.

    Returns:
        The file to load. A warning is given if it is not ``path``.

    Raises:
        CheckpointError: If ``path`` does not exist, or neither it nor any file beside it can be
            used; lists them all.
    """
    try:
        verify_checkpoint(path)
    except CheckpointError as error:
        if not path.exists():
            raise  # more likely a mistyped name than a lost file
        return _stand_in(path, error)
    return path


def _stand_in(path: Path, error: CheckpointError) -> Path:
    """Choose the file to use instead of the damaged ``path``, and say so."""
    usable: list[tuple[bool, int, str]] = []
    refused: list[str] = []
    for other in sorted(path.parent.glob("*.ckpt")):
        if other.name == path.name:
            continue
        try:
            resumable, step = _rank(other)
        except CheckpointError as refusal:
            refused.append(str(refusal))
        else:
            usable.append((resumable, step, other.name))
    if not usable:
        tried = " ".join(refused) or f"There is no other checkpoint in {path.parent}."
        raise CheckpointError(f"{error} No other file can stand in for it. {tried}") from error
    _, step, name = max(usable)
    used = path.with_name(name)
    lost = _claimed_step(path)
    known = "an unknown step" if lost is None else f"step {lost}"
    rank_zero_warn(f"{error} It was saved at {known}; loading {used} of step {step} instead.")
    return used


def _rank(path: Path) -> tuple[bool, int]:
    """Return whether a verified checkpoint holds optimizers, and its step."""
    with opened(path) as file:
        if not matches_digest(path, file):
            raise damage(path, "it carries no digest, so it cannot stand in for another")
    checkpoint = _lightning_checkpoint(path, _load(path, path, "cpu", mmap=True))
    step = checkpoint.get("global_step")
    if not isinstance(step, int):
        raise damage(path, "it is a checkpoint without 'global_step'")
    return "optimizer_states" in checkpoint, step


def _claimed_step(path: Path) -> int | None:
    """Return the step of a damaged checkpoint if that much can still be read."""
    with suppress(CheckpointError):
        checkpoint = _load(path, path, "cpu", mmap=True)
        step = checkpoint.get("global_step") if isinstance(checkpoint, dict) else None
        return step if isinstance(step, int) else None
    return None


def _read(path: Path, map_location: Any) -> tuple[Any, bool]:
    """Return what a file contains, and whether that matched a digest."""
    with opened(path) as file:
        verified = matches_digest(path, file)
        # The same open file: a writer may put another one under this name in the meantime.
        content = _load(path, file, map_location)
    if not verified:
        rank_zero_warn(
            f"The checkpoint {path} carries no digest, because another program wrote it: "
            "damage to it cannot be detected."
        )
    return content, verified


def _lightning_checkpoint(path: Path, content: Any) -> dict[str, Any]:
    """Return ``content`` if it has what every Lightning checkpoint has, weights-only ones too."""
    if not isinstance(content, dict):
        raise damage(path, f"it contains a {type(content).__name__}, not a Lightning checkpoint")
    missing = [key for key in ("state_dict", "pytorch-lightning_version") if key not in content]
    if missing:
        lacking = " and ".join(map(repr, missing))
        raise damage(path, f"it is no Lightning checkpoint, as it lacks {lacking}")
    return content


def _load(path: Path, source: Path | BinaryIO, map_location: Any, *, mmap: bool = False) -> Any:
    """Load plain data and tensors, turning whatever torch raises into one kind of error."""
    if not isinstance(source, Path):
        source.seek(0)
    try:
        # Passed explicitly, as TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 overrides a mere default.
        return torch.load(source, map_location, weights_only=True, mmap=mmap)
    except Exception as error:
        # torch wraps the actual refusal in advice to load with weights_only=False.
        hidden = error.__context__
        cause = repr(hidden if isinstance(hidden, pickle.UnpicklingError) else error)[:300]
        raise damage(path, f"torch cannot load it: {cause}") from error


def _local(path: str | Path) -> Path | None:
    """Return a local path, or None for an address on another machine."""
    text = str(path).removeprefix("file://")
    return None if "://" in text else Path(text)


def _first_nan(value: Any, name: str) -> str | None:
    """Return the place of the first NaN in nested containers, as Python would index it."""
    if isinstance(value, Tensor):
        inexact = value.is_floating_point() or value.is_complex()
        return name if inexact and bool(torch.isnan(value).any()) else None
    if isinstance(value, float):
        return name if math.isnan(value) else None
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    places = (_first_nan(item, f"{name}[{key!r}]") for key, item in items)
    return next((place for place in places if place is not None), None)
