from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_gan.layers import (
    ConditionalBatchNorm2d,
    DownBlock,
    UpBlock,
    attention_maps,
    mixing_layers,
)
from lightning_gan.networks import ResNetDiscriminator, ResNetGenerator
from tests.toys import flat

SIZES: list[Any] = [32, 64, 128]


def convolution(narrow: int, wide: int, side: int = 3) -> int:
    """Return the number of weights of a convolution."""
    return narrow * wide * side**2 + wide


def maps(network: nn.Module, kind: type[nn.Module], x: Tensor) -> list[tuple[int, ...]]:
    """Return the shape (C, H, W) of what each block makes."""
    shapes: list[tuple[int, ...]] = []

    def hook(_: nn.Module, __: Any, output: Tensor) -> None:
        shapes.append(tuple(output.shape[1:]))

    for layer in network.modules():
        if isinstance(layer, kind):
            layer.register_forward_hook(hook)
    with torch.no_grad():
        network(x)
    return shapes


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_shapes_and_range(size: Any, channels: int) -> None:
    options: Any = {"image_size": size, "image_channels": channels, "base_channels": 2}
    images = ResNetGenerator(latent_dim=5, **options)(100 * torch.randn(3, 5))
    assert images.shape == (3, channels, size, size)
    assert images.abs().max() <= 1
    assert ResNetDiscriminator(**options)(images).shape == (3,)


def test_generator_at_32_as_published() -> None:
    """Table 4(a) of the SNGAN paper: three blocks of 256 maps from 4x4x256."""
    generator = ResNetGenerator()
    block = 2 * 2 * 256 + 2 * convolution(256, 256) + convolution(256, 256, 1)
    expected = (128 + 1) * 4 * 4 * 256 + 3 * block + 2 * 256 + convolution(256, 3)
    assert flat(generator).numel() == expected == 4_276_739


def test_discriminator_at_32_as_published() -> None:
    """Table 4(b) of the SNGAN paper: four blocks of 128 maps, of which two halve the image."""
    discriminator = ResNetDiscriminator()
    first = convolution(3, 128) + convolution(128, 128) + convolution(3, 128, 1)
    second = 2 * convolution(128, 128) + convolution(128, 128, 1)
    others = 2 * 2 * convolution(128, 128)
    assert flat(discriminator).numel() == first + second + others + 128 + 1


def test_widths_at_128_as_published() -> None:
    """Table 6 of the SNGAN paper: 1024, 1024, 512, 256, 128, 64 and back."""
    with torch.device("meta"):
        generator, discriminator = ResNetGenerator(image_size=128), ResNetDiscriminator(128)
    widths = [1024, 1024, 512, 256, 128, 64]
    blocks = [m for m in generator.modules() if isinstance(m, UpBlock)]
    expected = [
        2 * (a + b) + convolution(a, b) + convolution(b, b) + convolution(a, b, 1)
        for a, b in pairwise(widths)
    ]
    assert [flat(block).numel() for block in blocks] == expected
    widths = [3, 64, 128, 256, 512, 1024]
    expected = [
        convolution(a, b) + convolution(b, b) + convolution(a, b, 1) for a, b in pairwise(widths)
    ]
    expected.append(2 * convolution(1024, 1024))
    down = [m for m in discriminator.modules() if isinstance(m, DownBlock)]
    assert [flat(block).numel() for block in down] == expected


@pytest.mark.parametrize(
    ("size", "widths"), [(32, [2, 2, 2]), (64, [16, 8, 4, 2]), (128, [32, 16, 8, 4, 2])]
)
def test_maps_of_the_generator(size: Any, widths: list[int]) -> None:
    generator = ResNetGenerator(4, size, base_channels=2)
    expected = [(width, 8 * 2**i, 8 * 2**i) for i, width in enumerate(widths)]
    assert maps(generator, UpBlock, torch.zeros(2, 4)) == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (32, [(2, 16), (2, 8), (2, 8), (2, 8)]),
        (128, [(2, 64), (4, 32), (8, 16), (16, 8), (32, 4), (32, 4)]),
    ],
)
def test_maps_of_the_discriminator(size: Any, expected: list[tuple[int, int]]) -> None:
    discriminator = ResNetDiscriminator(size, base_channels=2)
    shapes = maps(discriminator, DownBlock, torch.zeros(2, 3, size, size))
    assert shapes == [(width, side, side) for width, side in expected]


