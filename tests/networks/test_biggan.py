from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_gan.layers import (
    DownBlock,
    UpBlock,
    VectorBatchNorm2d,
    attention_maps,
    mixing_layers,
    spectral_normalize,
)
from lightning_gan.networks import BigGANDiscriminator, BigGANGenerator, MixtureGenerator
from tests.toys import flat

LATENTS = {32: 8, 64: 10, 128: 12}  # two numbers a chunk


def generator_at(size: Any, **options: Any) -> BigGANGenerator:
    return BigGANGenerator(
        LATENTS[size], size, **{"base_channels": 2, "embedding_dim": 3} | options
    )


def maps(network: nn.Module, kind: type[nn.Module], *inputs: Tensor) -> list[tuple[int, ...]]:
    """Return the shape (C, H, W) of what each block makes."""
    shapes: list[tuple[int, ...]] = []

    def hook(_: nn.Module, __: Any, output: Tensor) -> None:
        shapes.append(tuple(output.shape[1:]))

    for layer in network.modules():
        if isinstance(layer, kind):
            layer.register_forward_hook(hook)
    with torch.no_grad():
        network(*inputs)
    return shapes


def test_weights_at_128_are_as_many_as_in_the_authors_log() -> None:
    """Their PyTorch code prints these numbers for ImageNet at 128x128."""
    with torch.device("meta"):
        generator = BigGANGenerator(120, 128, 3, 96, 128, attention=[64], num_classes=1000)
        discriminator = BigGANDiscriminator(128, 3, 96, attention=[64], num_classes=1000)
    assert sum(p.numel() for p in generator.parameters()) == 70_433_988
    assert sum(p.numel() for p in discriminator.parameters()) == 87_982_370


@pytest.mark.parametrize("num_classes", [None, 4])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", LATENTS)
def test_shapes_and_range(size: Any, channels: int, num_classes: int | None) -> None:
    labels = torch.tensor([3, 0, 1])
    generator = generator_at(size, image_channels=channels, num_classes=num_classes)
    images = generator(100 * torch.randn(3, LATENTS[size]), labels)
    assert images.shape == (3, channels, size, size)
    assert images.abs().max() <= 1
    discriminator = BigGANDiscriminator(size, channels, 2, num_classes=num_classes)
    assert discriminator(images, labels).shape == (3,)


@pytest.mark.parametrize(
    ("size", "up", "down"),
    [
        (32, [8, 8, 8], [(8, 16), (8, 8), (8, 8), (8, 8)]),
        (64, [32, 16, 8, 4], [(2, 32), (4, 16), (8, 8), (16, 4), (32, 4)]),
        (128, [32, 16, 8, 4, 2], [(2, 64), (4, 32), (8, 16), (16, 8), (32, 4), (32, 4)]),
    ],
)
def test_maps(size: Any, up: list[int], down: list[tuple[int, int]]) -> None:
    shapes = maps(generator_at(size), UpBlock, torch.zeros(2, LATENTS[size]))
    assert shapes == [(width, 8 * 2**i, 8 * 2**i) for i, width in enumerate(up)]
    shapes = maps(BigGANDiscriminator(size, 3, 2), DownBlock, torch.zeros(2, 3, size, size))
    assert shapes == [(width, side, side) for width, side in down]


