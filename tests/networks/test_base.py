from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_gan.layers import ConditionalBatchNorm2d, ConditionalSequential, spectral_normalize
from lightning_gan.networks import Discriminator, Generator
from lightning_gan.networks.base import check_attention, image_shape


class Doubler(Generator):
    """Makes latents twice as long as a sample of that many numbers."""

    def __init__(self, latent_dim: int = 3, num_classes: int | None = None) -> None:
        super().__init__(latent_dim, (2 * latent_dim,), num_classes)
        self.layers = nn.Linear(self.latent_channels, 2 * latent_dim)


class Summer(Discriminator):
    """Averages channels; its head weighs them."""

    def __init__(
        self,
        sample_shape: tuple[int, ...] = (3, 2, 4),
        num_classes: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(sample_shape, num_classes, **options)
        self.layers = nn.Sequential(nn.Flatten(2), nn.AdaptiveAvgPool1d(1), nn.Flatten())
        self.head = self.build_head(self.channels)


def test_generator() -> None:
    network, z = Doubler(), torch.randn(5, 3)
    assert (network.latent_dim, network.sample_shape, network.num_classes) == (3, (6,), None)
    torch.testing.assert_close(network(z), network.layers(z), rtol=0, atol=0)


def test_conditional_generator_appends_one_hot_labels() -> None:
    network, z = Doubler(num_classes=2), torch.randn(2, 3)
    assert network.latent_dim == 3
    assert network.latent_channels == 5
    one_hot = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    expected = network.layers(torch.cat([z, one_hot], dim=1))
    actual = network(z, torch.tensor([1, 0]))
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


def test_discriminator_returns_a_logit_per_sample() -> None:
    network, x = Summer(), torch.randn(5, 3, 2, 4)
    assert (network.sample_shape, network.num_classes, network.channels) == ((3, 2, 4), None, 3)
    logits = network(x)
    assert logits.shape == (5,)
    torch.testing.assert_close(network.features(x), x.mean(dim=(2, 3)), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(logits, network.head(network.features(x))[:, 0], rtol=0, atol=0)
    assert network(x[:1]).shape == (1,)


def test_several_logits_per_sample() -> None:
    network, x = Summer(num_outputs=4), torch.randn(5, 3, 2, 4)
    weight, bias = network.parameters()
    assert network(x).shape == (5, 4)
    expected = x.mean(dim=(2, 3)) @ weight.T + bias
    torch.testing.assert_close(network(x), expected, rtol=1e-5, atol=1e-6)


def test_projection_leaves_the_samples_as_they_are() -> None:
    network, x = Summer(num_classes=2, conditioning="projection"), torch.randn(3, 3, 2, 4)
    assert network.channels == 3
    labels = torch.tensor([1, 0, 1])
    features = x.mean(dim=(2, 3))
    torch.testing.assert_close(network.features(x, labels), features, rtol=1e-5, atol=1e-6)
    weight, bias, vectors = (p.detach() for p in network.parameters())
    expected = [
        float(f @ weight[0] + bias[0] + f @ vectors[y])
        for f, y in zip(features, labels, strict=True)
    ]
    actual = network(x, labels)
    torch.testing.assert_close(actual.detach(), torch.tensor(expected), rtol=1e-5, atol=1e-6)


def test_norm_conditioning_leaves_the_latents_as_they_are() -> None:
    generator = Generator(4, (4,), num_classes=2, conditioning="norm")
    assert generator.latent_channels == 4
    norm = ConditionalBatchNorm2d(4, 2).eval()
    generator.layers = ConditionalSequential(nn.Unflatten(1, (4, 1, 1)), norm, nn.Flatten())
    with torch.no_grad():
        norm.bias[1] = 3
    z = torch.randn(2, 4)
    expected = z + torch.tensor([[3.0], [0.0]])
    torch.testing.assert_close(generator(z, torch.tensor([1, 0])), expected, rtol=1e-4, atol=1e-4)


def test_conditional_discriminator_appends_one_hot_planes() -> None:
    network, x = Summer(num_classes=2), torch.randn(2, 3, 2, 4)
    assert network.channels == 5
    planes = torch.zeros(2, 2, 2, 4)
    planes[0, 1] = planes[1, 0] = 1
    expected = network.head(network.layers(torch.cat([x, planes], dim=1)))[:, 0]
    actual = network(x, torch.tensor([1, 0]))
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("network", "samples"),
    [(Doubler(), torch.randn(2, 3)), (Summer(), torch.randn(2, 3, 2, 4))],
    ids=["generator", "discriminator"],
)
def test_unconditional_networks_ignore_labels(network: nn.Module, samples: Tensor) -> None:
    labelled = network(samples, torch.tensor([0, 1]))
    torch.testing.assert_close(labelled, network(samples), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("network", "samples"),
    [
        (Doubler(num_classes=2), torch.randn(2, 3)),
        (Summer(num_classes=2), torch.randn(2, 3, 2, 4)),
        (Summer(num_classes=2, conditioning="projection"), torch.randn(2, 3, 2, 4)),
    ],
    ids=["generator", "discriminator", "projection"],
)
def test_missing_labels(network: nn.Module, samples: Tensor) -> None:
    message = rf"'labels' for this {type(network).__name__}, .* num_classes=2, got None\."
    with pytest.raises(ValueError, match=message):
        network(samples)


@pytest.mark.parametrize("shape", [(1, 2, 4), (3, 4, 2), (3, 2, 5), (3, 2), (24,)])
def test_wrong_samples(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError) as error:
        Summer()(torch.zeros(2, *shape))
    assert str(error.value) == (
        f"Expected samples of the shape (3, 2, 4) for which this Summer was built, got {shape}."
    )


@pytest.mark.parametrize("shape", [(), (2, 2), (1, 2, 3, 4), (0,), (3, -1, 4)])
def test_wrong_sample_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"'sample_shape' to be \(C, H, W\) or \(D,\) .*, got \("):
        Summer(shape)


