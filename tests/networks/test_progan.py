import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter
from torch.nn.functional import avg_pool2d, conv2d, leaky_relu

from lightning_gan.functional import gradient_penalty
from lightning_gan.layers import MinibatchStdDev, mixing_layers
from lightning_gan.networks import MixtureGenerator, ProGANDiscriminator, ProGANGenerator
from tests.toys import flat

NETWORKS: list[Any] = [ProGANGenerator, ProGANDiscriminator]
SMALL: dict[str, Any] = {"image_size": 16, "fmap_base": 32, "fmap_max": 6}
PLACES = [(4, 1.0), (8, 0.0), (8, 0.3), (8, 1.0), (16, 0.0), (16, 0.7), (16, 1.0)]
KINDS: list[dict[str, Any]] = [
    {},
    {"num_classes": 3},
    {"num_classes": 3, "conditioning": "projection"},
    {"num_classes": 3, "num_outputs": 2},
    {"num_outputs": 4},
]


def small(network: Any, **options: Any) -> Any:
    """Return a small network, with biases that count."""
    latents = {"latent_dim": 5} if network is ProGANGenerator else {}
    built = network(**latents, **(SMALL | options))
    for name, weight in built.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(weight, std=0.5)
    return built


def maps(network: nn.Module, x: Tensor) -> list[tuple[int, ...]]:
    """Return the shape (C, H, W) of what each layer with weights makes, and the deviation's."""
    shapes: list[tuple[int, ...]] = []

    def hook(_: nn.Module, __: Any, output: Tensor) -> None:
        shapes.append(tuple(output.shape[1:]))

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | MinibatchStdDev):
            layer.register_forward_hook(hook)
    network(x)
    return shapes


