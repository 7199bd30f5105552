from typing import Any

import pytest
import torch
from torch import nn

from lightning_gan.functional import gradient_penalty
from lightning_gan.networks import UnrolledDiscriminator, UnrolledGenerator
from tests.toys import flat


def test_shapes_and_range() -> None:
    images = UnrolledGenerator(latent_dim=8)(100 * torch.randn(3, 8))
    assert images.shape == (3, 3, 28, 28)
    assert images.abs().max() <= 1
    assert UnrolledDiscriminator()(images).shape == (3,)


@pytest.mark.parametrize(
    ("network", "number"),
    [
        (UnrolledGenerator, 287_875),
        (UnrolledDiscriminator, 585),
        (lambda: UnrolledDiscriminator(base_channels=4), 1_889),
        (lambda: UnrolledDiscriminator(image_channels=12, minibatch="stddev"), 585 + 9 * 9 * 2 + 1),
    ],
)
def test_as_many_weights_as_published(network: Any, number: int) -> None:
    assert flat(network()).numel() == number


def test_sides_of_the_maps() -> None:
    sides: list[int] = []
    generator, discriminator = UnrolledGenerator(), UnrolledDiscriminator()
    for layer in nn.Sequential(generator, discriminator).modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(lambda *args: sides.append(args[2].shape[-1]))
    discriminator(generator(torch.zeros(2, 256)))
    assert sides == [7, 14, 28, 28, 14, 7, 4]


@pytest.mark.parametrize("norm", ["none", "layer", "instance"])
def test_takes_a_gradient_penalty_without_batch_norm(norm: Any) -> None:
    network, images = UnrolledDiscriminator(norm=norm), torch.randn(4, 3, 28, 28)
    gradient_penalty(network, images, -images).backward()
    assert all(p.grad is not None for p in network.layers.parameters() if p.dim() > 1)


@pytest.mark.parametrize("network", [UnrolledGenerator, UnrolledDiscriminator])
def test_refuses_no_channels(network: Any) -> None:
    with pytest.raises(ValueError, match=r"'base_channels' to be at least 1, got 0\."):
        network(base_channels=0)
