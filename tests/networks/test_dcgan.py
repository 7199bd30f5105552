from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from lightning_gan.layers import ConditionalBatchNorm2d, PixelNorm, attention_maps, mixing_layers
from lightning_gan.networks import DCGANDiscriminator, DCGANGenerator
from tests.toys import flat

NORMS = (nn.BatchNorm2d, nn.InstanceNorm2d, nn.GroupNorm, PixelNorm)
SIZES = [8, 16, 32, 64, (8, 16), (32, 8), (8, 24)]


def sides(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def maps(network: nn.Module, x: Tensor) -> list[tuple[int, ...]]:
    """Return the shape (C, H, W) of what each convolution makes."""
    shapes: list[tuple[int, ...]] = []

    def hook(_: nn.Module, __: Any, output: Tensor) -> None:
        shapes.append(tuple(output.shape[1:]))

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(hook)
    network(x)
    return shapes


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_shapes_and_range(size: int | tuple[int, int], channels: int) -> None:
    options: Any = {"image_size": size, "image_channels": channels, "base_channels": 2}
    generator = DCGANGenerator(latent_dim=5, **options)
    images = generator(100 * torch.randn(4, 5))
    assert images.shape == (4, channels, *sides(size))
    assert images.abs().max() <= 1
    assert DCGANDiscriminator(**options)(images).shape == (4,)


def test_1024_pixels() -> None:
    options: Any = {"image_size": 1024, "image_channels": 1, "base_channels": 1, "max_channels": 4}
    generator = DCGANGenerator(latent_dim=2, **options).eval()
    discriminator = DCGANDiscriminator(norm="none", **options)
    with torch.no_grad():
        images = generator(torch.randn(1, 2))
        assert images.shape == (1, 1, 1024, 1024)
        assert discriminator(images).shape == (1,)


def test_generator_of_the_paper() -> None:
    """Figure 1: 100 numbers, then 4x4x1024, 8x8x512, 16x16x256, 32x32x128, 64x64x3."""
    generator = DCGANGenerator(image_size=64, base_channels=128)
    expected = [(1024, 4, 4), (512, 8, 8), (256, 16, 16), (128, 32, 32), (3, 64, 64)]
    assert maps(generator, torch.zeros(2, 100)) == expected
    kernels = 16 * (100 * 1024 + 1024 * 512 + 512 * 256 + 256 * 128 + 128 * 3)
    batch_norms = 2 * (1024 + 512 + 256 + 128)
    assert flat(generator).numel() == kernels + batch_norms + 3


def test_weights_are_as_many_as_in_the_tutorial_of_pytorch() -> None:
    """Its 64x64 pair of 64 maps has 3,576,704 and 2,765,568 weights, and no biases."""
    assert flat(DCGANGenerator(image_size=64)).numel() == 3_576_704 + 3
    assert flat(DCGANDiscriminator(image_size=64)).numel() == 2_765_568 + 64 + 1


def test_widths_double_up_to_their_bound() -> None:
    options: Any = {"image_size": 64, "image_channels": 1, "base_channels": 3}
    x, z = torch.zeros(2, 1, 64, 64), torch.zeros(2, 100)
    down = [(3, 32, 32), (6, 16, 16), (12, 8, 8), (24, 4, 4)]
    assert maps(DCGANDiscriminator(**options), x) == down
    up = [(24, 4, 4), (12, 8, 8), (6, 16, 16), (3, 32, 32), (1, 64, 64)]
    assert maps(DCGANGenerator(**options), z) == up
    bounded = maps(DCGANDiscriminator(max_channels=10, **options), x)
    assert [shape[0] for shape in bounded] == [3, 6, 10, 10]
    bounded = maps(DCGANGenerator(max_channels=10, **options), z)
    assert [shape[0] for shape in bounded] == [10, 10, 6, 3, 1]


def test_smallest_map_of_a_wide_image() -> None:
    options: Any = {"image_size": (16, 48), "image_channels": 1, "base_channels": 2}
    assert maps(DCGANGenerator(**options), torch.zeros(2, 100))[0] == (4, 4, 12)
    assert maps(DCGANDiscriminator(**options), torch.zeros(2, 1, 16, 48))[-1] == (4, 4, 12)


@pytest.mark.parametrize("size", [0, 2, 4, 12, 24, (4, 8), (8, 12), (16, 24), (6, 6), -8])
def test_wrong_size(size: int | tuple[int, int]) -> None:
    message = r"'(image_size|sample_shape)' to .*, got \("
    with pytest.raises(ValueError, match=message):
        DCGANGenerator(image_size=size)
    with pytest.raises(ValueError, match=message):
        DCGANDiscriminator(image_size=size)


def test_wrong_size_names_the_rule() -> None:
    message = r"'image_size' to have a power of two of at least 8 .*, got \(12, 12\)\."
    with pytest.raises(ValueError, match=message):
        DCGANGenerator(image_size=12)


def test_wrong_channels() -> None:
    message = r"Expected samples of the shape \(3, 8, 8\) .* DCGANDiscriminator .* \(1, 8, 8\)\."
    with pytest.raises(ValueError, match=message):
        DCGANDiscriminator(image_size=8, base_channels=2)(torch.zeros(2, 1, 8, 8))


def test_labels_change_the_output() -> None:
    options: Any = {"image_size": 8, "base_channels": 2, "num_classes": 3}
    generator = DCGANGenerator(latent_dim=4, **options).eval()
    discriminator = DCGANDiscriminator(norm="layer", **options)
    z, x = torch.randn(1, 4).expand(3, 4), torch.randn(1, 3, 8, 8).expand(3, 3, 8, 8)
    labels = torch.arange(3)
    for outputs in (generator(z, labels).flatten(1), discriminator(x, labels)[:, None]):
        assert len(outputs.unique(dim=0)) == 3


@pytest.mark.parametrize("network", [DCGANGenerator, DCGANDiscriminator])
def test_missing_labels(network: type[DCGANGenerator] | type[DCGANDiscriminator]) -> None:
    conditional = network(image_size=8, base_channels=2, num_classes=3)
    x = torch.zeros(2, 100) if network is DCGANGenerator else torch.zeros(2, 3, 8, 8)
    with pytest.raises(ValueError, match=rf"'labels' for this {network.__name__}.*num_classes=3"):
        conditional(x)


@pytest.mark.parametrize("norm", ["none", "layer", "instance"])
def test_only_batch_normalization_mixes_samples(norm: Any) -> None:
    torch.manual_seed(0)
    network, x = DCGANDiscriminator(16, 1, base_channels=4, norm=norm), torch.randn(3, 1, 16, 16)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())
    alone = torch.cat([network(sample[None]) for sample in x])
    torch.testing.assert_close(network(x), alone, rtol=1e-4, atol=1e-5)
    mixing = DCGANDiscriminator(16, 1, base_channels=4)
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in mixing.modules()) == 1


