"""Numbers that change as the training goes on, counted in images.

A recipe that counts images stays the same when the batch size or the number of processes changes,
which one that counts iterations does not. Wherever an argument is a ``float | Schedule``, a plain
number stays as it is.
"""

import math
from abc import ABC, abstractmethod


class Schedule(ABC):
    """A number that goes from ``start`` to ``end`` while the discriminator sees ``images``.

    Args:
        start: Value before the first image.
        end: Value from then on.
        images: Real images that the discriminator sees until then, over all processes.

    Raises:
        ValueError: If ``start`` or ``end`` is not finite, or ``images`` not positive.
    """

    def __init__(self, start: float, end: float, images: float) -> None:
        for name, value in {"start": start, "end": end}.items():
            if not math.isfinite(value):
                raise ValueError(f"Expected '{name}' to be finite, got {value}.")
        if not 0 < images < math.inf:
            raise ValueError(f"Expected 'images' to be positive and finite, got {images}.")
        self.start = float(start)  # YAML may hold integers, which fused optimisers refuse
        self.end = float(end)
        self.images = images

    def __call__(self, images: int) -> float:
        """Return the value after a number of images."""
        if images >= self.images:
            return self.end
        # Rounding must not lead out of the range that the ends were checked for.
        low, high = sorted((self.start, self.end))
        return min(max(self.between(images / self.images), low), high)

    @abstractmethod
    def between(self, progress: float) -> float:
        """Return the value after a share of the way, ``progress`` in [0, 1]."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.start:g}, {self.end:g}, images={self.images:g})"


class LinearSchedule(Schedule):
    r"""Go straight: :math:`a + (b - a)\,t`.

    Args:
        start: a, the value before the first image.
        end: b, the value from t = 1 on.
        images: Real images until t = 1, over all processes.

    Example:
        >>> LinearSchedule(1.0, 0.0, images=100)(25)
        0.75
    """

    def between(self, progress: float) -> float:
        """Return the value after a share of the way."""
        return self.start + (self.end - self.start) * progress


class CosineSchedule(Schedule):
    r"""Leave slowly and arrive slowly: :math:`b + \tfrac{1}{2}(a - b)(1 + \cos \pi t)`.

    Args:
        start: a, the value before the first image.
        end: b, the value from t = 1 on.
        images: Real images until t = 1, over all processes.

    Example:
        >>> CosineSchedule(1.0, 0.0, images=100)(50)
        0.5

    Reference:
        Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017,
        https://arxiv.org/abs/1608.03983, eq. (5).
    """

    def between(self, progress: float) -> float:
        """Return the value after a share of the way."""
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * progress)) / 2


class GeometricSchedule(Schedule):
    r"""Change by the same factor every image: :math:`a\,(b / a)^t`.

    Args:
        start: a, the value before the first image; positive.
        end: b, the value from t = 1 on; positive.
        images: Real images until t = 1, over all processes.

    Raises:
        ValueError: If an end is not positive and finite, or ``images`` not positive.

    Example:
        >>> round(GeometricSchedule(1.0, 0.01, images=100)(50), 6)
        0.1
    """

    def __init__(self, start: float, end: float, images: float) -> None:
        super().__init__(start, end, images)
        if min(start, end) <= 0:
            raise ValueError(f"Expected positive 'start' and 'end', got {start} and {end}.")

    def between(self, progress: float) -> float:
        """Return the value after a share of the way."""
        return self.start * float((self.end / self.start) ** progress)


def value_at(value: float | Schedule, images: int) -> float:
    """Return a number, or what a schedule says after a number of images."""
    return value(images) if isinstance(value, Schedule) else value


def check_range(
    name: str, value: float | Schedule, low: float = 0.0, high: float = math.inf
) -> None:
    """Refuse a number, or a schedule with an end, that lies outside [``low``, ``high``].

    Infinity and NaN are refused in any case.

    Raises:
        ValueError: Naming the argument.
    """
    ends = (value.start, value.end) if isinstance(value, Schedule) else (value,)
    if not all(low <= end <= high and math.isfinite(end) for end in ends):
        rule = "non-negative and finite" if high == math.inf else f"in [{low:g}, {high:g}]"
        raise ValueError(f"Expected '{name}' to be {rule}, got {value}.")