@pytest.mark.parametrize("num_classes", [None, 4])
def test_each_block_sees_its_chunk_beside_the_classes_embedding(num_classes: int | None) -> None:
    generator = generator_at(32, num_classes=num_classes)
    seen: list[Tensor] = []
    for layer in generator.modules():
        if isinstance(layer, VectorBatchNorm2d):
            layer.register_forward_hook(lambda _, inputs, __: seen.append(inputs[1]))
    z, labels = torch.randn(3, 8), torch.tensor([2, 0, 2])
    generator(z, labels)
    table: Any = dict(generator.named_parameters()).get("layers.embedding")
    for i, vector in enumerate(seen):
        chunk = z[:, 2 + 2 * (i // 2) : 4 + 2 * (i // 2)]
        expected = chunk if table is None else torch.cat([table[labels], chunk], dim=1)
        torch.testing.assert_close(vector, expected, rtol=0, atol=0)
    assert len(seen) == 2 * 3
    assert (table is None) == (num_classes is None)


def test_first_layer_sees_the_first_chunk_alone() -> None:
    generator, z = generator_at(32, num_classes=4), torch.randn(3, 8)
    maps: list[Tensor] = []
    first: Any = next(layer for layer in generator.modules() if isinstance(layer, nn.Linear))
    first.register_forward_hook(lambda _, __, output: maps.append(output))
    for labels in (torch.tensor([0, 1, 2]), torch.tensor([3, 3, 3])):
        generator(torch.cat([z[:, :2], torch.randn(3, 6)], dim=1), labels)
    expected = z[:, :2] @ first.weight.T
    for output in maps:
        torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("place", range(4))
def test_every_chunk_changes_the_image(place: int) -> None:
    generator, z = generator_at(32).eval(), torch.randn(1, 8)
    other = z.clone()
    other[:, 2 * place : 2 * place + 2] += 1
    assert (generator(z) - generator(other)).abs().max() > 1e-4


def test_labels_change_the_output() -> None:
    generator = generator_at(32, num_classes=3).eval()
    discriminator = BigGANDiscriminator(base_channels=2, num_classes=3)
    z, x = torch.randn(1, 8).expand(3, 8), torch.randn(1, 3, 32, 32).expand(3, 3, 32, 32)
    labels = torch.arange(3)
    for outputs in (generator(z, labels).flatten(1), discriminator(x, labels)[:, None]):
        assert len(outputs.unique(dim=0)) == 3


def test_discriminator_projects_unless_told_otherwise() -> None:
    assert BigGANDiscriminator(base_channels=2).conditioning == "concat"
    options: Any = {"base_channels": 2, "num_classes": 3}
    assert BigGANDiscriminator(**options).conditioning == "projection"
    concatenating = BigGANDiscriminator(**options, conditioning="concat", num_outputs=5)
    assert concatenating.channels == 6
    assert concatenating(torch.zeros(2, 3, 32, 32), torch.tensor([0, 2])).shape == (2, 5)
    with pytest.raises(ValueError, match=r"'num_classes' with conditioning='projection', got None"):
        BigGANDiscriminator(conditioning="projection")


def test_options_of_the_head() -> None:
    x = torch.randn(4, 3, 32, 32)
    network = BigGANDiscriminator(base_channels=2, num_outputs=3, minibatch="stddev")
    assert network(x).shape == (4, 3)
    assert mixing_layers(network) == ["MinibatchStdDev in 'head.minibatch'"]
    assert not mixing_layers(BigGANDiscriminator(base_channels=2))


@pytest.mark.parametrize(("size", "chunks"), [(32, 4), (64, 5), (128, 6)])
def test_latents_that_cannot_be_split(size: Any, chunks: int) -> None:
    message = (
        rf"'latent_dim' to be a multiple of {chunks}, .* each of {chunks - 1} blocks, got 127\."
    )
    with pytest.raises(ValueError, match=message):
        BigGANGenerator(127, size)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 48}, r"'image_size' to be one of \[32, 64, 128\], got 48\."),
        ({"base_channels": 0}, r"'base_channels' to be at least 1, got 0\."),
        ({"attention": [7]}, r"maps, \[8, 16, 32\], got 7\."),
        ({"num_classes": 0}, r"'num_classes' to be at least 1, got 0\."),
        ({"embedding_dim": 0}, r"'embedding_dim' to be at least 1, got 0\."),
        ({"image_channels": 0}, r"with positive sides, got \(0, 32, 32\)\."),
    ],
)
def test_wrong_options_of_the_generator(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BigGANGenerator(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 48}, r"'image_size' to be one of \[32, 64, 128\], got 48\."),
        ({"base_channels": 0}, r"'base_channels' to be at least 1, got 0\."),
        ({"attention": [32]}, r"maps, \[8, 16\], got 32\."),
    ],
)
def test_wrong_options_of_the_discriminator(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BigGANDiscriminator(**options)


def test_missing_labels() -> None:
    with pytest.raises(ValueError, match=r"'labels' for this BigGANGenerator.*num_classes=3"):
        generator_at(32, num_classes=3)(torch.zeros(2, 8))
    discriminator = BigGANDiscriminator(base_channels=2, num_classes=3)
    with pytest.raises(ValueError, match=r"'labels' for this BigGANDiscriminator.*num_classes=3"):
        discriminator(torch.zeros(2, 3, 32, 32))


@pytest.mark.parametrize(
    ("size", "sides", "up", "down"), [(32, (8, 16), [8, 16], [16, 8]), (64, [32], [32], [32])]
)
def test_attention_follows_the_blocks(
    size: Any, sides: Sequence[int], up: list[int], down: list[int]
) -> None:
    options: Any = {"attention": sides, "base_channels": 8}
    generator, discriminator = generator_at(size, **options), BigGANDiscriminator(size, **options)
    found = attention_maps(generator, torch.randn(2, LATENTS[size]))
    assert [map_.shape[1] for map_ in found.values()] == up
    found = attention_maps(discriminator, torch.randn(2, 3, size, size))
    assert [map_.shape[1] for map_ in found.values()] == down


def assert_orthogonal(weight: Tensor) -> None:
    rows = weight.detach().flatten(1)
    values = torch.linalg.svdvals(rows)
    torch.testing.assert_close(values, torch.ones_like(values), rtol=1e-5, atol=1e-5)


def test_initial_weights_are_orthogonal() -> None:
    redrawn = generator_at(32, num_classes=10)
    for weights in redrawn.parameters():
        nn.init.constant_(weights, 7)
    redrawn.initialize()
    networks = (
        redrawn,
        generator_at(32, num_classes=2, attention=[8]),
        BigGANDiscriminator(base_channels=2, num_classes=10, attention=[8]),
    )
    for network in networks:
        shapes = {name: p for name, p in network.named_parameters() if p.dim() > 1}
        for weight in shapes.values():
            assert_orthogonal(weight)
        assert any("embedding" in name for name in shapes)
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
                assert not layer.bias.detach().any()


def test_initialize_a_part() -> None:
    generator = generator_at(32, num_classes=4)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    generator.initialize(next(m for m in generator.modules() if isinstance(m, UpBlock)))
    after = generator.state_dict()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert changed
    assert all(name.startswith("layers.blocks.0.") for name in changed)


def test_mixture_of_them_has_different_generators() -> None:
    mixture = MixtureGenerator(generator_at(32, num_classes=4), num_generators=2)
    one, other = (flat(network) for network in mixture.generators)
    assert not torch.equal(one, other)
    z = mixture.assign(torch.randn(2, 10), torch.tensor([1, 0]))
    assert mixture(z, torch.tensor([3, 1])).shape == (2, 3, 32, 32)
    with pytest.raises(TypeError, match="Expected the 'layers' of 'generator' to be an nn"):
        MixtureGenerator(generator_at(32), num_generators=2, share="trunk")


@pytest.mark.parametrize("num_classes", [None, 4])
def test_spectral_normalisation_of_both(num_classes: int | None) -> None:
    """All weights but the embedding that the generator's blocks share."""
    labels = torch.tensor([0, 3])
    generator = generator_at(32, num_classes=num_classes)
    discriminator = BigGANDiscriminator(base_channels=2, num_classes=num_classes)
    with torch.no_grad():
        for parameter in (*generator.parameters(), *discriminator.parameters()):
            parameter.mul_(3)
    for network in (generator, discriminator):
        spectral_normalize(network)
    for _ in range(30):
        discriminator(generator(torch.randn(2, 8), labels), labels)
    for network in (generator.eval(), discriminator.eval()):
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear | nn.Embedding):
                norm = torch.linalg.matrix_norm(module.weight.detach().flatten(1), 2)
                torch.testing.assert_close(norm, torch.tensor(1.0), rtol=2e-2, atol=0)
    if num_classes is not None:
        embedding = dict(generator.named_parameters())["layers.embedding"].detach()
        assert torch.linalg.matrix_norm(embedding, 2) > 2.9


