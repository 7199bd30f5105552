import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lightning_gan.layers import (
    equalize_learning_rate,
    redraw_equalized,
    spectral_normalize,
)

LAYERS: list[tuple[Callable[[], nn.Module], int]] = [
    (lambda: nn.Linear(300, 200), 300),
    (lambda: nn.Conv1d(40, 60, 3), 120),
    (lambda: nn.Conv2d(40, 60, (3, 2)), 240),
    (lambda: nn.Conv2d(40, 60, 3, groups=4), 90),
    (lambda: nn.ConvTranspose2d(40, 60, 3), 360),
    (lambda: nn.ConvTranspose2d(40, 80, 3, groups=4), 90),
]


def stored(layer: nn.Module) -> Tensor:
    (weight,) = (p for name, p in layer.named_parameters() if name.endswith("original"))
    return weight.detach()


@pytest.mark.parametrize(("build", "fan_in"), LAYERS)
@pytest.mark.parametrize("gain", [2**0.5, 1.0])
def test_stores_unit_variance_and_scales_by_the_fan_in(
    build: Callable[[], nn.Module], fan_in: int, gain: float
) -> None:
    layer = build()
    assert equalize_learning_rate(layer, gain) is layer
    assert isinstance(layer.weight, Tensor)
    assert isinstance(layer.bias, Tensor)
    expected = stored(layer) * gain / fan_in**0.5
    torch.testing.assert_close(layer.weight.detach(), expected, rtol=1e-6, atol=0)
    assert abs(float(stored(layer).std()) - 1) < 0.05
    assert abs(float(stored(layer).mean())) < 0.05
    assert not layer.bias.any()


@pytest.mark.parametrize("gain", [2**0.5, 1.0])
def test_output_has_the_variance_of_the_gain(gain: float) -> None:
    linear = equalize_learning_rate(nn.Linear(400, 300), gain)
    assert float(linear(torch.randn(100, 400)).detach().var()) == pytest.approx(gain**2, rel=0.05)
    conv = equalize_learning_rate(nn.Conv2d(32, 64, 3), gain)
    y = conv(torch.randn(4, 32, 18, 18)).detach()
    assert float(y.var()) == pytest.approx(gain**2, rel=0.1)


def test_gradient_of_the_stored_weight_is_scaled() -> None:
    layer = equalize_learning_rate(nn.Linear(8, 1, bias=False), gain=2.0)
    x = torch.randn(1, 8)
    layer(x).sum().backward()
    (parameter,) = layer.parameters()
    assert parameter.grad is not None
    torch.testing.assert_close(parameter.grad, x * 2 / 8**0.5, rtol=1e-6, atol=0)


def test_leaves_alone_what_is_scaled_and_other_layers() -> None:
    first, last = nn.Linear(8, 8), nn.Linear(8, 1, bias=False)
    network = nn.Sequential(first, nn.BatchNorm1d(8), last)
    equalize_learning_rate(last, gain=1.0)
    before = copy.deepcopy(last.state_dict())
    equalize_learning_rate(network)
    equalize_learning_rate(network)
    torch.testing.assert_close(last.state_dict(), before, rtol=0, atol=0)
    names = {name for name, _ in network.named_parameters()}
    scaled = "parametrizations.weight.original"
    assert names == {f"0.{scaled}", "0.bias", "1.weight", "1.bias", f"2.{scaled}"}
    weight = stored(first) * 2**0.5 / 8**0.5
    torch.testing.assert_close(first.weight.detach(), weight, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_keeps_the_precision_and_survives_copies(dtype: torch.dtype) -> None:
    layer = equalize_learning_rate(nn.Conv2d(2, 3, 3)).to(dtype)
    x = torch.randn(1, 2, 4, 4, dtype=dtype)
    y = layer(x)
    assert y.dtype == dtype
    torch.testing.assert_close(copy.deepcopy(layer)(x), y, rtol=0, atol=0)
    other = equalize_learning_rate(nn.Conv2d(2, 3, 3)).to(dtype)
    other.load_state_dict(layer.state_dict())
    torch.testing.assert_close(other(x), y, rtol=0, atol=0)


def test_assigned_weights_are_those_that_are_used() -> None:
    layer, weight = equalize_learning_rate(nn.Linear(3, 2)), torch.randn(2, 3)
    layer.weight = weight
    torch.testing.assert_close(layer.weight.detach(), weight, rtol=1e-6, atol=0)


def test_refuses_a_gain_of_0() -> None:
    with pytest.raises(ValueError, match="'gain' to be positive, got 0"):
        equalize_learning_rate(nn.Linear(1, 1), gain=0)


def test_normalised_weights_are_refused_and_kept() -> None:
    network = nn.Sequential(nn.Linear(3, 4), spectral_normalize(nn.Linear(4, 2)))
    before = [p.clone() for p in network.parameters()]
    with pytest.raises(ValueError, match="Equalise first, normalise after that"):
        equalize_learning_rate(network)
    for old, new in zip(before, network.parameters(), strict=True):
        torch.testing.assert_close(old, new, rtol=0, atol=0)
    spectral_normalize(equalize_learning_rate(nn.Linear(3, 4)))


@pytest.mark.parametrize(("build", "fan_in"), LAYERS)
def test_redraws_unit_variance_and_keeps_the_scale(
    build: Callable[[], nn.Module], fan_in: int
) -> None:
    layer = equalize_learning_rate(build(), gain=3.0)
    before = stored(layer).clone()
    assert isinstance(layer.bias, Tensor)
    nn.init.constant_(layer.bias, 7)
    redraw_equalized(layer)
    assert isinstance(layer.weight, Tensor)
    assert not torch.isclose(stored(layer), before, rtol=1e-4, atol=0).all()
    assert abs(float(stored(layer).std()) - 1) < 0.05
    assert abs(float((stored(layer) * before).mean())) < 0.05  # independent of the old ones
    expected = stored(layer) * 3 / fan_in**0.5
    torch.testing.assert_close(layer.weight.detach(), expected, rtol=1e-6, atol=0)
    assert not layer.bias.any()


def test_redraws_scaled_layers_alone() -> None:
    scaled = equalize_learning_rate(nn.Linear(8, 8, bias=False))
    network = nn.Sequential(
        scaled, nn.Linear(8, 8), spectral_normalize(nn.Linear(8, 8)), nn.Embedding(3, 8)
    )
    before = copy.deepcopy(network.state_dict())
    weights = list(network.parameters())
    redraw_equalized(network)
    after = network.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {"0.parametrizations.weight.original"}
    for old, new in zip(weights, network.parameters(), strict=True):
        assert old is new  # an optimiser that holds them goes on