@pytest.mark.parametrize("length", [0, -3])
def test_wrong_latent_dim(length: int) -> None:
    with pytest.raises(ValueError, match=f"'latent_dim' to be at least 1, got {length}"):
        Doubler(length)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_outputs": 0}, r"'num_outputs' to be at least 1, got 0\."),
        ({"num_classes": 0}, r"'num_classes' to be at least 1, got 0\."),
        ({"conditioning": "projection"}, r"'num_classes' with conditioning='projection', got None"),
        ({"conditioning": "norm"}, r"'conditioning' to be 'concat' or 'projection', got 'norm'\."),
        (
            {"conditioning": "projection", "num_classes": 2, "num_outputs": 3},
            r"'num_outputs' to be 1 with conditioning='projection', .*, got 3\.",
        ),
        ({"minibatch": "std"}, r"'minibatch' to be 'none', .*, got 'std'\."),
    ],
)
def test_wrong_options_of_a_discriminator(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Summer(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": -1}, r"'num_classes' to be at least 1, got -1\."),
        ({"conditioning": "norm"}, r"'num_classes' with conditioning='norm', got None\."),
        ({"conditioning": "projection"}, r"'conditioning' to be 'concat' or 'norm', got 'proj"),
    ],
)
def test_wrong_options_of_a_generator(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Generator(2, (2,), **options)


def test_initialize_draws_all_weights_anew() -> None:
    generator = Generator(4, (4,))
    generator.layers = nn.Sequential(nn.Linear(4, 400), nn.BatchNorm1d(400), nn.Linear(400, 4))
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    for _ in range(3):
        generator(torch.randn(8, 4))
    torch.manual_seed(7)
    generator.initialize()
    torch.manual_seed(7)
    first, last = nn.Linear(4, 400), nn.Linear(400, 4)
    after = generator.state_dict()
    torch.testing.assert_close(after["layers.0.weight"], first.weight.detach(), rtol=0, atol=0)
    torch.testing.assert_close(after["layers.2.bias"], last.bias.detach(), rtol=0, atol=0)
    assert not torch.equal(after["layers.0.weight"], before["layers.0.weight"])
    for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(after[f"layers.1.{name}"], before[f"layers.1.{name}"])


def test_initialize_refuses_parametrised_weights() -> None:
    generator = Doubler()
    spectral_normalize(generator)
    with pytest.raises(ValueError, match=r"without parametrisations, got one in Parametrized"):
        generator.initialize()


def test_initialize_a_part() -> None:
    generator = Generator(4, (4,))
    part, rest = nn.Linear(4, 4), nn.Linear(4, 4)
    generator.layers = nn.Sequential(part, rest)
    before = part.weight.detach().clone(), rest.weight.detach().clone()
    generator.initialize(part)
    assert not torch.equal(part.weight, before[0])
    assert torch.equal(rest.weight, before[1])


def test_attention_on_a_missing_map() -> None:
    check_attention((), [4, 8])
    check_attention([8, 4], [16, 8, 4])
    message = r"'attention' to hold shorter sides of this network's maps, \[4, 8\], got 16\."
    with pytest.raises(ValueError, match=message):
        check_attention([8, 16], [8, 4, 4])


def test_image_shape() -> None:
    assert image_shape(8, 3) == (3, 8, 8)
    assert image_shape((8, 16), 1) == (1, 8, 16)
