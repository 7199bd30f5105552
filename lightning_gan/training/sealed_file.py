"""A file that is written completely or not at all and carries the SHA-256 of its own bytes.

The digest is the comment of the zip archive that ``torch.save`` writes: one file that can neither
lose its digest nor be paired with another's, and that ``torch.load`` still reads anywhere.
"""

import errno
import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch

_FILE_HEADER = b"PK\x03\x04"
# Zip's end-of-central-directory record: the signature, 16 bytes of counts and offsets, and the
# length of the comment that follows it, two bytes little endian.
_END_SIGNATURE = b"PK\x05\x06"
_END_SIZE = 22
_LENGTH_SIZE = 2

_PREFIX = b"lightning-gan sha256 "
_HEX_SIZE = 64
_COMMENT_SIZE = len(_PREFIX) + _HEX_SIZE
_COMMENT_LENGTH = _COMMENT_SIZE.to_bytes(_LENGTH_SIZE, "little")

_CHUNK = 1 << 20


class CheckpointError(ValueError):
    """A checkpoint file is missing, damaged or none; the message names the file and the reason."""


def damage(path: Path, reason: str) -> CheckpointError:
    """Return the error that says what is wrong with a file."""
    return CheckpointError(f"Expected 'path' to be an intact checkpoint, got {path}: {reason}.")


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading; its own failures become checkpoint errors."""
    try:
        with path.open("rb") as file:
            yield file
    except FileNotFoundError as error:
        raise damage(path, "it does not exist") from error
    except OSError as error:
        raise damage(path, f"it cannot be read: {error.strerror or error}") from error


def matches_digest(path: Path, file: BinaryIO) -> bool:
    """Return True for a matching digest and False for none; raise for a damaged file."""
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        raise damage(path, "it is empty")
    file.seek(max(0, size - _END_SIZE - _COMMENT_SIZE))
    end, comment = file.read(_END_SIZE), file.read()
    # Damage in either half of the trailer must not make the file pass for one without a digest.
    promised = end.startswith(_END_SIGNATURE) and end.endswith(_COMMENT_LENGTH)
    if comment.startswith(_PREFIX) or promised:
        if comment[-_HEX_SIZE:] != _sha256(file, size - _HEX_SIZE):
            raise damage(path, "it is damaged, as its content does not match its digest")
        return True
    file.seek(0)
    plain = comment[-_END_SIZE:]  # where torch.save ends its archive
    ends = plain.startswith(_END_SIGNATURE) and plain.endswith(bytes(_LENGTH_SIZE))
    if file.read(len(_FILE_HEADER)) == _FILE_HEADER and not ends:
        raise damage(path, "it is truncated, as it does not end the way torch.save ends a file")
    return False


def _sha256(file: BinaryIO, size: int) -> bytes:
    """Return the digest of the first ``size`` bytes in hexadecimal."""
    digest = hashlib.sha256()
    file.seek(0)
    while size > 0 and (chunk := file.read(min(size, _CHUNK))):
        digest.update(chunk)
        size -= len(chunk)
    return digest.hexdigest().encode()


def write_sealed(checkpoint: dict[str, Any], path: Path) -> None:
    """Write beside ``path``, synchronise, and rename over it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    outcome = "what was there before is unchanged"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        try:
            with temporary.open("x+b") as file:
                _save(checkpoint, file)
                _seal(file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:  # also an interrupt from the keyboard or the scheduler
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        outcome = "the new file is in place, but might not survive a power cut"
        _sync_folder(path.parent)
    except OSError as error:
        reason = f"Cannot save the checkpoint: {error.strerror or error}; {outcome}"
        raise OSError(error.errno, reason, str(path)) from error


def _save(checkpoint: dict[str, Any], file: BinaryIO) -> None:
    """Call ``torch.save``, which hides a failed write behind an error about positions."""
    handled = sys.exc_info()[1]  # saving may be the answer to an error that is not ours
    try:
        torch.save(checkpoint, file)
    except RuntimeError as error:
        hidden = error.__context__
        if isinstance(hidden, OSError) and hidden is not handled:
            raise hidden from None
        raise


def _seal(file: BinaryIO) -> None:
    """Append the digest of everything before it as the comment of the zip archive."""
    size = file.seek(-_END_SIZE, os.SEEK_END) + _END_SIZE
    end = file.read()
    if not end.startswith(_END_SIGNATURE) or not end.endswith(bytes(_LENGTH_SIZE)):
        raise RuntimeError("torch.save did not end its archive with an empty comment.")
    file.seek(size - _LENGTH_SIZE)
    file.write(_COMMENT_LENGTH + _PREFIX)
    digest = _sha256(file, size + len(_PREFIX))
    file.seek(0, os.SEEK_END)
    file.write(digest)


def _sweep(path: Path) -> None:
    """Remove what processes that died while saving to ``path`` left behind."""
    for stale in path.parent.iterdir():
        process = stale.name.removeprefix(f".{path.name}.").removesuffix(".tmp")
        if stale.name == f".{path.name}.{process}.tmp" and process.isdecimal():
            # What cannot be removed costs space only; that must not stop the saving.
            with suppress(OSError, OverflowError):
                if not _saving(int(process)):
                    stale.unlink()


def _saving(process: int) -> bool:
    """Return whether another process of that number may still be at work."""
    if process == os.getpid():
        return False  # a predecessor with the same number, as is common in containers
    if os.name == "posix":  # elsewhere signal 0 is more than a question
        try:
            os.kill(process, 0)  # refused for another user's process, which also keeps its file
        except ProcessLookupError:
            return False
    return True


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot synchronise folders, which is no reason to stop.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
