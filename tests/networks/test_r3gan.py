from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d

from lightning_gan.functional import zero_centered_gradient_penalty
from lightning_gan.layers import Bottleneck, mixing_layers
from lightning_gan.networks import (
    MixtureGenerator,
    R3GANDiscriminator,
    R3GANGenerator,
)
from tests.toys import flat

NETWORKS: list[Any] = [R3GANGenerator, R3GANDiscriminator]
TAPS = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
KERNEL = (TAPS[:, None] * TAPS)[None, None]


def blocks(network: nn.Module) -> list[Bottleneck]:
    return [layer for layer in network.modules() if isinstance(layer, Bottleneck)]


def randomize(network: nn.Module, std: float = 0.3) -> None:
    """Draw all weights, so that the blocks are no longer the identity."""
    for weights in network.parameters():
        nn.init.normal_(weights, std=std)


def block_weights(channels: int, expansion: int = 2, group_width: int = 16) -> int:
    wide = channels * expansion
    return (channels * wide + wide) + (wide * group_width * 9 + wide) + wide * channels


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 16, 32, 64])
def test_shapes_and_range(size: int, channels: int) -> None:
    options: Any = {"image_size": size, "image_channels": channels, "width": 8}
    generator = R3GANGenerator(latent_dim=5, **options).eval()
    images = generator(100 * torch.randn(3, 5))
    assert images.shape == (3, channels, size, size)
    assert images.abs().max() == 1
    assert R3GANDiscriminator(**options)(images).shape == (3,)


def test_images_are_bounded_in_evaluation_alone() -> None:
    generator, z = R3GANGenerator(5, 8, width=8), 10 * torch.randn(4, 5)
    free = generator(z)
    assert free.abs().max() > 1
    torch.testing.assert_close(generator.eval()(z), free.clamp(-1, 1), rtol=0, atol=0)


def test_weights_of_the_cifar_preset() -> None:
    """Latent 64, four sides of two blocks of 768 channels, 96 groups, as published."""
    with torch.device("meta"):
        generator, discriminator = R3GANGenerator(), R3GANDiscriminator()
    trunk = 8 * block_weights(768)
    assert flat(generator).numel() == trunk + 64 * 768 + 16 * 768 + 768 * 3 == 20_732_160
    assert flat(discriminator).numel() == trunk + 3 * 768 + 16 * 768 + 768 + 1 == 20_683_777
    for network, documented in ((generator, "20,732,160"), (discriminator, "20,683,777")):
        assert documented in (type(network).__doc__ or "")


@pytest.mark.parametrize("size", [8, 64])
@pytest.mark.parametrize("number", [1, 3])
def test_weights_with_several_widths(size: int, number: int) -> None:
    widths = [16, 16, 16, 16, 8][-(size.bit_length() - 2) :]
    options: Any = {"image_size": size, "width": widths, "blocks_per_stage": number}
    generator, discriminator = R3GANGenerator(5, **options), R3GANDiscriminator(**options)
    trunk = number * sum(map(block_weights, widths))
    trunk += sum(a * b for a, b in pairwise(widths) if a != b)
    assert flat(generator).numel() == trunk + (5 + 16) * widths[0] + 3 * widths[-1]
    assert flat(discriminator).numel() == trunk + 3 * widths[-1] + (16 + 1) * widths[0] + 1


@pytest.mark.parametrize("network", NETWORKS)
def test_maps_of_the_blocks(network: Any) -> None:
    model = network(image_size=32, width=(32, 24, 16, 8), blocks_per_stage=1)
    shapes: list[tuple[int, ...]] = []
    for block in blocks(model):
        block.register_forward_hook(lambda _, __, y: shapes.append(tuple(y.shape[1:])))
    model(torch.zeros(1, 64) if network is R3GANGenerator else torch.zeros(1, 3, 32, 32))
    expected = [(32, 4, 4), (24, 8, 8), (16, 16, 16), (8, 32, 32)]
    assert shapes == (expected if network is R3GANGenerator else expected[::-1])


@pytest.mark.parametrize("network", NETWORKS)
def test_options_of_the_blocks(network: Any) -> None:
    model = network(image_size=16, width=8, blocks_per_stage=3, expansion=4, group_width=8)
    assert len(blocks(model)) == 9
    for block in blocks(model):
        assert block.num_blocks == 9
        wide = block.residual[2]
        assert isinstance(wide, nn.Conv2d)
        assert (wide.in_channels, wide.groups) == (32, 4)


