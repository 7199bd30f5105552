"""The real side of a comparison: measured once, kept on disk under what it was made of."""

import hashlib
import os
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from typing_extensions import Self

from lightning_gan.functional import (
    Moments,
    Neighborhood,
    moments,
    nearest_distances,
    neighborhood,
)
from lightning_gan.metrics.levels import Levels, calibrate
from lightning_gan.training.sealed_file import (
    damage,
    matches_digest,
    opened,
    write_sealed,
)

# Part of every key: a change of what is stored, or of how it is measured, makes it another.
LAYOUT = 3

_FEWEST_REAL, _FEWEST_FAKE = 20, 4  # two halves of which each is compared; the 3rd neighbour


class Reference(NamedTuple):
    """Features of real samples, and what comparing with them needs of them alone.

    Attributes:
        features: (N, d) float32.
        moments: Mean and root of the covariance.
        neighborhood: Radii of the balls around the samples, and their mean kernel; None where
            neighbours are not wanted.
        levels: What one half of the features reaches against the other; None likewise.
        held_out_nearest: Distances of held-out real samples to the nearest of these, (M,); None
            without such.
        held_out: Fingerprint of those samples, where there is one.
        sample_shape: Shape of one sample, where it is known.
        class_counts: How many of the samples the extractor takes for each class, (K,) int64, where
            its classes are those of the data.
    """

    features: Tensor
    moments: Moments
    neighborhood: Neighborhood | None = None
    levels: Levels | None = None
    held_out_nearest: Tensor | None = None
    held_out: str | None = None
    sample_shape: tuple[int, ...] | None = None
    class_counts: Tensor | None = None

    @classmethod
    def measure(
        cls,
        features: Tensor,
        held_out: Tensor | None = None,
        neighbors: bool = True,
        progress: bool = False,
    ) -> Self:
        """Measure a real set.

        Args:
            features: Features of the set, (N, d).
            held_out: Features of other real samples, (M, d), for the memorisation check.
            neighbors: Whether anything but the Fréchet distance is wanted.
            progress: Whether bars show how far it is.

        Raises:
            ValueError: If there are too few samples, or the features are no finite matrices of one
                width.
        """
        check_number("real", len(features), neighbors)
        if not neighbors:
            return cls(features, moments(features))
        nearest = None
        if held_out is not None:
            nearest = nearest_distances(held_out, features, progress)
        near = neighborhood(features, progress=progress)
        return cls(features, moments(features), near, calibrate(features), nearest)

    def serves(self, neighbors: bool, held_out: str | None = None) -> bool:
        """Tell whether everything is there.

        Args:
            neighbors: Whether anything but the Fréchet distance is wanted.
            held_out: Fingerprint of the held-out samples that are to be compared with, if any.
        """
        complete = self.neighborhood is not None and self.levels is not None
        return (complete or not neighbors) and held_out in (None, self.held_out)

    def to(self, device: torch.device) -> Self:
        """Return the same on a device."""
        moved = {name: _moved(value, device) for name, value in self._asdict().items()}
        return type(self)(**moved)

    def save(self, path: Path) -> None:
        """Write to a file, completely or not at all; a failure to do so costs the time alone."""
        state = {name: _plain(value) for name, value in self._asdict().items()}
        try:
            write_sealed(state, path)
        except OSError as error:
            rank_zero_warn(f"The features of the real samples are not cached: {error}")

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """Read from a file, onto the CPU; None if there is none or it is damaged, which is said."""
        if not os.path.isfile(path):  # noqa: PTH113  # Path.is_file raises where it may not look
            return None
        try:
            with opened(path) as file:
                if not matches_digest(path, file):
                    raise damage(path, "it carries no digest")
                file.seek(0)
                state: dict[str, Any] = torch.load(file, "cpu", weights_only=True)
        except Exception as error:  # whatever a damaged file raises: the others would wait
            rank_zero_warn(f"{error} The features of the real samples are extracted anew.")
            return None
        near, levels = state["neighborhood"], state["levels"]
        return cls(
            state["features"],
            Moments(*state["moments"]),
            None if near is None else Neighborhood(*near),
            None if levels is None else Levels(*levels),
            *(state[name] for name in cls._fields[4:]),
        )


def check_number(which: str, number: int, neighbors: bool) -> None:
    """Refuse fewer samples than a comparison takes.

    Args:
        which: ``real`` or ``generated``.
        number: How many there are.
        neighbors: Whether anything but the Fréchet distance is wanted.

    Raises:
        ValueError: Saying how many it takes.
    """
    least = (_FEWEST_REAL if which == "real" else _FEWEST_FAKE) if neighbors else 2
    if number < least:
        rule = " to compare neighbours; 'fid' alone takes 2" if neighbors else ""
        raise ValueError(f"Expected at least {least} {which} samples{rule}, got {number}.")


def cache_key(*parts: object) -> str:
    """Return the name under which a reference is kept: a digest of all that decides its values."""
    text = "\n".join(map(str, (LAYOUT, *parts)))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _plain(value: Any) -> Any:
    """Turn nested named tuples into tuples, which load without running code."""
    return tuple(_plain(part) for part in value) if isinstance(value, tuple) else value


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, Moments | Neighborhood):
        return type(value)._make(_moved(part, device) for part in value)
    return value
