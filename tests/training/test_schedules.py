"""Numbers that change with the images seen."""

import math
import random
from itertools import pairwise
from typing import Any

import pytest

from lightning_gan.training import CosineSchedule, GeometricSchedule, LinearSchedule, Schedule
from lightning_gan.training.schedules import check_range, value_at

NAN, INF = float("nan"), float("inf")
KINDS = [LinearSchedule, CosineSchedule, GeometricSchedule]
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (LinearSchedule(2.0, 10.0, images=400), [2.0, 4.0, 6.0, 8.0, 10.0]),
        (LinearSchedule(1.0, -1.0, images=400), [1.0, 0.5, 0.0, -0.5, -1.0]),
        # 1 + cos at multiples of 45 degrees, halved.
        (CosineSchedule(1.0, 0.0, images=400), [1.0, 0.8535534, 0.5, 0.1464466, 0.0]),
        (CosineSchedule(3.0, 7.0, images=400), [3.0, 3.5857864, 5.0, 6.4142136, 7.0]),
        (GeometricSchedule(16.0, 1.0, images=400), [16.0, 8.0, 4.0, 2.0, 1.0]),
        (GeometricSchedule(0.01, 100.0, images=400), [0.01, 0.1, 1.0, 10.0, 100.0]),
    ],
    ids=repr,
)
def test_closed_forms(schedule: Schedule, expected: list[float]) -> None:
    actual = [schedule(images) for images in (0, 100, 200, 300, 400)]
    assert actual == pytest.approx(expected, rel=1e-6)


@every_kind
def test_ends_are_exact_and_stay(kind: Any) -> None:
    """Also where the formula rounds: 0.1 + (0.3 - 0.1) is not 0.3."""
    schedule = kind(0.1, 0.3, images=30)
    assert schedule(0) == 0.1
    assert [schedule(images) for images in (30, 31, 10**12)] == [0.3] * 3


@every_kind
def test_never_leaves_its_range(kind: Any) -> None:
    """A probability of 1 + 2e-16 has no real square root of what is left of it."""
    draw = random.Random(0)
    for _ in range(2000):
        start, end = draw.choice([(draw.random(), 1.0), (1.0, draw.random()), (1e-300, 1.0)])
        schedule = kind(start, end, images=draw.randint(1, 10**6))
        values = [schedule(images) for images in (0, 1, draw.randint(1, 10**6), 10**7)]
        assert min(start, end) <= min(values) <= max(values) <= max(start, end)


@every_kind
def test_changes_in_one_direction(kind: Any) -> None:
    for start, end in ((0.2, 5.0), (5.0, 0.2)):
        values = [kind(start, end, images=64)(images) for images in range(65)]
        steps = [b - a for a, b in pairwise(values)]
        assert all(step * (end - start) > 0 for step in steps)


@every_kind
def test_images_may_be_a_fraction_or_written_with_an_exponent(kind: Any) -> None:
    assert kind(1.0, 4.0, images=1e7)(5 * 10**6) == kind(1.0, 4.0, images=2)(1)
    assert kind(1.0, 4.0, images=0.5)(1) == 4.0


@every_kind
def test_numbers_of_yaml_become_floats(kind: Any) -> None:
    schedule = kind(4, 1, images=2)
    assert all(isinstance(schedule(images), float) for images in (0, 1, 2))


class _Late(Schedule):
    """A schedule of the user's own: nothing happens until half of the way."""

    def between(self, progress: float) -> float:
        return self.start if progress < 0.5 else self.end


def test_own_schedules() -> None:
    schedule = _Late(1.0, 2.0, images=10)
    assert [schedule(images) for images in (0, 4, 5, 10, 11)] == [1.0, 1.0, 2.0, 2.0, 2.0]
    check_range("x", schedule)
    with pytest.raises(TypeError, match="abstract"):
        Schedule(1.0, 2.0, images=10)  # type: ignore[abstract]


@every_kind
@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_ends_must_be_finite(kind: Any, bad: float) -> None:
    with pytest.raises(ValueError, match=f"Expected 'start' to be finite, got {bad}"):
        kind(bad, 1.0, images=10)
    with pytest.raises(ValueError, match=f"Expected 'end' to be finite, got {bad}"):
        kind(1.0, bad, images=10)


@every_kind
@pytest.mark.parametrize("images", [0, -1, INF, NAN])
def test_images_must_be_positive_and_finite(kind: Any, images: float) -> None:
    message = rf"Expected 'images' to be positive and finite, got {images}\."
    with pytest.raises(ValueError, match=message):
        kind(1.0, 2.0, images=images)


@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (1.0, 0.0), (-1.0, -2.0), (-1.0, 1.0)])
def test_factors_need_positive_ends(start: float, end: float) -> None:
    with pytest.raises(ValueError) as error:
        GeometricSchedule(start, end, images=10)
    assert str(error.value) == f"Expected positive 'start' and 'end', got {start} and {end}."


def test_is_named_in_messages() -> None:
    assert repr(CosineSchedule(2e-4, 5e-5, images=1e7)) == (
        "CosineSchedule(0.0002, 5e-05, images=1e+07)"
    )
    with pytest.raises(ValueError) as error:
        check_range("gamma", LinearSchedule(1.0, -0.5, images=2000))
    assert str(error.value) == (
        "Expected 'gamma' to be non-negative and finite, got LinearSchedule(1, -0.5, images=2000)."
    )


def test_values_of_numbers_and_schedules() -> None:
    assert [value_at(0.3, images) for images in (0, 10**9)] == [0.3, 0.3]
    schedule = LinearSchedule(1.0, 0.0, images=4)
    assert [value_at(schedule, images) for images in (0, 1, 4)] == [1.0, 0.75, 0.0]


@pytest.mark.parametrize("value", [0.0, 0, 7, 1e30, LinearSchedule(0.0, 3.0, images=1)], ids=repr)
def test_values_in_the_usual_range(value: float | Schedule) -> None:
    check_range("x", value)


@pytest.mark.parametrize("value", [0.25, 1, CosineSchedule(1.0, 0.25, images=1)], ids=repr)
def test_values_in_a_range_with_its_ends(value: float | Schedule) -> None:
    check_range("x", value, 0.25, 1.0)


@pytest.mark.parametrize("value", [-1e-9, NAN, INF, -INF], ids=repr)
def test_other_values_are_refused(value: float) -> None:
    with pytest.raises(ValueError) as error:
        check_range("x", value)
    assert str(error.value) == f"Expected 'x' to be non-negative and finite, got {value}."


@pytest.mark.parametrize(
    "value",
    [0.2, 1.1, NAN, LinearSchedule(0.2, 0.5, images=1), LinearSchedule(0.5, 1.1, images=1)],
    ids=repr,
)
def test_values_out_of_a_range_are_refused(value: float | Schedule) -> None:
    with pytest.raises(ValueError) as error:
        check_range("x", value, 0.25, 1.0)
    assert str(error.value) == f"Expected 'x' to be in [0.25, 1], got {value}."


def test_infinity_is_in_no_range() -> None:
    for bad in (INF, -INF):
        with pytest.raises(ValueError, match="'x' to be non-negative and finite"):
            check_range("x", bad, -math.inf)
