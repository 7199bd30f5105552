from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_gan import GAN, MADGAN, WGAN
from lightning_gan.diagnostics import steepness
from lightning_gan.networks import (
    MLPDiscriminator,
    MLPGenerator,
    ProGANDiscriminator,
    ProGANGenerator,
)
from lightning_gan.training.batch import Batch
from tests.toys import NUM_CLASSES, networks_for, toy_networks


class Slope(nn.Module):
    """A linear critic, of the steepness 5."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 1), nn.Flatten(start_dim=0))
        self.layers[0].weight.data = torch.tensor([[3.0, 4.0]])

    chain = ("layers",)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x)
        return logits


def test_a_line_is_as_steep_everywhere_as_it_may_be() -> None:
    figures = steepness(WGAN(MLPGenerator(hidden=(4,)), Slope()), Batch(torch.randn(20, 2)))
    names = {"slope_mean", "slope_max", "largest_layer_norm", "lipschitz_bound"}
    assert figures == pytest.approx(dict.fromkeys(names, 5.0), rel=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_left_out(value: float) -> None:
    model = GAN(**toy_networks())
    next(model.discriminator.parameters()).data[0, 0] = value
    assert steepness(model, Batch(torch.randn(20, 2))) == {}


class Square(nn.Module):
    """Half the squared length, whose slope is the length."""

    def forward(self, x: Tensor) -> Tensor:
        return x.square().sum(dim=1) / 2


def test_slopes_are_those_at_real_and_at_generated_samples() -> None:
    real, fake = torch.randn(20, 2), 3 * torch.randn(12, 2)
    figures = steepness(WGAN(MLPGenerator(hidden=(4,)), Square()), Batch(real), Batch(fake))
    lengths = torch.cat([real, fake]).norm(dim=1)
    expected = {"slope_mean": float(lengths.mean()), "slope_max": float(lengths.max())}
    assert figures == pytest.approx(expected, rel=1e-5)


def test_bound_is_the_product_of_the_norms() -> None:
    model = GAN(**toy_networks())
    weights = [m.weight for m in model.discriminator.modules() if isinstance(m, nn.Linear)]
    norms = [float(torch.linalg.svdvals(weight.detach())[0]) for weight in weights]
    figures = steepness(model, Batch(torch.randn(30, 2)))
    assert figures["largest_layer_norm"] == pytest.approx(max(norms), rel=1e-5)
    assert figures["lipschitz_bound"] == pytest.approx(norms[0] * norms[1], rel=1e-5)
    assert figures["slope_mean"] < figures["slope_max"] <= figures["lipschitz_bound"]


def normalised() -> GAN:
    discriminator = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    return GAN(**toy_networks() | {"discriminator": discriminator})


@pytest.mark.parametrize(
    "build",
    [
        normalised,
        lambda: GAN(**toy_networks(NUM_CLASSES)),
        lambda: MADGAN(**networks_for(MADGAN)),
    ],
    ids=["batch normalisation", "classes", "several outputs"],
)
def test_unknown_bounds_are_left_out(build: Callable[[], GAN]) -> None:
    model = build()
    labels = torch.arange(6) if model.num_classes else None
    figures = steepness(model, Batch(torch.randn(6, 2), labels))
    assert figures.keys() == {"slope_mean", "slope_max", "largest_layer_norm"}


def test_networks_that_have_not_grown_have_slopes_alone() -> None:
    options: dict[str, Any] = {"image_channels": 1, "fmap_base": 32, "fmap_max": 8}
    model = GAN(ProGANGenerator(4, 16, **options), ProGANDiscriminator(16, **options))
    for network in (model.generator, model.discriminator):
        network.grow(8, alpha=0.5)  # type: ignore[operator]
    figures = steepness(model, model.receive(torch.rand(6, 1, 16, 16)))
    assert figures.keys() == {"slope_mean", "slope_max"}


def test_classes_are_told() -> None:
    """A projection is as steep as its class's vector is long."""
    networks = toy_networks(3, conditioning="projection")
    networks["discriminator"] = MLPDiscriminator(
        hidden=(2,), num_classes=3, conditioning="projection"
    )
    model = GAN(**networks)
    head: Any = model.discriminator.head
    head.linear.weight.data.zero_()
    head.embedding.weight.data = torch.tensor([[1.0, 0.0], [5.0, 0.0], [0.0, 0.0]])
    [first] = [m for m in model.discriminator.layers.modules() if isinstance(m, nn.Linear)]  # type: ignore[union-attr]
    first.weight.data, first.bias.data = torch.eye(2), torch.full((2,), 50.0)
    samples = torch.rand(3, 2)
    for label, expected in enumerate([1.0, 5.0, 0.0]):
        batch = Batch(samples, torch.full((3,), label))
        assert steepness(model, batch, batch)["slope_max"] == pytest.approx(expected)


def test_packs_are_looked_at_whole() -> None:
    model = WGAN(MLPGenerator(hidden=(4,)), Square(), packing=2)
    samples = torch.randn(8, 2)
    lengths = samples.reshape(4, 4).norm(dim=1)
    figures = steepness(model, Batch(samples), Batch(samples))
    assert figures["slope_mean"] == pytest.approx(float(lengths.mean()), rel=1e-5)
