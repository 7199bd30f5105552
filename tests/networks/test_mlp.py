from typing import Any

import pytest
import torch
from torch import nn

from lightning_gan.networks import Head, MaxoutDiscriminator, MLPDiscriminator, MLPGenerator
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
    generator = MLPGenerator(4, (1, 2, 3), (7, 5), num_classes=num_classes)
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


@pytest.mark.parametrize("network", [MLPGenerator, MLPDiscriminator, MaxoutDiscriminator])
def test_no_hidden_layer(network: Any) -> None:
    message = r"'hidden' to name at least one layer's width, got none\."
    with pytest.raises(ValueError, match=message):
        network(hidden=())


def test_no_normalization() -> None:
    kinds = {type(layer) for layer in MLPDiscriminator().modules()} - {MLPDiscriminator}
    assert kinds == {nn.Sequential, nn.Flatten, nn.Linear, nn.LeakyReLU, Head, nn.Identity}


@pytest.mark.parametrize("shape", [(2,), (1, 4, 4)])
def test_options_of_the_head(shape: tuple[int, ...]) -> None:
    x, labels = torch.randn(6, *shape), torch.arange(6) % 3
    assert MLPDiscriminator(shape, (8,), num_outputs=5)(x).shape == (6, 5)
    several = MLPDiscriminator(shape, (8,), num_classes=3, num_outputs=5)
    assert several(x, labels).shape == (6, 5)
    projected = MLPDiscriminator(shape, (8,), 3, "projection")
    assert projected(x, labels).shape == (6,)
    assert not torch.isclose(projected(x, labels), projected(x, (labels + 1) % 3)).any()
    for minibatch, extra in (("stddev", 1), ("discrimination", 100)):
        mixing: Any = MLPDiscriminator(shape, (8,), minibatch=minibatch)  # type: ignore[arg-type]
        assert mixing.head.linear.in_features == 8 + extra
        assert mixing(x).shape == (6,)
        alone = torch.cat([mixing(sample[None]) for sample in x])
        assert not torch.allclose(mixing(x), alone)


def test_batch_norm_is_that_of_each_hidden_layer() -> None:
    generator = MLPGenerator(3, (2,), hidden=(5, 4), norm="batch")
    z = torch.randn(7, 3)
    x = z
    parameters = dict(generator.layers.named_parameters())
    for linear, norm in (("0", "1"), ("3", "4")):
        x = x @ parameters[f"{linear}.weight"].T + parameters[f"{linear}.bias"]
        x = (x - x.mean(dim=0)) / (x.var(dim=0, correction=0) + 1e-5).sqrt()
        x = (x * parameters[f"{norm}.weight"] + parameters[f"{norm}.bias"]).clamp(min=0)
    expected = x @ parameters["6.weight"].T + parameters["6.bias"]
    torch.testing.assert_close(generator(z), expected, rtol=1e-4, atol=1e-5)


def test_pixel_norm_of_hidden_layers() -> None:
    generator = MLPGenerator(3, (2,), hidden=(5,), norm="pixel")
    assert isinstance(generator.layers, torch.nn.Sequential)
    normalized = generator.layers[:2](torch.randn(7, 3))
    torch.testing.assert_close(normalized.square().mean(dim=1), torch.ones(7), rtol=1e-4, atol=1e-4)


def test_unknown_norm() -> None:
    norm: Any = "layer"
    with pytest.raises(ValueError, match=r"'norm' to be one of \['batch', 'pixel', 'none'\]"):
        MLPGenerator(norm=norm)


def test_maxout_has_as_many_weights_as_pacgans() -> None:
    assert flat(MaxoutDiscriminator()).numel() == 405_201
    assert flat(MaxoutDiscriminator((4,))).numel() == 405_201 + 2 * 1000  # packs of two
    assert MaxoutDiscriminator((1, 4, 4), (6, 5), pieces=2, num_classes=3).channels == 4


def test_maxout_equals_the_written_formula() -> None:
    network, x = MaxoutDiscriminator((2,), (4, 3), pieces=2), torch.randn(6, 2)
    w1, b1, w2, b2, w3, b3 = network.parameters()
    hidden = x
    for weight, bias, units in ((w1, b1, 4), (w2, b2, 3)):
        affine = hidden @ weight.T + bias
        hidden = torch.maximum(affine[:, :units], affine[:, units:])
    torch.testing.assert_close(network(x), (hidden @ w3.T + b3)[:, 0], rtol=1e-5, atol=1e-5)
