from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.functional import interpolate

from lightning_gan.layers import SmoothDownsample, SmoothUpsample

LAYERS: list[type[nn.Module]] = [SmoothDownsample, SmoothUpsample]
BLUR = np.array([1, 2, 1]) / 4


def blurred(rows: Any) -> Any:
    """Blur along the last axis with zeros beyond both ends."""
    return np.apply_along_axis(lambda row: np.convolve(row, BLUR)[1:-1], -1, rows)


def halved(rows: Any) -> Any:
    return blurred(rows).reshape(*rows.shape[:-1], -1, 2).mean(axis=-1)


def doubled(rows: Any) -> Any:
    return blurred(rows.repeat(2, axis=-1))


@pytest.mark.parametrize(
    ("layer", "along"), [(SmoothDownsample, halved), (SmoothUpsample, doubled)]
)
@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.parametrize("size", [(2, 2), (4, 8), (6, 2)])
def test_is_a_binomial_blur(layer: Any, along: Any, channels: int, size: tuple[int, int]) -> None:
    x = torch.randn(2, channels, *size, dtype=torch.float64)
    expected = along(along(x.numpy()).swapaxes(2, 3)).swapaxes(2, 3)
    actual = layer()(x)
    assert actual.dtype == torch.float64
    torch.testing.assert_close(actual, torch.from_numpy(expected), rtol=1e-12, atol=1e-12)


def test_is_bilinear_interpolation_away_from_the_border() -> None:
    x = torch.randn(2, 3, 8, 12, dtype=torch.float64)
    for layer, factor, options in (
        (SmoothDownsample(), 0.5, {"antialias": True}),
        (SmoothUpsample(), 2.0, {}),
    ):
        expected = interpolate(x, scale_factor=factor, mode="bilinear", **options)
        inside = (..., slice(1, -1), slice(1, -1))
        torch.testing.assert_close(layer(x)[inside], expected[inside], rtol=1e-12, atol=1e-12)


def test_are_each_others_transpose() -> None:
    fine, coarse = torch.randn(3, 2, 8, 6).double(), torch.randn(3, 2, 4, 3).double()
    down, up = SmoothDownsample()(fine), SmoothUpsample()(coarse)
    torch.testing.assert_close((up * fine).sum(), 4 * (down * coarse).sum(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layer", LAYERS)
def test_derivatives(layer: Any) -> None:
    x = torch.randn(1, 2, 4, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(layer(), x)
    assert gradgradcheck(lambda x: layer()(x).square(), x)


@pytest.mark.parametrize("layer", LAYERS)
def test_half_precision(layer: Any) -> None:
    x = torch.randn(2, 3, 4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half: Tensor = layer()(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), layer()(x), rtol=0, atol=0.05)


@pytest.mark.parametrize("layer", LAYERS)
def test_has_no_state(layer: Any) -> None:
    assert not layer().state_dict()


@pytest.mark.parametrize("size", [(5, 4), (4, 1)])
def test_odd_sides_are_not_halved(size: tuple[int, int]) -> None:
    message = rf"maps with even sides to halve, got \({size[0]}, {size[1]}\)\."
    with pytest.raises(ValueError, match=message):
        SmoothDownsample()(torch.zeros(1, 1, *size))
