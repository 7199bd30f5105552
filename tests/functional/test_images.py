from fractions import Fraction

import pytest
import torch

from lightning_gan.functional import to_uint8


def test_bytes_survive_the_round_trip() -> None:
    expected = torch.arange(256, dtype=torch.uint8)
    images = expected.float() / 127.5 - 1
    torch.testing.assert_close(to_uint8(images), expected, rtol=0, atol=0)


def test_rounds_to_the_nearest_byte() -> None:
    images = torch.linspace(-1, 1, 1001)
    exact = [(Fraction(x) + 1) * Fraction(255, 2) for x in images.tolist()]
    distances = [abs(y - e) for y, e in zip(to_uint8(images).tolist(), exact, strict=True)]
    assert max(distances) <= Fraction(1, 2) + Fraction(1, 10**4)


def test_clamps() -> None:
    images = torch.tensor([-1.01, -7.0, 1.01, 7.0, float("inf"), -float("inf")])
    assert to_uint8(images).tolist() == [0, 0, 255, 255, 255, 0]


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4, 5)])
def test_keeps_the_shape(shape: tuple[int, ...]) -> None:
    result = to_uint8(torch.zeros(shape))
    assert result.shape == shape
    assert result.dtype == torch.uint8


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_precisions_are_within_one_byte(dtype: torch.dtype) -> None:
    images = torch.arange(256.0) / 127.5 - 1
    values = to_uint8(images.to(dtype)).long()
    torch.testing.assert_close(values, torch.arange(256), rtol=0, atol=1)


def test_leaves_its_input_alone() -> None:
    images = torch.full((3,), 2.0)
    to_uint8(images)
    assert images.tolist() == [2, 2, 2]
