import pytest
import torch
from torch import Tensor, nn

from lightning_gan.networks import Discriminator, Generator
from lightning_gan.networks.base import image_shape


class Doubler(Generator):
    """Makes latents twice as long as a sample of that many numbers."""

    def __init__(self, latent_dim: int = 3, num_classes: int | None = None) -> None:
        super().__init__(latent_dim, (2 * latent_dim,), num_classes)
        self.layers = nn.Linear(self.latent_channels, 2 * latent_dim)


class Summer(Discriminator):
    """Weighs and sums channels."""

    def __init__(
        self, sample_shape: tuple[int, ...] = (3, 2, 4), num_classes: int | None = None
    ) -> None:
        super().__init__(sample_shape, num_classes)
        self.layers = nn.Sequential(
            nn.Flatten(2), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(self.channels, 1)
        )


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
    torch.testing.assert_close(logits, network.layers(x)[:, 0], rtol=0, atol=0)
    assert network(x[:1]).shape == (1,)


def test_conditional_discriminator_appends_one_hot_planes() -> None:
    network, x = Summer(num_classes=2), torch.randn(2, 3, 2, 4)
    assert network.channels == 5
    planes = torch.zeros(2, 2, 2, 4)
    planes[0, 1] = planes[1, 0] = 1
    expected = network.layers(torch.cat([x, planes], dim=1))[:, 0]
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
    ],
    ids=["generator", "discriminator"],
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


def test_image_shape() -> None:
    assert image_shape(8, 3) == (3, 8, 8)
    assert image_shape((8, 16), 1) == (1, 8, 16)