def test_gradient_reaches_every_weight() -> None:
    generator = generator_at(32, num_classes=2)
    discriminator = BigGANDiscriminator(base_channels=2, num_classes=2)
    labels = torch.tensor([0, 1, 1])
    with torch.autocast("cpu", torch.bfloat16):
        discriminator(generator(torch.randn(3, 8), labels), labels).square().sum().backward()
    for network in (generator, discriminator):
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            # A bias in front of a normalisation has no effect.
            if parameter.dim() > 1:
                assert parameter.grad.any(), name


def test_discriminator_can_be_differentiated_twice() -> None:
    network = BigGANDiscriminator(base_channels=8, num_classes=2, attention=[8])
    x = torch.randn(2, 3, 32, 32, requires_grad=True)
    logits = network(x, torch.tensor([0, 1]))
    (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    slope.square().sum().backward()
    weights = [p for name, p in network.named_parameters() if name.endswith("weight")]
    assert all(weight.grad is not None for weight in weights)


def test_discriminator_treats_every_sample_by_itself() -> None:
    network, x = BigGANDiscriminator(base_channels=2), torch.randn(3, 3, 32, 32)
    alone = torch.cat([network(sample[None]) for sample in x])
    torch.testing.assert_close(network(x), alone, rtol=1e-4, atol=1e-4)
