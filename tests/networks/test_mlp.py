from typing import Any

import pytest
import torch
from torch import nn

from lightning_gan.networks import MLPDiscriminator, MLPGenerator
from tests.toys import flat


@pytest.mark.parametrize("shape", [(2,), (5,), (1, 8, 8), (3, 4, 6)])
@pytest.mark.parametrize("hidden", [(7,), (7, 5, 3)])
def test_shapes(shape: tuple[int, ...], hidden: tuple[int, ...]) -> None:
    samples = MLPGenerator(4, shape, hidden)(torch.randn(3, 4))
    assert samples.shape == (3, *shape)
    assert MLPDiscriminator(shape, hidden)(samples).shape == (3,)


def test_images_are_bounded_and_points_are_not() -> None:
    z = 1e4 * torch.randn(8, 4)
    assert MLPGenerator(4, (1, 4, 4))(z).abs().max() <= 1
    assert MLPGenerator(4, (2,))(z).abs().max() > 1


def test_equals_the_written_formula() -> None:
    generator, discriminator = MLPGenerator(3, (2,), (5, 4)), MLPDiscriminator((2,), (5, 4))
    z, x = torch.randn(6, 3), torch.randn(6, 2)
    w1, b1, w2, b2, w3, b3 = generator.parameters()
    hidden = (z @ w1.T + b1).clamp(min=0) @ w2.T + b2
    expected = hidden.clamp(min=0) @ w3.T + b3
    torch.testing.assert_close(generator(z), expected, rtol=1e-5, atol=1e-5)
    w1, b1, w2, b2, w3, b3 = discriminator.parameters()
    hidden = x @ w1.T + b1
    hidden = torch.maximum(hidden, 0.2 * hidden) @ w2.T + b2
    expected = torch.maximum(hidden, 0.2 * hidden) @ w3.T + b3
    torch.testing.assert_close(discriminator(x), expected[:, 0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("num_classes", [None, 3])
def test_number_of_weights(num_classes: int | None) -> None:
    extra = num_classes or 0
    generator = MLPGenerator(4, (1, 2, 3), (7, 5), num_classes)
    assert flat(generator).numel() == (4 + extra + 1) * 7 + (7 + 1) * 5 + (5 + 1) * 6
    discriminator = MLPDiscriminator((1, 2, 3), (7, 5), num_classes)
    assert flat(discriminator).numel() == ((1 + extra) * 6 + 1) * 7 + (7 + 1) * 5 + 5 + 1


@pytest.mark.parametrize("shape", [(2,), (1, 4, 4)])
def test_labels_change_the_output(shape: tuple[int, ...]) -> None:
    generator = MLPGenerator(4, shape, (8,), num_classes=3)
    discriminator = MLPDiscriminator(shape, (8,), num_classes=3)
    z, x = torch.randn(1, 4).expand(3, 4), torch.randn(1, *shape).expand(3, *shape)
    labels = torch.arange(3)
    for outputs in (generator(z, labels).flatten(1), discriminator(x, labels)[:, None]):
        assert len(outputs.unique(dim=0)) == 3


@pytest.mark.parametrize("network", [MLPGenerator, MLPDiscriminator])
def test_missing_labels(network: Any) -> None:
    with pytest.raises(ValueError, match=rf"'labels' for this {network.__name__}.*num_classes=3"):
        network(num_classes=3)(torch.zeros(2, 2))


def test_wrong_channels() -> None:
    message = r"samples of the shape \(3, 4, 4\) .* MLPDiscriminator .* got \(1, 4, 4\)\."
    with pytest.raises(ValueError, match=message):
        MLPDiscriminator((3, 4, 4))(torch.zeros(2, 1, 4, 4))


@pytest.mark.parametrize("network", [MLPGenerator, MLPDiscriminator])
def test_no_hidden_layer(network: Any) -> None:
    message = r"'hidden' to name at least one layer's width, got none\."
    with pytest.raises(ValueError, match=message):
        network(hidden=())


def test_no_normalization() -> None:
    kinds = {type(layer) for layer in MLPDiscriminator().modules()} - {MLPDiscriminator}
    assert kinds == {nn.Sequential, nn.Flatten, nn.Linear, nn.LeakyReLU}
