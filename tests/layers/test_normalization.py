from typing import get_args

import pytest
import torch

from lightning_gan.layers import (
    ConditionalBatchNorm2d,
    Normalization,
    PixelNorm,
    VectorBatchNorm2d,
    normalization,
)

AXES: dict[Normalization, tuple[int, ...]] = {
    "batch": (0, 2, 3),
    "instance": (2, 3),
    "layer": (1, 2, 3),
}


@pytest.mark.parametrize("kind", AXES)
def test_statistics_are_those_of_its_axes(kind: Normalization) -> None:
    x = 2 + 3 * torch.randn(4, 6, 5, 7)
    axes = AXES[kind]
    mean = x.mean(axes, keepdim=True)
    variance = x.var(axes, unbiased=False, keepdim=True)
    expected = (x - mean) / (variance + 1e-5).sqrt()
    torch.testing.assert_close(normalization(kind, 6)(x), expected, rtol=1e-5, atol=1e-5)


def test_none_is_the_identity() -> None:
    layer, x = normalization("none", 6), torch.randn(2, 6, 3, 3)
    torch.testing.assert_close(layer(x), x, rtol=0, atol=0)
    assert not list(layer.parameters())


@pytest.mark.parametrize("kind", AXES)
def test_has_a_scale_and_a_shift_per_channel(kind: Normalization) -> None:
    shapes = [tuple(p.shape) for p in normalization(kind, 6).parameters()]
    assert shapes == [(6,), (6,)]


@pytest.mark.parametrize("kind", get_args(Normalization))
def test_only_batch_normalization_mixes_samples(kind: Normalization) -> None:
    layer, x = normalization(kind, 6), torch.randn(4, 6, 5, 5)
    alone = torch.cat([layer(sample[None]) for sample in x])
    same = torch.allclose(layer(x), alone, rtol=1e-5, atol=1e-5)
    assert same == (kind != "batch")


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 2, 4)])
def test_pixel_norm_gives_channels_a_mean_square_of_1(shape: tuple[int, ...]) -> None:
    x = 3 * torch.randn(shape, dtype=torch.float64)
    y = PixelNorm()(x)
    ones = torch.ones(3, *shape[2:], dtype=torch.float64)
    torch.testing.assert_close(y.square().mean(dim=1), ones, rtol=1e-6, atol=0)
    ratio = y / x
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(x), rtol=1e-12, atol=0)


def test_pixel_norm_of_small_values_is_damped_by_its_epsilon() -> None:
    x = torch.tensor([[1e-4, -1e-4], [0.0, 0.0]])
    expected = torch.tensor([[2**-0.5, -(2**-0.5)], [0.0, 0.0]])
    torch.testing.assert_close(PixelNorm()(x), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [0.0, 1000.0])
def test_pixel_norm_neither_overflows_nor_divides_by_0_in_half(
    dtype: torch.dtype, size: float
) -> None:
    y = PixelNorm()(torch.full((1, 4), size, dtype=dtype))
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), torch.full((1, 4), float(size > 0)), rtol=1e-2, atol=0)


def test_classes_make_batch_normalization_conditional() -> None:
    layer = normalization("batch", 6, num_classes=3)
    assert isinstance(layer, ConditionalBatchNorm2d)
    assert layer.gain.shape == (3, 6)


@pytest.mark.parametrize("kind", ["instance", "layer", "pixel", "none"])
def test_refuses_classes_for_other_kinds(kind: Normalization) -> None:
    with pytest.raises(ValueError, match=f"'batch' where it is conditional .* got '{kind}'"):
        normalization(kind, 6, num_classes=3)


def test_vectors_make_batch_normalization_conditional() -> None:
    layer = normalization("batch", 6, vector_dim=3)
    assert isinstance(layer, VectorBatchNorm2d)
    assert layer.gain.weight.shape == (6, 3)


@pytest.mark.parametrize("kind", ["instance", "layer", "pixel", "none"])
def test_refuses_vectors_for_other_kinds(kind: Normalization) -> None:
    with pytest.raises(ValueError, match=f"'batch' where it is conditional on vec.* got '{kind}'"):
        normalization(kind, 6, vector_dim=3)


def test_refuses_classes_together_with_vectors() -> None:
    message = r"Expected 'num_classes' or 'vector_dim' to be None, got 2 and 3\."
    with pytest.raises(ValueError, match=message):
        normalization("batch", 6, num_classes=2, vector_dim=3)