def test_logit_is_linear_in_the_sum_of_activated_features() -> None:
    network, x = ResNetDiscriminator(base_channels=4), torch.randn(2, 3, 32, 32)
    features: list[Tensor] = []
    last = [m for m in network.modules() if isinstance(m, DownBlock)][-1]
    last.register_forward_hook(lambda _, __, output: features.append(output))
    logits = network(x)
    *_, weight, bias = network.parameters()
    expected = features[0].clamp(min=0).sum((2, 3)) @ weight[0] + bias
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("size", [0, 16, 48, 256])
@pytest.mark.parametrize("network", [ResNetGenerator, ResNetDiscriminator])
def test_wrong_size(network: Any, size: int) -> None:
    message = rf"'image_size' to be one of \[32, 64, 128\], got {size}\."
    with pytest.raises(ValueError, match=message):
        network(image_size=size)


def test_wrong_channels() -> None:
    message = r"samples of the shape \(3, 32, 32\) .* ResNetDiscriminator .* got \(1, 32, 32\)\."
    with pytest.raises(ValueError, match=message):
        ResNetDiscriminator(base_channels=2)(torch.zeros(2, 1, 32, 32))


def test_labels_change_the_output() -> None:
    options: Any = {"base_channels": 4, "num_classes": 3}
    generator = ResNetGenerator(4, **options).eval()
    discriminator = ResNetDiscriminator(**options)
    z, x = torch.randn(1, 4).expand(3, 4), torch.randn(1, 3, 32, 32).expand(3, 3, 32, 32)
    labels = torch.arange(3)
    for outputs in (generator(z, labels).flatten(1), discriminator(x, labels)[:, None]):
        assert len(outputs.unique(dim=0)) == 3


@pytest.mark.parametrize("network", [ResNetGenerator, ResNetDiscriminator])
def test_missing_labels(network: Any) -> None:
    x = torch.zeros(2, 128) if network is ResNetGenerator else torch.zeros(2, 3, 32, 32)
    with pytest.raises(ValueError, match=rf"'labels' for this {network.__name__}.*num_classes=3"):
        network(base_channels=2, num_classes=3)(x)


@pytest.mark.parametrize(("norm", "count"), [("none", 0), ("layer", 7), ("instance", 7)])
def test_discriminator_mixes_no_samples(norm: Any, count: int) -> None:
    network = ResNetDiscriminator(base_channels=4, norm=norm)
    kinds = (nn.InstanceNorm2d, nn.GroupNorm)
    assert sum(isinstance(layer, kinds) for layer in network.modules()) == count
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())
    x = torch.randn(3, 3, 32, 32)
    alone = torch.cat([network(sample[None]) for sample in x])
    torch.testing.assert_close(network(x), alone, rtol=1e-4, atol=1e-4)


def test_initial_weights() -> None:
    """Glorot's uniform bound, times sqrt(2) for a block's 3x3 kernels; no biases."""
    redrawn = ResNetGenerator(16, base_channels=16, attention=[8])
    for weights in redrawn.parameters():
        nn.init.constant_(weights, 7)
    redrawn.initialize()
    for network in (
        ResNetGenerator(16, base_channels=16),
        redrawn,
        ResNetDiscriminator(base_channels=16, attention=[8]),
    ):
        for layer in network.modules():
            if not isinstance(layer, nn.Conv2d | nn.Linear):
                continue
            weight = layer.weight.detach()
            area = weight[0, 0].numel()
            gain = 2**0.5 if area == 9 and layer.out_channels != 3 else 1.0
            bound = gain * (6 / (area * (weight.shape[0] + weight.shape[1]))) ** 0.5
            assert weight.abs().max() <= bound
            assert weight.abs().max() > 0.8 * bound
            assert layer.bias is None or not layer.bias.detach().any()


def test_initial_weights_of_the_projection() -> None:
    head: Any = ResNetDiscriminator(
        base_channels=64, num_classes=10, conditioning="projection"
    ).head
    largest = head.embedding.weight.detach().abs().max().item()
    bound = (6 / (64 + 10)) ** 0.5
    assert 0.9 * bound < largest <= bound