@pytest.mark.parametrize("width", [8, (24, 16, 8)])
def test_generator_starts_as_a_smoothed_basis(width: int | Sequence[int]) -> None:
    """While the blocks are the identity, all that is left is linear, as the paper draws it."""
    generator, z = R3GANGenerator(5, 16, width=width), torch.randn(3, 5)
    weights = {name: weight.detach() for name, weight in generator.named_parameters()}
    plain = [value for name, value in weights.items() if "residual" not in name]
    basis, scale, *mixes = plain
    x = basis * (z @ scale.T)[:, :, None, None]
    for i in range(2):
        if len(mixes) > 1:
            x = conv2d(x, mixes[i])
        channels = x.shape[1]
        kernel = 4 * KERNEL.expand(channels, 1, 4, 4)
        x = conv_transpose2d(x, kernel, stride=2, padding=1, groups=channels)
    expected = conv2d(x, mixes[-1])
    torch.testing.assert_close(generator(z), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("width", [8, (24, 16, 8)])
def test_discriminator_starts_linear(width: int | Sequence[int]) -> None:
    discriminator, x = R3GANDiscriminator(16, width=width), torch.randn(3, 3, 16, 16)
    weights = {name: weight.detach() for name, weight in discriminator.named_parameters()}
    plain = [value for name, value in weights.items() if "residual" not in name]
    extract, *mixes, kernels, head, bias = plain
    y = conv2d(x, extract)
    for i in range(2):
        channels = y.shape[1]
        y = conv2d(y, KERNEL.expand(channels, 1, 4, 4), stride=2, padding=1, groups=channels)
        if mixes:
            y = conv2d(y, mixes[i])
    expected = (y * kernels[:, 0]).sum(dim=(2, 3)) @ head[0] + bias
    torch.testing.assert_close(discriminator(x), expected, rtol=1e-4, atol=1e-5)


def deviations(network: nn.Module) -> dict[str, Tensor]:
    """Return standard deviations of the weights, as multiples of 1 / sqrt(fan in)."""
    return {
        name: weight.detach().std() * weight[0].numel() ** 0.5
        for name, weight in network.named_parameters()
        if weight.dim() > 1
    }


def test_initial_weights() -> None:
    redrawn = R3GANGenerator(32, 8, width=64, num_classes=50)
    for weights in redrawn.parameters():
        nn.init.constant_(weights, 7)
    redrawn.initialize()
    fixup = (2 / 1.04) ** 0.5 * 4**-0.25
    for network in (redrawn, R3GANDiscriminator(8, width=64)):
        found = deviations(network)
        for name, value in found.items():
            expected = 1.0
            if ".residual." in name:
                expected = 0.0 if name.endswith("4.weight") else fixup
            elif "embedding" in name:
                expected = (32 / 50) ** 0.5
            elif "basis" in name:
                expected = 4.0
            elif "head" in name or network.get_parameter(name).numel() < 500:
                continue
            assert value.item() == pytest.approx(expected, rel=0.08), name
        biases = [weight for weight in network.parameters() if weight.dim() == 1]
        assert biases
        assert not any(bias.detach().any() for bias in biases)


def test_initial_weights_of_the_head() -> None:
    """The authors' product of two normal factors: each class's logit has deviation K^(-1/2)."""
    options: Any = {"width": 256, "num_classes": 10, "conditioning": "projection"}
    head: Any = R3GANDiscriminator(8, **options).head
    assert head.linear.weight.std().item() == pytest.approx(256**-0.5, rel=0.2)
    assert head.embedding.weight.std().item() == pytest.approx(2560**-0.5, rel=0.08)


def test_initialize_a_part() -> None:
    generator = R3GANGenerator(5, 8, width=8)
    randomize(generator)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    generator.initialize(generator.layers[1])  # type: ignore[index]
    after = generator.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if name.startswith("layers.1.")}
    assert not after["layers.1.residual.4.weight"].any()


def test_slopes_and_their_derivatives() -> None:
    """R1 and its gradient in the weights against central differences, too small for a kink."""
    network = R3GANDiscriminator(8, 1, width=4, blocks_per_stage=1, group_width=4).double()
    randomize(network)
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    moves = 1e-7 * torch.eye(64, dtype=torch.float64).reshape(64, 1, 1, 8, 8)
    with torch.no_grad():
        rises = network((x + moves).flatten(0, 1)) - network((x - moves).flatten(0, 1))
    penalty = zero_centered_gradient_penalty(network, x)
    expected = (rises / 2e-7).square().sum() / len(x) / 2
    torch.testing.assert_close(penalty.detach(), expected, rtol=1e-5, atol=0)
    penalty.backward()
    for weight in network.parameters():
        direction = torch.randn_like(weight)
        ends = []
        for step in (1e-7, -2e-7):
            with torch.no_grad():
                weight.add_(direction, alpha=step)
            ends.append(zero_centered_gradient_penalty(network, x).detach())
        with torch.no_grad():
            weight.add_(direction, alpha=1e-7)
        gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
        slope = (gradient * direction).sum()
        torch.testing.assert_close(slope, (ends[0] - ends[1]) / 2e-7, rtol=1e-4, atol=1e-6)


