from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_gan.functional import at_resolution, enlarge, shrink

HALVES = [torch.float16, torch.bfloat16]


def block_means(images: Tensor, side: int) -> Tensor:
    """Average the areas of pixels that each new one covers, also where they overlap."""
    x = images.double().numpy()
    height, width = x.shape[-2:]
    means = np.empty((*x.shape[:2], side, side))
    for i in range(side):
        for j in range(side):
            top, bottom = i * height // side, -(-(i + 1) * height // side)
            left, right = j * width // side, -(-(j + 1) * width // side)
            means[..., i, j] = x[..., top:bottom, left:right].mean(axis=(2, 3))
    return torch.from_numpy(means)


def repeated(images: Tensor, factor: int) -> Tensor:
    return torch.from_numpy(np.kron(images.numpy(), np.ones((1, 1, factor, factor))))


@pytest.mark.parametrize(
    ("size", "side"),
    [((8, 8), 4), ((8, 8), 2), ((8, 8), 1), ((4, 12), 2), ((6, 6), 4), ((7, 5), 3)],
)
def test_shrink_averages_areas(size: tuple[int, int], side: int) -> None:
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(shrink(x, side), block_means(x, side), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("factor", [2, 4])
def test_enlarge_repeats_pixels(factor: int) -> None:
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    large = enlarge(x, 4 * factor)
    torch.testing.assert_close(large, repeated(x, factor), rtol=0, atol=0)
    torch.testing.assert_close(shrink(large, 4), x, rtol=1e-12, atol=1e-12)


def test_same_size_is_the_same_tensor() -> None:
    x = torch.randn(2, 3, 4, 4)
    assert shrink(x, 4) is enlarge(x, 4) is at_resolution(x, 4) is x


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.7, 1.0])
@pytest.mark.parametrize(("size", "side"), [(8, 8), (16, 8), (16, 2)])
def test_blend_of_two_resolutions(size: int, side: int, alpha: float) -> None:
    x = torch.randn(2, 3, size, size, dtype=torch.float64)
    high, low = block_means(x, side), block_means(x, side // 2)
    expected = (1 - alpha) * repeated(low, 2) + alpha * high
    blended = at_resolution(x, side, alpha)
    torch.testing.assert_close(blended, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [8, 16])
def test_ends_of_the_blend_are_exact(size: int) -> None:
    x = torch.randn(2, 3, size, size)
    high = shrink(x, 8)
    low = at_resolution(high, 4)
    torch.testing.assert_close(at_resolution(x, 8, 0), enlarge(low, 8), rtol=0, atol=0)
    torch.testing.assert_close(at_resolution(x, 8, 1), high, rtol=0, atol=0)


def test_default_does_not_blend() -> None:
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(at_resolution(x, 4), shrink(x, 4), rtol=0, atol=0)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_blends_stay_in_range(alpha: float) -> None:
    x = torch.randint(0, 2, (4, 3, 8, 8)) * 2.0 - 1
    assert at_resolution(x, 8, alpha).abs().max() <= 1


def test_what_the_lower_resolution_can_show_stays() -> None:
    x = enlarge(torch.randn(2, 3, 4, 4), 8)
    torch.testing.assert_close(at_resolution(x, 8, 0.3), x, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision(dtype: torch.dtype) -> None:
    x = torch.randn(2, 3, 8, 8).to(dtype)
    tolerance = 4 * torch.finfo(dtype).eps
    for side in (4, 3):
        small = shrink(x, side)
        assert small.dtype == dtype
        expected = block_means(x, side)
        torch.testing.assert_close(small.double(), expected, rtol=tolerance, atol=tolerance)
    blended = at_resolution(x, 4, 0.3)
    assert blended.dtype == enlarge(x, 16).dtype == dtype
    expected = 0.7 * repeated(block_means(x, 2), 2) + 0.3 * block_means(x, 4)
    torch.testing.assert_close(blended.double(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("size", "side"), [(4, 2), (4, 3)])
def test_derivatives(size: int, side: int) -> None:
    x = torch.randn(1, 2, size, size, dtype=torch.float64, requires_grad=True)

    def cubed(x: Tensor) -> Tensor:
        return shrink(x, side) ** 3

    def enlarged(x: Tensor) -> Tensor:
        return enlarge(x, 2 * size) ** 3

    for function in (cubed, enlarged):
        torch.autograd.gradcheck(function, x)
        torch.autograd.gradgradcheck(function, x)


def test_keeps_channels_last() -> None:
    x = torch.randn(2, 3, 8, 8).to(memory_format=torch.channels_last)
    for resized in (shrink(x, 4), enlarge(x, 16), at_resolution(x, 4, 0.5)):
        assert resized.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(
        at_resolution(x, 8, 0.5), at_resolution(x.contiguous(), 8, 0.5), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("resize", [shrink, at_resolution])
@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (2, 3, 8, 4), (2, 3, 4, 8), (3, 9, 9), (2, 2)])
def test_refuses_what_is_too_small_or_no_image(resize: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"images of at least 8x8 pixels, got \(") as refusal:
        resize(torch.zeros(shape), 8)
    assert str(shape) in str(refusal.value)
