from typing import get_args

import pytest
import torch

from lightning_gan.layers import Normalization, normalization

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
