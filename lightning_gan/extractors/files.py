"""Files of networks: told apart by their content, identified by it, read without running code."""

import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

FileKind = Literal["exported", "torchscript", "saved", "other"]

_CHUNK = 1 << 20


def existing(path: Path | str, argument: str) -> Path:
    """Return the path of a file.

    Raises:
        FileNotFoundError: If there is none, naming the argument.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing there"
        raise FileNotFoundError(
            f"Expected '{argument}' to be the path of a file, got {path} ({found})."
        )
    return path


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def file_kind(path: Path) -> FileKind:
    """Tell what a file holds.

    Returns:
        ``"exported"`` for a program of ``torch.export``, ``"torchscript"``, ``"saved"`` for what
        ``torch.save`` wrote today, else ``"other"``.
    """
    if not zipfile.is_zipfile(path):
        return "other"
    with zipfile.ZipFile(path) as archive:
        names = {name.partition("/")[2] for name in archive.namelist()}
    if "archive_format" in names:
        return "exported"
    if "constants.pkl" in names:
        return "torchscript"
    return "saved" if "data.pkl" in names else "other"


def read_weights(path: Path, argument: str) -> dict[str, Tensor]:
    """Read the weights of a network, without running code that a file might hold.

    Raises:
        ValueError: If the file is damaged or holds anything else, naming the argument.
    """
    expected = f"Expected '{argument}' to be a file of a network's weights, a dictionary of tensors"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a different one for each way in which a file can be none
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{expected}, got {path}: {type(error).__name__}: {reason}") from error
    if not isinstance(state, dict):
        raise ValueError(f"{expected}, got {path}, which holds {type(state).__name__}.")
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ValueError(
                f"{expected}, got {path}, which holds {type(value).__name__} under {key!r}."
            )
    return dict(state)


def check_fit(network: nn.Module, state: dict[str, Tensor], path: Path, argument: str) -> None:
    """Refuse weights of another network.

    Raises:
        ValueError: Naming the argument, the file, and which weights do not fit.
    """
    own = network.state_dict()
    # The count of batches came to torch later than the weights of some networks.
    missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    unknown = [key for key in state if key not in own]
    other = [
        f"{key} of shape {tuple(state[key].shape)} instead of {tuple(tensor.shape)}"
        for key, tensor in own.items()
        if key in state and state[key].shape != tensor.shape
    ]
    if missing or unknown or other:
        kinds = {"lacks": missing, "has the unknown": unknown, "has": other}
        found = ", ".join(f"{verb} {_abridged(keys)}" for verb, keys in kinds.items() if keys)
        raise ValueError(
            f"Expected '{argument}' to be the weights of {type(network).__name__}, got {path}, "
            f"which {found}."
        )


def _abridged(keys: Sequence[str]) -> str:
    return keys[0] if len(keys) == 1 else f"{keys[0]} and {len(keys) - 1} more"