@pytest.mark.parametrize(
    ("size", "sides", "up", "down"),
    [(32, (), [], []), (32, (8, 16), [8, 16], [16, 8]), (128, [32], [32], [32])],
)
def test_attention_follows_the_blocks(
    size: Any, sides: Sequence[int], up: list[int], down: list[int]
) -> None:
    options: Any = {"image_size": size, "base_channels": 8, "attention": sides}
    generator, discriminator = ResNetGenerator(4, **options), ResNetDiscriminator(**options)
    for network, inputs, kind, order in (
        (generator, torch.randn(2, 4), UpBlock, up),
        (discriminator, torch.randn(2, 3, size, size), DownBlock, down),
    ):
        maps = attention_maps(network, inputs)
        assert [m.shape[1] for m in maps.values()] == order
        layers: Any = network.layers
        assert all(isinstance(layers[int(name.removeprefix("layers.")) - 1], kind) for name in maps)


@pytest.mark.parametrize(
    ("network", "size", "sides", "missing"),
    [
        (ResNetGenerator, 32, r"\[8, 16, 32\]", 4),
        (ResNetGenerator, 128, r"\[8, 16, 32, 64, 128\]", 256),
        (ResNetDiscriminator, 32, r"\[8, 16\]", 32),
        (ResNetDiscriminator, 64, r"\[2, 4, 8, 16, 32\]", 64),
        (ResNetDiscriminator, 128, r"\[4, 8, 16, 32, 64\]", 2),
    ],
)
def test_attention_on_a_missing_map(network: Any, size: int, sides: str, missing: int) -> None:
    with pytest.raises(ValueError, match=rf"maps, {sides}, got {missing}\."), torch.device("meta"):
        network(image_size=size, base_channels=8, attention=(8, missing))


def test_conditional_norm_of_the_generator() -> None:
    generator = ResNetGenerator(4, base_channels=4, num_classes=3, conditioning="norm")
    assert generator.latent_channels == 4
    assert not any(isinstance(m, nn.BatchNorm2d) and m.affine for m in generator.modules())
    norms = [layer for layer in generator.modules() if isinstance(layer, ConditionalBatchNorm2d)]
    assert len(norms) == 2 * 3 + 1
    generator.eval()
    z, labels = torch.randn(1, 4).expand(3, 4), torch.arange(3)
    same = generator(z, labels)
    torch.testing.assert_close(same, same[:1].expand_as(same), rtol=1e-4, atol=1e-6)
    for norm in norms:
        nn.init.normal_(norm.gain)
    assert len(generator(z, labels).flatten(1).unique(dim=0)) == 3


@pytest.mark.parametrize("norm", ["instance", "layer", "pixel", "none"])
def test_generator_without_batch_normalization_treats_samples_alone(norm: Any) -> None:
    generator, z = ResNetGenerator(4, base_channels=4, norm=norm), torch.randn(3, 4)
    assert not mixing_layers(generator)
    alone = torch.cat([generator(latent[None]) for latent in z])
    torch.testing.assert_close(generator(z), alone, rtol=1e-4, atol=1e-4)


def test_options_of_the_head() -> None:
    x, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 1, 0])
    assert ResNetDiscriminator(base_channels=4, num_outputs=3)(x).shape == (4, 3)
    options: Any = {"base_channels": 4, "num_classes": 2, "conditioning": "projection"}
    projected = ResNetDiscriminator(minibatch="stddev", **options)
    assert not torch.isclose(projected(x, labels), projected(x, 1 - labels)).any()
    assert mixing_layers(projected) == ["MinibatchStdDev in 'head.minibatch'"]


def test_branches_are_summed_or_averaged() -> None:
    summed = ResNetDiscriminator(base_channels=8)
    averaged = ResNetDiscriminator(base_channels=8, branches="mean")
    averaged.load_state_dict(summed.state_dict())
    x = torch.randn(2, 3, 32, 32)
    assert isinstance(summed.layers, nn.Sequential)
    assert isinstance(averaged.layers, nn.Sequential)
    torch.testing.assert_close(averaged.layers[0](x), summed.layers[0](x) / 2, rtol=1e-5, atol=1e-6)
    branches: Any = "max"
    with pytest.raises(ValueError, match=r"'branches' to be one of \['sum', 'mean'\], got 'max'"):
        ResNetDiscriminator(base_channels=8, branches=branches)