def test_penalty_under_autocast() -> None:
    network = R3GANDiscriminator(16, width=16)
    randomize(network, 0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x = R3GANGenerator(5, 16, width=16)(torch.randn(3, 5))
        logits = network(x)
        penalty = zero_centered_gradient_penalty(network, x)
    assert x.dtype == logits.dtype == torch.bfloat16
    assert penalty.dtype == torch.float32
    (logits.float().square().mean() + penalty).backward()
    for weight in network.parameters():
        assert weight.grad is not None
        assert weight.grad.isfinite().all()
        assert weight.grad.any()


@pytest.mark.parametrize("conditioning", ["concat", "projection"])
def test_labels_change_the_output(conditioning: Any) -> None:
    options: Any = {"image_size": 8, "width": 8, "num_classes": 3}
    generator = R3GANGenerator(4, **options).eval()
    discriminator = R3GANDiscriminator(conditioning=conditioning, **options)
    z, x, labels = torch.randn(1, 4).expand(3, 4), torch.randn(1, 3, 8, 8), torch.arange(3)
    for outputs in (
        generator(z, labels).flatten(1),
        discriminator(x.expand(3, -1, -1, -1), labels)[:, None],
    ):
        assert len(outputs.unique(dim=0)) == 3


def test_class_vectors_stand_beside_the_latent() -> None:
    generator = R3GANGenerator(4, 8, width=8, num_classes=3)
    plain = R3GANGenerator(8, 8, width=8)
    weights = generator.state_dict()
    vectors = weights.pop("layers.0.embedding.weight")
    plain.load_state_dict(weights)
    z, labels = torch.randn(3, 4), torch.tensor([2, 0, 2])
    expected = plain(torch.cat([z, vectors[labels]], dim=1))
    torch.testing.assert_close(generator(z, labels), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("network", NETWORKS)
def test_missing_labels(network: Any) -> None:
    x = torch.zeros(2, 64) if network is R3GANGenerator else torch.zeros(2, 3, 8, 8)
    with pytest.raises(ValueError, match=rf"'labels' for this {network.__name__}.*num_classes=3"):
        network(image_size=8, width=8, num_classes=3)(x)


def test_samples_do_not_mix() -> None:
    generator, discriminator = R3GANGenerator(5, 8, width=8), R3GANDiscriminator(8, width=8)
    for network, x in ((generator, torch.randn(3, 5)), (discriminator, torch.randn(3, 3, 8, 8))):
        randomize(network)
        assert not mixing_layers(network)
        alone = torch.cat([network(sample[None]) for sample in x])
        torch.testing.assert_close(network(x), alone, rtol=1e-4, atol=1e-5)


def test_options_of_the_head() -> None:
    x, labels = torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 1, 0])
    assert R3GANDiscriminator(8, width=8, num_outputs=3)(x).shape == (4, 3)
    options: Any = {"width": 8, "num_classes": 2, "conditioning": "projection"}
    projected = R3GANDiscriminator(8, minibatch="stddev", **options)
    assert not torch.isclose(projected(x, labels), projected(x, 1 - labels)).any()
    assert mixing_layers(projected) == ["MinibatchStdDev in 'head.minibatch'"]


@pytest.mark.parametrize("share", ["none", "trunk"])
@pytest.mark.parametrize("num_classes", [None, 3])
def test_in_a_mixture(share: Any, num_classes: int | None) -> None:
    mixture = MixtureGenerator(R3GANGenerator(5, 8, width=8, num_classes=num_classes), 2, share)
    for weight in mixture.parameters():
        nn.init.normal_(weight)
    z, labels = torch.randn(4, 7), torch.tensor([0, 2, 1, 1])
    free = mixture(z, labels)
    assert free.abs().max() > 1
    torch.testing.assert_close(mixture.eval()(z, labels), free.clamp(-1, 1), rtol=0, atol=0)


@pytest.mark.parametrize("size", [-32, 0, 4, 12, 48])
@pytest.mark.parametrize("network", NETWORKS)
def test_wrong_size(network: Any, size: int) -> None:
    message = rf"'image_size' to be 4 times a power of 2 and at least 8, got {size}\."
    with pytest.raises(ValueError, match=message):
        network(image_size=size)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": (8, 8)}, r"'width' .* one for each side of \[4, 8, 16\], got \[8, 8\]\."),
        ({"width": (8, 0, 8)}, r"'width' to be at least 1, got 0\."),
        ({"width": 12}, r"'group_width' to divide the 12 x 2 channels .* got 16\."),
        ({"width": 8, "blocks_per_stage": 0}, r"'blocks_per_stage' to be at least 1, got 0\."),
        ({"width": 8, "expansion": 0}, r"'expansion' to be at least 1, got 0\."),
        ({"width": 8, "num_classes": 0}, r"'num_classes' to be at least 1, got 0\."),
    ],
)
@pytest.mark.parametrize("network", NETWORKS)
def test_refusals(network: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(image_size=16, **options)