def normalized(x: Tensor) -> Tensor:
    return x / (x.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()


def upscaled(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def stored(network: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the unscaled weight and the bias of each layer, in the order of the state."""
    state = list(network.state_dict().items())
    for (bias_name, bias), (name, weight) in zip(state[::2], state[1::2], strict=True):
        assert bias_name.endswith("bias")
        assert name.endswith("weight.original")
        yield weight, bias


def layers_of(network: nn.Module, *parts: str) -> list[list[tuple[Tensor, Tensor]]]:
    """Return weights and biases of each entry of the network's lists of layers."""
    return [list(stored(layer)) for part in parts for layer in getattr(network, part)]


def convolved(x: Tensor, layer: tuple[Tensor, Tensor], gain: float = 2**0.5) -> Tensor:
    weight, bias = layer
    scale = gain / weight[0].numel() ** 0.5
    return conv2d(x, weight * scale, bias, padding=weight.shape[-1] // 2 if x.shape[-1] > 1 else 0)


def generated(network: ProGANGenerator, z: Tensor, side: int, alpha: float) -> Tensor:
    """Compute table 2 up to a side, from the unscaled weights."""
    blocks, to_image = layers_of(network, "blocks"), layers_of(network, "to_image")
    (weight, bias), second = blocks[0]
    latents = normalized(z)
    # A dense layer of 16 outputs for each channel, of gain sqrt(2) / 4 in the authors' code.
    dense = torch.einsum("ni,iohw->nohw", latents, weight) * 2**0.5 / 4 / len(weight) ** 0.5
    h = normalized(leaky_relu(dense + bias[:, None, None], 0.2))
    h = normalized(leaky_relu(convolved(h, second), 0.2))
    images = convolved(h, to_image[0][0], gain=1)
    for i in range(1, side.bit_length() - 2):
        h = upscaled(h)
        for layer in blocks[i]:
            h = normalized(leaky_relu(convolved(h, layer), 0.2))
        share = alpha if 4 * 2**i == side else 1
        images = (1 - share) * upscaled(images) + share * convolved(h, to_image[i][0], gain=1)
    return images


def judged(network: ProGANDiscriminator, x: Tensor, alpha: float) -> Tensor:
    """Compute table 2 from a side down, from the unscaled weights; one group of samples."""
    blocks, from_image = layers_of(network, "blocks"), layers_of(network, "from_image")
    stage = x.shape[-1].bit_length() - 3
    h = leaky_relu(convolved(x, from_image[stage][0]), 0.2)
    for i in range(stage, 0, -1):
        for layer in blocks[i]:
            h = leaky_relu(convolved(h, layer), 0.2)
        h = avg_pool2d(h, 2)
        if i == stage:
            low = leaky_relu(convolved(avg_pool2d(x, 2), from_image[i - 1][0]), 0.2)
            h = (1 - alpha) * low + alpha * h
    deviation = (h.var(dim=0, correction=0) + 1e-8).sqrt().mean()
    h = torch.cat([h, deviation.expand(len(h), 1, 4, 4)], dim=1)
    first, (weight, bias) = blocks[0]
    h = leaky_relu(convolved(h, first), 0.2)
    dense = h.flatten(1) @ weight.flatten(1).T * (2 / weight[0].numel()) ** 0.5
    h = leaky_relu(dense + bias, 0.2)
    [(weight, bias)] = stored(network.head)
    logits: Tensor = h @ weight.T / weight.shape[1] ** 0.5 + bias
    return logits.squeeze(1)


@pytest.mark.parametrize(("side", "alpha"), PLACES)
def test_table_2_of_the_paper(side: int, alpha: float) -> None:
    """Order and gains of the layers, the deviation's place, and the fade."""
    generator, discriminator = (small(network).double() for network in NETWORKS)
    for network in (generator, discriminator):
        network.grow(side, alpha)
    z = torch.randn(4, 5, dtype=torch.float64)
    images = generator(z)
    torch.testing.assert_close(images, generated(generator, z, side, alpha), rtol=1e-9, atol=1e-9)
    expected = judged(discriminator, images, alpha)
    torch.testing.assert_close(discriminator(images), expected, rtol=1e-9, atol=1e-9)


def test_maps_and_weights_of_the_paper() -> None:
    """Table 2: 23.1 million weights each; the exact numbers are what the authors' code prints."""
    with torch.device("meta"):
        generator = ProGANGenerator(image_size=1024)
        discriminator = ProGANDiscriminator(image_size=1024)
        z, x = torch.zeros(4, 512), torch.zeros(4, 3, 1024, 1024)
    widths = {4: 512, 8: 512, 16: 512, 32: 512, 64: 256, 128: 128, 256: 64, 512: 32, 1024: 16}
    up = [(width, side, side) for side, width in widths.items() for _ in range(2)]
    assert maps(generator, z) == [*up, (3, 1024, 1024)]
    down = [(16, 1024, 1024)]
    for side, after in ((1024, 32), (512, 64), (256, 128), (128, 256)):
        down += [(after // 2, side, side), (after, side, side)]
    down += [(256, 64, 64), (512, 64, 64)]
    down += [(512, side, side) for side in (32, 16, 8) for _ in range(2)]
    assert maps(discriminator, x) == [*down, (513, 4, 4), (512, 4, 4), (512, 1, 1), (1,)]
    assert flat(generator).numel() == 23_079_115
    assert flat(discriminator).numel() == 23_087_249


def test_1024_pixels() -> None:
    options: Any = {"image_size": 1024, "image_channels": 1, "fmap_base": 512, "fmap_max": 2}
    generator, discriminator = ProGANGenerator(2, **options), ProGANDiscriminator(**options)
    for network in (generator, discriminator):
        network.grow(1024, 0.5)
    with torch.no_grad():
        images = generator(torch.randn(1, 2))
        assert images.shape == (1, 1, 1024, 1024)
        assert discriminator(images).shape == (1,)


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize(("side", "alpha"), PLACES[::2])
def test_shapes(channels: int, side: int, alpha: float) -> None:
    generator = small(ProGANGenerator, image_channels=channels)
    discriminator = small(ProGANDiscriminator, image_channels=channels)
    for network in (generator, discriminator):
        network.grow(side, alpha)
        assert network.sample_shape == (channels, side, side)
    images = generator(torch.randn(3, 5))
    assert images.shape == (3, channels, side, side)
    assert discriminator(images).shape == (3,)


def test_widths_follow_both_numbers() -> None:
    generator = ProGANGenerator(5, 32, 3, fmap_base=64, fmap_max=12)
    widths = [shape[0] for shape in maps(generator, torch.zeros(1, 5))]
    assert widths == [12, 12, 12, 12, 8, 8, 4, 4, 3]
    discriminator = ProGANDiscriminator(32, 3, fmap_base=64, fmap_max=12)
    widths = [shape[0] for shape in maps(discriminator, torch.zeros(1, 3, 32, 32))]
    assert widths == [4, 4, 8, 8, 12, 12, 12, 13, 12, 12, 1]
    narrow = ProGANDiscriminator(4, 3, fmap_base=8, fmap_max=100)  # a base below the bound
    assert [s[0] for s in maps(narrow, torch.zeros(1, 3, 4, 4))] == [4, 5, 4, 8, 1]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", [{}, {"num_classes": 3}])
@pytest.mark.parametrize("side", [8, 16])
def test_generator_fades_from_the_side_below(side: int, options: Any, training: bool) -> None:
    generator = small(ProGANGenerator, **options).train(training)
    z, labels = 3 * torch.randn(5, 5), torch.tensor([0, 1, 2, 2, 0])
    generator.grow(side // 2)
    below = generator(z, labels)
    generator.grow(side, 0.0)
    torch.testing.assert_close(generator(z, labels), upscaled(below), rtol=0, atol=0)
    generator.grow(side, 1 - 2**-40)
    almost = generator(z, labels)
    generator.grow(side)
    assert not generator.fading
    torch.testing.assert_close(generator(z, labels), almost, rtol=0, atol=0)
    assert not torch.isclose(almost, upscaled(below)).all()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", KINDS)
@pytest.mark.parametrize("side", [8, 16])
def test_discriminator_fades_from_the_side_below(side: int, options: Any, training: bool) -> None:
    discriminator = small(ProGANDiscriminator, **options).train(training)
    x, labels = torch.randn(6, 3, side, side), torch.tensor([0, 1, 2, 2, 0, 1])
    discriminator.grow(side // 2)
    below = discriminator(avg_pool2d(x, 2), labels)
    discriminator.grow(side, 0.0)
    torch.testing.assert_close(discriminator(x, labels), below, rtol=0, atol=0)
    discriminator.grow(side, 1 - 2**-40)
    almost = discriminator(x, labels)
    discriminator.grow(side)
    torch.testing.assert_close(discriminator(x, labels), almost, rtol=0, atol=0)
    assert not torch.isclose(almost, below).any()
    outputs = options.get("num_outputs", 1)
    assert below.shape == ((6,) if outputs == 1 else (6, outputs))


@pytest.mark.parametrize(("side", "alpha"), PLACES)
def test_images_are_bounded_in_evaluation_alone(side: int, alpha: float) -> None:
    generator, z = small(ProGANGenerator), torch.randn(8, 5)
    generator.grow(side, alpha)
    free = generator(z)
    assert free.abs().max() > 1
    torch.testing.assert_close(generator.eval()(z), free.clamp(-1, 1), rtol=0, atol=0)


def test_latents_lie_on_a_sphere() -> None:
    generator, z = small(ProGANGenerator), torch.randn(3, 5)
    torch.testing.assert_close(generator(7 * z), generator(z), rtol=1e-4, atol=1e-5)
    assert not torch.isclose(generator(-z), generator(z)).all()


def test_labels_stand_beside_the_latent() -> None:
    """They are normalised with it, as in the authors' code."""
    generator = small(ProGANGenerator, num_classes=3)
    plain = ProGANGenerator(8, **SMALL)
    plain.load_state_dict(generator.state_dict())
    z, labels = torch.randn(3, 5), torch.tensor([2, 0, 1])
    both = torch.cat([z, nn.functional.one_hot(labels, 3)], dim=1)
    torch.testing.assert_close(generator(z, labels), plain(both), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("side", "alpha"), PLACES)
@pytest.mark.parametrize("conditioning", ["concat", "projection"])
def test_labels_change_the_output(conditioning: Any, side: int, alpha: float) -> None:
    generator = small(ProGANGenerator, num_classes=3)
    discriminator = small(ProGANDiscriminator, num_classes=3, conditioning=conditioning)
    for network in (generator, discriminator):
        network.grow(side, alpha)
    z, x, labels = torch.randn(1, 5).expand(3, 5), torch.randn(1, 3, side, side), torch.arange(3)
    assert len(generator(z, labels).flatten(1).unique(dim=0)) == 3
    assert len(discriminator(x.expand(3, -1, -1, -1), labels).unique()) == 3


@pytest.mark.parametrize("network", NETWORKS)
def test_missing_labels(network: Any) -> None:
    x = torch.zeros(2, 5) if network is ProGANGenerator else torch.zeros(2, 3, 16, 16)
    with pytest.raises(ValueError, match=rf"'labels' for this {network.__name__}.*num_classes=3"):
        small(network, num_classes=3)(x)


def in_use(side: int, alpha: float, pieces: str) -> set[str]:
    """Return the prefixes of the layers that work at a place."""
    stage = side.bit_length() - 3
    images = {stage, stage - 1} if alpha < 1 else {stage}
    blocks = range(stage + 1)
    return {f"{pieces}.{i}." for i in images} | {f"blocks.{i}." for i in blocks} | {"head."}


@pytest.mark.parametrize(("side", "alpha"), PLACES)
def test_layers_in_use_get_gradients(side: int, alpha: float) -> None:
    generator, discriminator = (small(network) for network in NETWORKS)
    for network in (generator, discriminator):
        network.grow(side, alpha)
    discriminator(generator(torch.randn(4, 5))).square().mean().backward()
    for network, pieces in ((generator, "to_image"), (discriminator, "from_image")):
        used = in_use(side, alpha, pieces)
        new = (f"blocks.{side.bit_length() - 3}.", f"{pieces}.{side.bit_length() - 3}.")
        for name, weight in network.named_parameters():
            if not name.startswith(tuple(used)):
                assert weight.grad is None, name
                continue
            assert weight.grad is not None, name
            assert weight.grad.any() == (alpha > 0 or not name.startswith(new)), name


@pytest.mark.parametrize(("side", "alpha"), [(8, 0.3), (8, 0.0), (8, 1.0)])
def test_slopes_and_their_derivatives(side: int, alpha: float) -> None:
    """The gradient of a penalty against central differences, too small for a kink."""
    network = small(ProGANDiscriminator, image_size=8, image_channels=1, fmap_max=3).double()
    network.grow(side, alpha)
    real, fake = torch.randn(2, 2, 1, side, side, dtype=torch.float64)

    def penalty() -> Tensor:
        torch.manual_seed(0)  # the same points between real and fake ones
        return gradient_penalty(network, real, fake)

    penalty().backward()
    for name, weight in network.named_parameters():
        direction = torch.randn_like(weight)
        ends = []
        for step in (1e-7, -2e-7):
            with torch.no_grad():
                weight.add_(direction, alpha=step)
            ends.append(penalty().detach())
        with torch.no_grad():
            weight.add_(direction, alpha=1e-7)
        gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
        slope, expected = (gradient * direction).sum(), (ends[0] - ends[1]) / 2e-7
        torch.testing.assert_close(slope, expected, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize(("side", "alpha"), [(16, 0.3), (16, 1.0)])
def test_penalty_under_autocast(side: int, alpha: float) -> None:
    generator, discriminator = (small(network) for network in NETWORKS)
    for network in (generator, discriminator):
        network.grow(side, alpha)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        images = generator(torch.randn(4, 5))
        logits = discriminator(images)
        penalty = gradient_penalty(discriminator, images.detach().flip(0), images.detach())
    assert images.dtype == logits.dtype == torch.bfloat16
    assert penalty.dtype == torch.float32
    (logits.float().square().mean() + penalty).backward()
    for network, pieces in ((generator, "to_image"), (discriminator, "from_image")):
        for name, weight in network.named_parameters():
            if name.startswith(tuple(in_use(side, alpha, pieces))):
                assert weight.grad is not None, name
                assert weight.grad.isfinite().all(), name
                assert weight.grad.any(), name


def test_channels_last() -> None:
    z, x = torch.randn(4, 5), torch.randn(4, 3, 16, 16)
    for network, given in ((small(ProGANGenerator), z), (small(ProGANDiscriminator), x)):
        network.grow(16, 0.3)
        expected = network(given)
        network.to(memory_format=torch.channels_last)
        if given.dim() == 4:
            given = given.to(memory_format=torch.channels_last)
        torch.testing.assert_close(network(given), expected, rtol=1e-4, atol=1e-5)


def test_groups_of_samples() -> None:
    """Of 8 samples, those of the same parity form a group of 4; groups of 1 are alone."""
    x = torch.randn(8, 3, 16, 16)
    other = torch.cat([x[:1], -x[1:2], x[2:]])
    grouped, alone = small(ProGANDiscriminator), small(ProGANDiscriminator, group_size=1)
    changed = ~torch.isclose(grouped(x), grouped(other), rtol=1e-6, atol=0)
    assert changed.tolist() == [False, True] * 4
    changed = ~torch.isclose(alone(x), alone(other), rtol=1e-6, atol=0)
    assert changed.tolist() == [False, True] + [False] * 6
    single = torch.cat([alone(sample[None]) for sample in x])
    torch.testing.assert_close(alone(x), single, rtol=1e-4, atol=1e-5)
    assert mixing_layers(grouped) == ["MinibatchStdDev in 'blocks.0.0'"]
    assert not mixing_layers(small(ProGANGenerator))


@pytest.mark.parametrize("network", NETWORKS)
def test_weights_start_with_unit_variance(network: Any) -> None:
    built = network(image_size=8, fmap_base=128, fmap_max=64)
    if network is ProGANGenerator:
        before = flat(built)
        for weight in built.parameters():
            nn.init.constant_(weight, 7)
        built.initialize()
        assert not torch.isclose(flat(built), before).all()
    for name, weight in built.named_parameters():
        if name.endswith("bias"):
            assert not weight.any(), name
        elif weight.numel() > 1000:
            assert weight.std().item() == pytest.approx(1, rel=0.1), name
            assert abs(weight.mean().item()) < 0.1, name


def test_size_of_what_untrained_networks_make() -> None:
    """A leaky ReLU of normal numbers of variance 2, and a sum of normalised maps."""
    discriminator = ProGANDiscriminator(4, 3, fmap_base=512, fmap_max=256)
    read = discriminator.from_image[0](torch.randn(64, 3, 4, 4))
    assert read.square().mean().item() == pytest.approx(2 * (1 + 0.2**2) / 2, rel=0.2)
    generator = ProGANGenerator(64, 8, 20, fmap_base=512, fmap_max=256)
    for side in (4, 8):
        generator.grow(side)
        images = generator(torch.randn(64, 64))
        assert images.square().mean().item() == pytest.approx(1, rel=0.2)


def test_initialize_a_part() -> None:
    generator = small(ProGANGenerator)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    generator.initialize(generator.blocks[1])
    after = generator.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if name.startswith("blocks.1.")}


def test_in_a_mixture() -> None:
    mixture = MixtureGenerator(ProGANGenerator(5, **SMALL, num_classes=3), 2)
    first, second = mixture.generators
    assert isinstance(first, ProGANGenerator)
    assert isinstance(second, ProGANGenerator)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other) == (one.dim() == 1)
    for generator in (first, second):
        generator.grow(8, 0.5)
    z, labels = torch.randn(4, 5), torch.tensor([0, 2, 1, 1])
    choice = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    images = mixture(torch.cat([z, choice], dim=1), labels)
    for i, generator in enumerate([first, second, second, first]):
        alone = generator(z[i : i + 1], labels[i : i + 1])
        torch.testing.assert_close(images[i : i + 1], alone, rtol=1e-4, atol=1e-5)


def test_has_no_trunk_to_share() -> None:
    message = "Expected the 'layers' of 'generator' to be an nn.Sequential for share='trunk'"
    with pytest.raises(TypeError, match=message):
        MixtureGenerator(ProGANGenerator(5, **SMALL), 2, share="trunk")


@pytest.mark.parametrize("network", NETWORKS)
def test_state_survives_growth(network: Any) -> None:
    built = small(network)
    built.grow(8, 0.3)
    other = small(network)
    other.load_state_dict(built.state_dict())
    twin = copy.deepcopy(built)
    x = torch.randn(4, 5) if network is ProGANGenerator else torch.randn(4, 3, 8, 8)
    for copied in (other, twin):
        torch.testing.assert_close(copied(x), built(x), rtol=0, atol=0)


def test_compiles_once_for_each_resolution_and_fade() -> None:
    torch._dynamo.reset()
    network, counter = small(ProGANDiscriminator, image_size=8), CompileCounter()
    plain = copy.deepcopy(network)
    network.compile(backend=counter)
    counts = []
    for side, alpha in [(8, 0.0), (8, 0.3), (8, 0.6), (8, 1.0), (8, 0.4)]:
        x = torch.randn(4, 3, side, side)
        for part in (network, plain):
            part.grow(side, alpha)
        torch.testing.assert_close(network(x), plain(x), rtol=1e-5, atol=1e-6)
        counts.append(counter.frame_count)
    assert counts == [1, 1, 1, 2, 2]


def test_images_of_another_side() -> None:
    discriminator = small(ProGANDiscriminator)
    discriminator.grow(8, 0.5)
    message = r"the shape \(3, 8, 8\) for which this ProGANDiscriminator .* got \(3, 16, 16\)"
    with pytest.raises(ValueError, match=message):
        discriminator(torch.zeros(2, 3, 16, 16))


@pytest.mark.parametrize("size", [-4, 0, 1, 2, 6, 12, 48])
@pytest.mark.parametrize("network", NETWORKS)
def test_wrong_size(network: Any, size: int) -> None:
    message = rf"'image_size' to be a power of 2 and at least 4, got {size}\."
    with pytest.raises(ValueError, match=message):
        network(image_size=size)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fmap_max": 0}, r"'fmap_max' to be at least 1, got 0\."),
        ({"fmap_base": 7}, r"'fmap_base' to leave a channel to maps of 16x16, got 7\."),
        ({"fmap_base": 0}, r"'fmap_base' to leave a channel to maps of .*, got 0\."),
        ({"num_classes": 0}, r"'num_classes' to be at least 1, got 0\."),
        ({"image_channels": 0}, r"'sample_shape' to be \(C, H, W\) .* got \(0, 16, 16\)"),
    ],
)
@pytest.mark.parametrize("network", NETWORKS)
def test_refusals(network: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(**SMALL | options)


def test_refusals_of_one() -> None:
    with pytest.raises(ValueError, match=r"'latent_dim' to be at least 1, got 0\."):
        ProGANGenerator(0, **SMALL)
    with pytest.raises(ValueError, match=r"'group_size' to be at least 1, got 0\."):
        ProGANDiscriminator(**SMALL, group_size=0)
    with pytest.raises(ValueError, match=r"'num_outputs' to be 1 with conditioning='projection'"):
        ProGANDiscriminator(**SMALL, num_classes=2, conditioning="projection", num_outputs=2)
