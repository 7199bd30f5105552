import json
from typing import Any

import pytest
import torch
from jsonargparse import auto_cli
from torch import Tensor, nn
from torch.nn.functional import softplus

from lightning_gan.networks import (
    DCGANDiscriminator,
    MLPDiscriminator,
    MultiScaleDiscriminator,
    PatchDiscriminator,
)


class Pixels(nn.Module):
    """Returns the first channel as a map of logits."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


class Mean(nn.Module):
    """Returns a logit per sample, its mean over all pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(1, 2, 3))


class As(nn.Module):
    """Returns zeros of a given shape after the samples' dimension."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x), *self.shape)


def pyramid(x: Tensor, scales: int) -> list[Tensor]:
    """Return images at every scale, from the means of blocks of 2x2."""
    images = [x]
    for _ in range(scales - 1):
        n, c, h, w = images[-1].shape
        images.append(images[-1].reshape(n, c, h // 2, 2, w // 2, 2).mean(dim=(3, 5)))
    return images


def test_a_logit_per_scale() -> None:
    networks = [DCGANDiscriminator(side, base_channels=2, norm="none") for side in (32, 16, 8)]
    discriminator, x = MultiScaleDiscriminator(networks), torch.randn(4, 3, 32, 32)
    assert (discriminator.num_classes, discriminator.sample_shape) == (None, (3, 32, 32))
    logits = discriminator(x)
    assert logits.shape == (4, 3)
    for i, image in enumerate(pyramid(x, 3)):
        torch.testing.assert_close(logits[:, i], networks[i](image), rtol=1e-4, atol=1e-6)


def test_coarse_maps_are_repeated() -> None:
    discriminator, x = (
        MultiScaleDiscriminator([Pixels(), Pixels(), Mean()]),
        torch.randn(2, 1, 4, 8),
    )
    logits = discriminator(x)
    assert logits.shape == (2, 3, 4, 8)
    _, half, _ = pyramid(x, 3)
    for i in range(4):
        for j in range(8):
            torch.testing.assert_close(logits[:, 0, i, j], x[:, 0, i, j], rtol=0, atol=0)
            expected = half[:, 0, i // 2, j // 2]
            torch.testing.assert_close(logits[:, 1, i, j], expected, rtol=1e-5, atol=1e-6)
            expected = x.mean(dim=(1, 2, 3))
            torch.testing.assert_close(logits[:, 2, i, j], expected, rtol=1e-5, atol=1e-6)


def test_a_loss_is_the_mean_of_the_scales_losses() -> None:
    x = torch.randn(2, 1, 8, 8)
    loss = softplus(MultiScaleDiscriminator([Pixels()] * 3)(x)).mean()
    losses = torch.stack([softplus(image).mean() for image in pyramid(x, 3)])
    torch.testing.assert_close(loss, losses.mean(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_means_are_exact_where_maps_do_not_fit_each_other(dtype: torch.dtype) -> None:
    """Two patch discriminators on 96 pixels return 10x10 and 4x4 logits, the third 1x1."""
    networks = [PatchDiscriminator(1, 4).to(dtype) for _ in range(3)]
    x = torch.randn(2, 1, 96, 128, dtype=dtype)
    maps = [network(image) for network, image in zip(networks, pyramid(x, 3), strict=True)]
    assert [tuple(m.shape[1:]) for m in maps] == [(10, 14), (4, 6), (1, 2)]
    logits = MultiScaleDiscriminator(networks)(x)
    assert logits.dtype == dtype
    assert logits.shape == (2, 3, 10, 14)
    expected = torch.stack([m.mean(dim=(1, 2)) for m in maps], dim=1)
    torch.testing.assert_close(logits.mean(dim=(2, 3)), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(logits.mean(), expected.mean(), rtol=1e-5, atol=1e-6)
    # Rows 0 to 3 of ten lie within the upper two of four: 0 to 2.5 and 2.5 to 5.
    top = maps[1][:, 0, 0]
    torch.testing.assert_close(logits[:, 1, 0, 0], top, rtol=1e-5, atol=1e-6)
    blended = (maps[1][:, 0, 0] + maps[1][:, 1, 0]) / 2
    torch.testing.assert_close(logits[:, 1, 2, 0], blended, rtol=1e-5, atol=1e-6)


def test_every_coarse_logit_has_the_same_weight() -> None:
    x = torch.zeros(1, 1, 30, 10)
    coarse = torch.randn(1, 14, 4, requires_grad=True)

    class Given(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return coarse

    logits = MultiScaleDiscriminator([Pixels(), Given()])(x)
    assert logits.shape == (1, 2, 30, 10)
    (gradient,) = torch.autograd.grad(logits[:, 1].mean(), coarse)
    torch.testing.assert_close(gradient, torch.full_like(gradient, 1 / 56), rtol=1e-5, atol=0)


def test_autocast_does_not_round_the_shares() -> None:
    class Ones(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.full((1, 14, 14), 1.001)

    network = MultiScaleDiscriminator([Pixels(), Ones()])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(torch.zeros(1, 1, 30, 30))
    torch.testing.assert_close(logits[:, 1], torch.full((1, 30, 30), 1.001), rtol=1e-6, atol=0)


@pytest.mark.parametrize("shape", [(1,), (1, 4, 4)])
def test_logits_with_a_channel_of_their_own(shape: tuple[int, ...]) -> None:
    x = torch.zeros(2, 3, 8, 8)
    assert MultiScaleDiscriminator([As(*shape)] * 2)(x).shape == (2, 2, *shape[1:])
    assert MultiScaleDiscriminator([As(*shape)])(x[:1]).shape == (1, 1, *shape[1:])


@pytest.mark.parametrize("shape", [(3,), (2, 4, 4), (1, 1, 4, 4), ()])
def test_other_logits(shape: tuple[int, ...]) -> None:
    if not shape:
        assert MultiScaleDiscriminator([As()])(torch.zeros(2, 3, 8, 8)).shape == (2, 1)
        return
    message = r"'discriminators\[1\]' to return logits \(N,\) or \(N, H, W\), got \(2, "
    with pytest.raises(ValueError, match=message):
        MultiScaleDiscriminator([As(), As(*shape)])(torch.zeros(2, 3, 8, 8))


def test_labels() -> None:
    networks = [PatchDiscriminator(3, 2, 1, num_classes=3) for _ in range(2)]
    discriminator = MultiScaleDiscriminator(networks)
    assert (discriminator.num_classes, discriminator.sample_shape) == (3, None)
    x, labels = torch.randn(1, 3, 16, 16).expand(3, 3, 16, 16), torch.arange(3)
    logits = discriminator(x, labels)
    assert len(logits[:, 0].flatten(1).unique(dim=0)) == 3
    assert len(logits[:, 1].flatten(1).unique(dim=0)) == 3


def test_every_weight_gets_a_gradient() -> None:
    networks = [DCGANDiscriminator(16, base_channels=2), PatchDiscriminator(3, 2, 1)]
    discriminator = MultiScaleDiscriminator(networks)
    logits = discriminator(torch.randn(3, 3, 16, 16))
    assert logits.shape == (3, 2, 2, 2)
    for gradient in torch.autograd.grad(logits.square().sum(), list(discriminator.parameters())):
        assert gradient.isfinite().all()


def test_slopes_can_be_differentiated() -> None:
    """As gradient penalties do, against finite differences."""
    networks = [PatchDiscriminator(1, 2).double() for _ in range(2)]
    discriminator = MultiScaleDiscriminator(networks)
    x = torch.randn(1, 1, 80, 80, dtype=torch.float64, requires_grad=True)
    weight = networks[1].layers[-1].bias

    def slope(x: Tensor) -> Tensor:
        logits = discriminator(x).tanh()
        (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        return gradient.square().sum()

    assert isinstance(weight, nn.Parameter)
    (actual,) = torch.autograd.grad(slope(x), weight)
    ends = []
    for step in (1e-5, -2e-5):
        weight.data += step
        ends.append(slope(x).detach())
    expected = (ends[0] - ends[1]) / 2e-5
    torch.testing.assert_close(actual, expected.reshape(1), rtol=1e-4, atol=1e-10)


def test_no_discriminators() -> None:
    with pytest.raises(ValueError, match=r"'discriminators' to hold at least one, got none\."):
        MultiScaleDiscriminator([])


def test_different_classes() -> None:
    networks = [PatchDiscriminator(), PatchDiscriminator(num_classes=3)]
    with pytest.raises(ValueError, match=r"to agree in 'num_classes', got \[None, 3\]\."):
        MultiScaleDiscriminator(networks)


def test_a_discriminator_of_the_wrong_size_is_named() -> None:
    networks = [DCGANDiscriminator(16, base_channels=2) for _ in range(2)]
    message = (
        r"'discriminators\[1\]' to take images of the shape \(3, 8, 8\), .*halved 1 times, "
        r"got the error: Expected samples of the shape \(3, 16, 16\)"
    )
    with pytest.raises(ValueError, match=message):
        MultiScaleDiscriminator(networks)(torch.zeros(2, 3, 16, 16))


def test_points_have_no_scales() -> None:
    with pytest.raises(ValueError, match=r"images \(N, C, H, W\), got the shape \(4, 2\)\."):
        MultiScaleDiscriminator([MLPDiscriminator()])(torch.zeros(4, 2))


def test_command_line() -> None:
    def build(network: nn.Module) -> nn.Module:
        return network

    path = "lightning_gan.networks"
    patch: Any = {"class_path": f"{path}.PatchDiscriminator", "init_args": {"base_channels": 2}}
    config: Any = {
        "class_path": f"{path}.MultiScaleDiscriminator",
        "init_args": {"discriminators": [patch, patch]},
    }
    network = auto_cli(build, args=[f"--network={json.dumps(config)}"], as_positional=False)
    assert network(torch.zeros(2, 3, 64, 64)).shape == (2, 2, 6, 6)
