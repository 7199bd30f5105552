from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_gan.training import R1, R2, DRAGANPenalty, Drift, GradientPenalty

REAL, FAKE = torch.full((4, 2), 2.0), torch.full((4, 2), 3.0)
SLOPE_KINDS: list[Any] = [DRAGANPenalty, GradientPenalty, R1, R2]
KINDS: list[Any] = [*SLOPE_KINDS, Drift]


def critic(x: Tensor) -> Tensor:
    """Return |x|^2 / 2, whose slope is x."""
    return x.square().sum(1) / 2


def linear(x: Tensor) -> Tensor:
    return x @ torch.tensor([3.0, 4.0])


def assert_near(actual: Tensor, expected: float) -> None:
    torch.testing.assert_close(actual, torch.tensor(expected), rtol=1e-5, atol=1e-5)


def test_gradient_penalty() -> None:
    assert_near(GradientPenalty()(linear, REAL, FAKE), 10 * 16.0)
    assert_near(GradientPenalty(weight=0.1)(linear, REAL, FAKE), 0.1 * 16)
    assert_near(GradientPenalty(target=7)(linear, REAL, FAKE), 10 * 4.0)
    assert_near(GradientPenalty(target=7, one_sided=True)(linear, REAL, FAKE), 0.0)
    assert_near(GradientPenalty(target=0)(linear, REAL, FAKE), 10 * 25.0)
    assert_near(GradientPenalty()(critic, REAL, REAL), 10 * (8**0.5 - 1) ** 2)


def test_dragan() -> None:
    assert_near(DRAGANPenalty()(linear, REAL, FAKE), 10 * 16.0)
    assert_near(DRAGANPenalty(weight=0.1)(linear, REAL, FAKE), 0.1 * 16)
    real = torch.tensor([[0.0, 6.0], [8.0, 6.0]])  # of variance 9, at distances 6 and 10
    assert_near(DRAGANPenalty(scale=0)(critic, real, FAKE), 10 * (25 + 81) / 2)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_dragan_looks_up_to_its_scale_around_real_samples(
    monkeypatch: pytest.MonkeyPatch, scale: float
) -> None:
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.ones(shape))
    real = torch.tensor([[0.0, 6.0], [6.0, 0.0]])  # of mean 3 and variance 9
    expected = ((scale * 3) ** 2 + (6 + scale * 3) ** 2) ** 0.5
    assert_near(DRAGANPenalty(scale=scale)(critic, real, FAKE), 10 * (expected - 1) ** 2)


def test_dragan_defaults_to_half_a_standard_deviation() -> None:
    assert DRAGANPenalty().scale == 0.5


def test_drift() -> None:
    assert_near(Drift()(critic, REAL, FAKE), 1e-3 * 16)
    assert_near(Drift(weight=2.0)(linear, REAL, FAKE), 2 * 14.0**2)


def test_r1_looks_at_real_samples_and_r2_at_fake_ones() -> None:
    assert_near(R1()(critic, REAL, FAKE), 10 / 2 * 8.0)
    assert_near(R2()(critic, REAL, FAKE), 10 / 2 * 18.0)
    assert_near(R1(weight=0.3)(linear, REAL, FAKE), 0.3 / 2 * 25)
    assert_near(R2(weight=0.3)(linear, REAL, FAKE), 0.3 / 2 * 25)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weight", [-1, -1e-9, float("nan"), float("inf")])
def test_wrong_weight(kind: Any, weight: float) -> None:
    with pytest.raises(ValueError, match=f"'weight' to be non-negative and finite, got {weight}"):
        kind(weight=weight)


@pytest.mark.parametrize(("kind", "name"), [(GradientPenalty, "target"), (DRAGANPenalty, "scale")])
@pytest.mark.parametrize("value", [-1, -1e-9, float("nan"), float("inf")])
def test_wrong_numbers_of_one_kind(kind: Any, name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"'{name}' to be non-negative and finite, got {value}"):
        kind(**{name: value})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("interval", [0, -1])
def test_wrong_interval(kind: Any, interval: int) -> None:
    with pytest.raises(ValueError, match=f"'interval' to be at least 1, got {interval}"):
        kind(interval=interval)
