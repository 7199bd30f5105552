from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradgradcheck
from torch.nn.functional import scaled_dot_product_attention

from lightning_gan.layers import SelfAttention, attention_maps, spectral_normalize


def weight(layer: nn.Conv2d) -> Any:
    return layer.weight.detach()[:, :, 0, 0].numpy()


def pooled(x: Any) -> Any:
    height, width = x.shape[2] // 2, x.shape[3] // 2
    blocks = x[:, :, : 2 * height, : 2 * width].reshape(*x.shape[:2], height, 2, width, 2)
    return blocks.max(axis=(3, 5))


def reference(layer: SelfAttention, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the output and the map (N, H, W, H // 2, W // 2) by the authors' formula."""
    image = x.numpy()
    query = np.einsum("dc,nchw->ndhw", weight(layer.query), image)
    key = pooled(np.einsum("dc,nchw->ndhw", weight(layer.key), image))
    value = pooled(np.einsum("dc,nchw->ndhw", weight(layer.value), image))
    scores = np.einsum("ndhw,ndij->nhwij", query, key)
    if layer.scale:
        scores = scores / np.float32(np.sqrt(query.shape[1]))
    weights = np.exp(scores)
    weights = weights / weights.sum(axis=(3, 4), keepdims=True)
    mixture = np.einsum("nhwij,ndij->ndhw", weights, value)
    output = image + float(layer.gamma.detach()) * np.einsum(
        "cd,ndhw->nchw", weight(layer.out), mixture
    )
    return torch.from_numpy(output), torch.from_numpy(weights)


def build(channels: int = 16, scale: bool = False, gamma: float = 0.7) -> SelfAttention:
    layer = SelfAttention(channels, scale)
    for convolution in (layer.query, layer.key):
        nn.init.normal_(convolution.weight, std=0.5)  # so that the map is far from uniform
    nn.init.constant_(layer.gamma, gamma)
    return layer


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("with_gradient", [True, False])
@pytest.mark.parametrize("size", [(4, 4), (5, 7), (2, 6)])
def test_is_the_formula_of_the_authors(
    scale: bool, with_gradient: bool, size: tuple[int, int]
) -> None:
    layer, x = build(scale=scale), torch.randn(3, 16, *size)
    output, weights = reference(layer, x)
    with torch.set_grad_enabled(with_gradient):
        torch.testing.assert_close(layer(x), output, rtol=1e-4, atol=1e-5)
        found = layer.attention_map(x)
    expected = weights.flatten(3).flatten(1, 2)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    sums = torch.ones(found.shape[:2])
    torch.testing.assert_close(found.sum(dim=2), sums, rtol=1e-5, atol=0)


def test_starts_as_the_identity_from_which_only_gamma_learns() -> None:
    layer, x = SelfAttention(8), torch.randn(2, 8, 4, 4)
    y = layer(x)
    torch.testing.assert_close(y, x, rtol=0, atol=0)
    (y * torch.randn_like(y)).sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None
        assert bool(parameter.grad.any()) == (name == "gamma")


def test_convolutions_have_no_bias_and_the_widths_of_the_authors() -> None:
    shapes = {name: tuple(p.shape) for name, p in SelfAttention(24).named_parameters()}
    assert shapes == {
        "gamma": (),
        "query.weight": (3, 24, 1, 1),
        "key.weight": (3, 24, 1, 1),
        "value.weight": (12, 24, 1, 1),
        "out.weight": (24, 12, 1, 1),
    }


def test_reset_makes_it_the_identity_again() -> None:
    layer, x = build(), torch.randn(1, 16, 4, 4)
    layer.reset_parameters()
    torch.testing.assert_close(layer(x), x, rtol=0, atol=0)


def test_can_be_differentiated_twice() -> None:
    layer = build(8).double()
    x = torch.randn(1, 8, 2, 4, dtype=torch.float64, requires_grad=True)
    assert gradgradcheck(layer, x)


def test_uses_fused_kernels_only_without_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    fused = []

    def watching(*args: Any, **kwargs: Any) -> Tensor:
        fused.append(torch.backends.cuda.mem_efficient_sdp_enabled())
        return scaled_dot_product_attention(*args, **kwargs)

    name = "lightning_gan.layers.attention.scaled_dot_product_attention"
    monkeypatch.setattr(name, watching)
    layer, x = build(8), torch.randn(1, 8, 4, 4)
    layer(x)
    with torch.no_grad():
        layer(x)
    assert fused == [False, True]


def test_keeps_half_precision_under_autocast() -> None:
    layer, x = build(8), torch.randn(2, 8, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x.bfloat16())
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), layer(x), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("channels", [0, 7])
def test_refuses_too_few_channels(channels: int) -> None:
    with pytest.raises(ValueError, match=f"at least 8, .* got {channels}"):
        SelfAttention(channels)


@pytest.mark.parametrize("size", [(1, 4), (4, 1)])
def test_refuses_a_side_of_1(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="sides of at least 2"):
        SelfAttention(8)(torch.zeros(1, 8, *size))


def test_maps_of_a_network_by_name() -> None:
    first, second = build(8), build(16)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.Sequential(first), nn.Dropout(), nn.Conv2d(8, 16, 1), second
    )
    x = torch.randn(2, 3, 4, 6)
    maps = attention_maps(network, x)
    assert list(maps) == ["1.0", "4"]
    with torch.no_grad():
        inputs = network[0](x)
        expected = reference(first, inputs)[1], reference(second, network[3](first(inputs)))[1]
    for found, right in zip(maps.values(), expected, strict=True):
        assert not found.requires_grad
        assert found.shape == (2, 4, 6, 2, 3)
        torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-5)


def test_maps_leave_the_network_as_it_was() -> None:
    layer, frozen = build(8), nn.Dropout().eval()
    network = spectral_normalize(nn.Sequential(nn.BatchNorm2d(8), layer, frozen))
    modes = [module.training for module in network.modules()]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    attention_maps(network, torch.randn(2, 8, 4, 4))
    torch.testing.assert_close(dict(network.state_dict()), before, rtol=0, atol=0)
    assert [module.training for module in network.modules()] == modes
    assert not layer._forward_pre_hooks


def test_maps_of_a_network_without_attention_are_none() -> None:
    assert attention_maps(nn.Identity(), torch.zeros(1)) == {}