@pytest.mark.parametrize("norm", ["batch", "instance", "layer", "pixel", "none"])
def test_first_and_last_maps_are_not_normalized(norm: Any) -> None:
    network = DCGANDiscriminator(32, base_channels=2, norm=norm)
    names = [type(layer).__name__ for layer in network.layers.children()]
    assert names[:3] == ["Conv2d", "LeakyReLU", "Conv2d"]
    assert names[-1] == "Flatten"
    normalized = sum(isinstance(layer, NORMS) for layer in network.modules())
    assert normalized == (0 if norm == "none" else 2)
    unshifted = norm in ("pixel", "none")
    biases = [m.bias is not None for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert biases == [True, unshifted, unshifted]


@pytest.mark.parametrize("norm", ["batch", "instance", "layer", "pixel", "none"])
def test_norm_of_the_generator(norm: Any) -> None:
    network = DCGANGenerator(4, 16, base_channels=2, norm=norm)
    normalized = sum(isinstance(layer, NORMS) for layer in network.modules())
    assert normalized == (0 if norm == "none" else 2)
    unshifted = norm in ("pixel", "none")
    biases = [m.bias is not None for m in network.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert biases == [unshifted, unshifted, True]
    z = torch.randn(3, 4)
    alone = torch.cat([network(latent[None]) for latent in z])
    assert torch.allclose(network(z), alone, rtol=1e-4, atol=1e-5) == (norm != "batch")


def test_logit_is_a_convolution_over_the_smallest_map() -> None:
    network, x = DCGANDiscriminator((8, 16), base_channels=3), torch.randn(2, 3, 8, 16)
    conv, activation, _ = network.layers.children()
    *_, weight, bias = network.parameters()
    expected = conv2d(activation(conv(x)), weight.reshape(1, 3, 4, 8), bias)
    assert expected.shape == (2, 1, 1, 1)
    torch.testing.assert_close(network(x), expected.flatten(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("sides", "expected"), [((), []), ((4,), [4]), ((16, 8), [8, 16]), ([4, 8, 16], [4, 8, 16])]
)
@pytest.mark.parametrize("shape", [(32, 32), (96, 32)])
def test_attention_follows_the_maps(
    shape: tuple[int, int], sides: Sequence[int], expected: list[int]
) -> None:
    options: Any = {"image_size": shape, "base_channels": 8, "attention": sides}
    generator, discriminator = DCGANGenerator(4, **options), DCGANDiscriminator(**options)
    x = torch.randn(2, 3, *shape)
    for network, inputs, order in (
        (generator, torch.randn(2, 4), expected),
        (discriminator, x, expected[::-1]),
    ):
        maps = attention_maps(network, inputs)
        assert [min(m.shape[1:3]) for m in maps.values()] == order
        for name in maps:
            place = int(name.removeprefix("layers."))
            assert isinstance(list(network.layers.children())[place - 1], nn.ReLU | nn.LeakyReLU)


@pytest.mark.parametrize("side", [2, 3, 32, 64])
def test_attention_on_a_missing_map(side: int) -> None:
    message = rf"'attention' to hold .* maps, \[4, 8, 16\], got {side}\."
    for network in (DCGANGenerator, DCGANDiscriminator):
        with pytest.raises(ValueError, match=message):
            network(image_size=(32, 64), base_channels=8, attention=(8, side))


def test_conditional_norm_of_the_generator() -> None:
    generator = DCGANGenerator(4, 16, base_channels=4, num_classes=3, conditioning="norm")
    assert generator.latent_channels == 4
    assert not any(
        isinstance(layer, nn.BatchNorm2d) and layer.affine for layer in generator.modules()
    )
    norms = [layer for layer in generator.modules() if isinstance(layer, ConditionalBatchNorm2d)]
    assert len(norms) == 2
    generator.eval()
    z, labels = torch.randn(1, 4).expand(3, 4), torch.arange(3)
    same = generator(z, labels)
    torch.testing.assert_close(same, same[:1].expand_as(same), rtol=1e-4, atol=1e-6)
    for norm in norms:
        nn.init.normal_(norm.gain)
    assert len(generator(z, labels).flatten(1).unique(dim=0)) == 3
    with pytest.raises(ValueError, match=r"'labels' for this DCGANGenerator"):
        generator(z)


def test_conditional_norm_is_batch_normalization() -> None:
    with pytest.raises(ValueError, match=r"'norm' to be 'batch' .*, got 'layer'\."):
        DCGANGenerator(num_classes=3, conditioning="norm", norm="layer")


@pytest.mark.parametrize("minibatch", ["none", "stddev", "discrimination"])
def test_options_of_the_head(minibatch: Any) -> None:
    options: Any = {"image_size": 8, "base_channels": 2, "norm": "none", "minibatch": minibatch}
    x, labels = torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 1, 0])
    several = DCGANDiscriminator(num_outputs=3, **options)
    assert several(x).shape == (4, 3)
    assert bool(mixing_layers(several)) == (minibatch != "none")
    projected = DCGANDiscriminator(num_classes=2, conditioning="projection", **options)
    logits = projected(x, labels)
    assert logits.shape == (4,)
    assert not torch.isclose(logits, projected(x, 1 - labels)).any()


def test_initial_weights() -> None:
    """Section 4: N(0, 0.02) for kernels; scales of batch normalisation around 1."""
    redrawn = DCGANGenerator(32, 32)
    for weights in redrawn.parameters():
        nn.init.constant_(weights, 7)
    redrawn.initialize()
    projected = DCGANDiscriminator(32, num_classes=9, conditioning="projection")
    for network in (DCGANGenerator(32, 32), redrawn, projected):
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.Embedding):
                weight = layer.weight.detach()
                error = 5 * 0.02 / weight.numel() ** 0.5
                assert weight.std().item() == pytest.approx(0.02, abs=error)
                assert weight.mean().item() == pytest.approx(0, abs=error)
            elif isinstance(layer, nn.BatchNorm2d):
                scale = layer.weight.detach()
                assert scale.mean().item() == pytest.approx(1, abs=0.02)
                assert scale.std().item() == pytest.approx(0.02, rel=0.5)
                assert not layer.bias.detach().any()


def test_every_weight_gets_a_gradient() -> None:
    options: Any = {"image_size": 16, "base_channels": 2, "num_classes": 2}
    generator, discriminator = DCGANGenerator(4, **options), DCGANDiscriminator(**options)
    labels = torch.tensor([0, 1, 1])
    logits = discriminator(generator(torch.randn(3, 4), labels), labels)
    weights = [*generator.parameters(), *discriminator.parameters()]
    for gradient in torch.autograd.grad(logits.square().sum(), weights):
        assert gradient.isfinite().all()
