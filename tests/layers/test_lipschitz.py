import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian

from lightning_gan.layers import (
    DownBlock,
    LipschitzDownBlock,
    SumPool,
    empirical_slope,
    layer_norms,
    lipschitz_bound,
    lipschitz_normalize,
    spectral_normalize,
)

CONVOLUTIONS: list[Callable[[], nn.Module]] = [
    lambda: nn.Conv2d(3, 5, 3, padding=1),
    lambda: nn.Conv2d(3, 5, 4, stride=2, padding=1),
    lambda: nn.Conv2d(4, 6, 3, dilation=2, groups=2, padding="same"),
    lambda: nn.Conv2d(3, 5, 1),
]
TRANSPOSED: list[Callable[[], nn.Module]] = [
    lambda: nn.ConvTranspose2d(3, 5, 4, stride=2, padding=1),
    lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1, groups=2, dilation=2),
]


def example_for(layer: nn.Module, size: int = 6) -> Tensor:
    channels = layer.in_channels
    assert isinstance(channels, int)
    return torch.randn(1, channels, size, size)


def steepness(network: nn.Module, x: Tensor) -> float:
    """Return the largest singular value of the Jacobian at one sample."""

    def flat(x: Tensor) -> Tensor:
        return network(x[None]).flatten()  # type: ignore[no-any-return]

    matrix = jacobian(flat, x).flatten(start_dim=1)
    return float(torch.linalg.svdvals(matrix)[0])


@pytest.mark.parametrize("build", [*CONVOLUTIONS, *TRANSPOSED])
def test_norm_of_a_convolution_is_that_of_its_jacobian(build: Callable[[], nn.Module]) -> None:
    layer = build()
    x = example_for(layer)
    norms = layer_norms(layer, x)
    assert list(norms) == [""]
    assert norms[""] == pytest.approx(steepness(layer, x[0]), rel=1e-5)


def test_weights_that_are_not_finite_have_no_norm() -> None:
    whole, broken = nn.Linear(2, 2), nn.Linear(2, 2)
    broken.weight.data[0, 1] = torch.inf
    norms = layer_norms(nn.Sequential(whole, broken), torch.zeros(1, 2))
    assert norms["0"] > 0
    assert math.isnan(norms["1"])


@pytest.mark.parametrize("shape", [(2, 6), (2, 3, 6)])
def test_norm_of_a_linear_layer_is_that_of_its_matrix(shape: tuple[int, ...]) -> None:
    layer = nn.Linear(6, 9)
    expected = float(torch.linalg.svdvals(layer.weight.detach())[0])
    assert layer_norms(layer, torch.zeros(shape))[""] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("build", CONVOLUTIONS)
def test_normalised_convolutions_have_norm_1(build: Callable[[], nn.Module]) -> None:
    layer = build()
    x = example_for(layer)
    assert lipschitz_normalize(layer, x) is layer
    assert steepness(layer, x[0]) == pytest.approx(1, abs=1e-3)


def test_reshaped_kernels_miss_the_norm_of_a_convolution() -> None:
    """All ones: the kernel's own norm is 3, the convolution's is near 9 on a large map."""
    layer, x = nn.Conv2d(1, 1, 3, padding=1), torch.zeros(1, 1, 12, 12)
    nn.init.ones_(layer.weight)
    by_kernel = spectral_normalize(copy.deepcopy(layer)).eval()
    assert 2.5 < layer_norms(by_kernel, x)[""] <= 3
    assert layer_norms(lipschitz_normalize(layer, x), x)[""] == pytest.approx(1, abs=1e-4)


def test_follows_the_weights_in_training_mode_alone() -> None:
    layer, x = nn.Conv2d(2, 3, 3, padding=1), torch.randn(1, 2, 6, 6)
    lipschitz_normalize(layer, x)
    (weight,) = (p for name, p in layer.named_parameters() if name.endswith("original"))
    nn.init.normal_(weight)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    layer.eval()(x)
    torch.testing.assert_close(dict(layer.state_dict()), before, rtol=0, atol=0)
    assert steepness(layer, x[0]) > 1.1
    layer.train()
    for _ in range(200):
        layer(x)
    assert steepness(layer.eval(), x[0]) == pytest.approx(1, abs=5e-3)


def test_gradient_goes_through_the_norm() -> None:
    """A multiple of a weight is normalised to the same, so its own direction has no slope."""
    layer, x = nn.Conv2d(2, 3, 3, padding=1), torch.randn(1, 2, 6, 6)
    lipschitz_normalize(layer, x)
    (layer(x) * torch.randn(1, 3, 6, 6)).sum().backward()
    (weight,) = (p for name, p in layer.named_parameters() if name.endswith("original"))
    assert weight.grad is not None
    cosine = torch.cosine_similarity(weight.grad.flatten(), weight.detach().flatten(), dim=0)
    assert weight.grad.norm() > 0.1
    assert abs(float(cosine)) < 1e-4


def test_several_passes_can_be_differentiated_together() -> None:
    layer, x = nn.Conv2d(2, 3, 3), torch.randn(2, 2, 6, 6, requires_grad=True)
    lipschitz_normalize(layer, x)
    (slope,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    (slope.square().sum() + layer(x).sum()).backward()
    assert all(p.grad is not None for p in layer.parameters())


@pytest.mark.parametrize("downsample", [True, False])
def test_lipschitz_block_of_normalised_layers_is_1_lipschitz(downsample: bool) -> None:
    x = torch.randn(4, 3, 6, 6)
    plain = DownBlock(3, 3, downsample=downsample, first=True)
    for layer in plain.modules():
        if isinstance(layer, nn.Conv2d):  # both branches are alike, with all units active
            nn.init.dirac_(layer.weight)
            assert layer.bias is not None
            nn.init.constant_(layer.bias, 5.0)
    block = LipschitzDownBlock(3, 3, downsample=downsample, first=True)
    block.load_state_dict(plain.state_dict())
    lipschitz_normalize(plain, x)
    lipschitz_normalize(block, x)
    factor = 0.5 if downsample else 1.0  # of the pooling
    assert steepness(plain, x[0]) == pytest.approx(2 * factor, abs=1e-2)
    assert steepness(block, x[0]) <= 1 + 1e-3


def test_is_not_changed_by_a_second_call() -> None:
    network, x = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1)), torch.randn(2, 3)
    keys = list(lipschitz_normalize(network, x).state_dict())
    assert list(lipschitz_normalize(network, x).state_dict()) == keys


def test_is_as_exact_under_autocast() -> None:
    layer, x = nn.Conv2d(2, 3, 3, padding=1), torch.randn(1, 2, 6, 6)
    lipschitz_normalize(layer, x)
    with torch.autocast("cpu", torch.bfloat16):
        for _ in range(20):
            layer(x)
        inside = layer.eval().weight.detach()
    torch.testing.assert_close(inside, layer.weight.detach(), rtol=0, atol=0)
    assert steepness(layer, x[0]) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 1e-2), (torch.float64, 1e-4)])
def test_goes_with_the_precision_of_the_weights(dtype: torch.dtype, tolerance: float) -> None:
    layer, x = nn.Conv2d(2, 3, 3, padding=1).to(dtype), torch.randn(1, 2, 6, 6, dtype=dtype)
    lipschitz_normalize(layer, x)
    for _ in range(20):
        assert layer(x).dtype == dtype
    assert layer_norms(layer, x)[""] == pytest.approx(1, abs=tolerance)


def test_survives_copies_and_checkpoints() -> None:
    def build() -> nn.Module:
        network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 1))
        return lipschitz_normalize(network, torch.zeros(1, 1, 4, 4))

    network, other = build(), build()
    other.load_state_dict(network.state_dict())
    copied, x = copy.deepcopy(network), torch.randn(2, 1, 4, 4)
    for _ in range(2):
        expected = network(x)
        torch.testing.assert_close(copied(x), expected, rtol=0, atol=0)
        torch.testing.assert_close(other(x), expected, rtol=0, atol=0)


def test_measuring_leaves_network_and_random_numbers_alone() -> None:
    network = spectral_normalize(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)))
    x = torch.randn(2, 1, 5, 5)
    state = torch.get_rng_state()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    layer_norms(network, x)
    empirical_slope(network, x)
    assert torch.equal(torch.get_rng_state(), state)
    assert network.training
    torch.testing.assert_close(dict(network.state_dict()), before, rtol=0, atol=0)


def test_bound_is_the_product_of_the_layers() -> None:
    layer = nn.Conv2d(1, 1, 1)
    nn.init.constant_(layer.weight, -4.0)
    network = nn.Sequential(
        layer, nn.LeakyReLU(3.0), nn.AvgPool2d(2), nn.ReLU(), nn.Tanh(), nn.Flatten()
    )
    x = torch.zeros(1, 1, 4, 4)
    assert lipschitz_bound(network, x) == pytest.approx(4 * 3 / 2, rel=1e-6)
    twice = nn.Sequential(layer, nn.Sequential(layer), nn.AvgPool2d((2, 1)))
    assert lipschitz_bound(twice, x) == pytest.approx(16 / 2**0.5, rel=1e-6)


def test_pooling_has_the_norm_of_its_jacobian() -> None:
    for pool in (nn.AvgPool2d(2), nn.AvgPool2d((3, 1))):
        x = torch.randn(1, 1, 6, 6)
        assert lipschitz_bound(pool, x) == pytest.approx(steepness(pool, x[0]), rel=1e-5)


@pytest.mark.parametrize("downsample", [True, False])
def test_bound_adds_or_averages_the_branches_of_a_block(downsample: bool) -> None:
    plain = DownBlock(2, 3, downsample=downsample)
    mean = LipschitzDownBlock(2, 3, downsample=downsample)
    mean.load_state_dict(plain.state_dict())
    x = torch.randn(1, 2, 6, 6)
    norms = layer_norms(plain, x)
    pool = 0.5 if downsample else 1.0
    total = pool * (norms["residual.2"] * norms["residual.5"] + norms["shortcut.1"])
    assert lipschitz_bound(plain, x) == pytest.approx(total, rel=1e-6)
    assert lipschitz_bound(mean, x) == pytest.approx(total / 2, rel=1e-6)


@pytest.mark.parametrize("block", [DownBlock, LipschitzDownBlock])
def test_no_slope_is_above_the_bound(block: type[DownBlock]) -> None:
    network = nn.Sequential(
        block(2, 4, first=True),
        block(4, 4, downsample=False),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(36, 1),
    )
    x = torch.randn(8, 2, 6, 6)
    slopes = empirical_slope(network, x)
    bound = lipschitz_bound(network, x)
    assert slopes.shape == (8,)
    assert float(slopes.max()) <= bound
    lipschitz_normalize(network, x)
    assert lipschitz_bound(network, x) <= (0.5 if block is LipschitzDownBlock else 2.0) + 1e-3
    assert float(empirical_slope(network, x).max()) <= lipschitz_bound(network, x)


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (nn.BatchNorm2d(2), "BatchNorm2d"),
        (nn.AvgPool2d(3, stride=1), "AvgPool2d"),
        (nn.AvgPool2d(4, ceil_mode=True), "AvgPool2d"),
        (nn.MaxPool2d(2), "MaxPool2d"),
        (DownBlock(2, 2, norm="layer"), "GroupNorm"),
    ],
)
def test_bound_names_a_layer_that_it_does_not_know(layer: nn.Module, name: str) -> None:
    with pytest.raises(TypeError, match=f"got {name} in '1"):
        lipschitz_bound(nn.Sequential(nn.Conv2d(2, 2, 1), layer), torch.zeros(1, 2, 6, 6))


def test_slope_is_that_of_the_mean_logit_per_sample() -> None:
    x = torch.randn(3, 2, 2, requires_grad=True)
    scale = torch.tensor([1.0, 2.0, 3.0])

    class Scaled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            values = x.flatten(start_dim=1) * scale[:, None]
            return torch.stack([values.sum(dim=1), 3 * values.sum(dim=1)], dim=1)

    with torch.inference_mode():
        slopes = empirical_slope(Scaled(), x)
    torch.testing.assert_close(slopes, scale * 2 * 2.0, rtol=1e-6, atol=0)  # |(2, 2, 2, 2)| = 4
    assert not slopes.requires_grad


def test_refuses_layers_that_it_cannot_measure() -> None:
    class Skipping(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return self[0](x)  # type: ignore[no-any-return]

    with pytest.raises(ValueError, match="no use of '1'"):
        layer_norms(Skipping(nn.Linear(2, 2), nn.Linear(2, 2)), torch.zeros(1, 2))
    shared = nn.Conv2d(1, 1, 3)
    with pytest.raises(ValueError, match="one size at '0'"):
        layer_norms(nn.Sequential(shared, shared), torch.zeros(1, 1, 8, 8))
    circular = nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular")
    with pytest.raises(TypeError, match="padding_mode='circular'"):
        lipschitz_normalize(circular, torch.zeros(1, 1, 4, 4))
    zeros = nn.Linear(2, 2)
    nn.init.zeros_(zeros.weight)
    with pytest.raises(ValueError, match="not to be all zeros"):
        lipschitz_normalize(nn.Sequential(zeros), torch.zeros(1, 2))


def test_example_is_taken_from_the_shape_that_a_network_names() -> None:
    layer = nn.Conv2d(2, 3, 3, padding=1)
    network = nn.Sequential(layer)
    with pytest.raises(TypeError, match="'sample_shape', got a Sequential"):
        lipschitz_normalize(network)
    network.sample_shape = (2, 6, 6)  # type: ignore[assignment]
    lipschitz_normalize(network)
    assert layer_norms(network, torch.zeros(1, 2, 6, 6))["0"] == pytest.approx(1, abs=1e-4)


def test_sum_pool_is_as_steep_as_its_positions_are_many() -> None:
    pool = SumPool()
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64)
    matrix = jacobian(pool, x).reshape(2, -1)
    expected = torch.linalg.svdvals(matrix)[0].item()
    assert layer_norms(nn.Sequential(pool), x)["0"] == pytest.approx(expected)


class _Chain(nn.Module):
    """As a discriminator is: layers, then a head, then nothing."""

    chain = ("layers", "head")

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.LeakyReLU(0.2))
        self.head = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.layers(x))
        return logits


def test_module_that_names_its_chain_has_a_bound() -> None:
    network = _Chain()
    first, second = network.layers[0], network.head
    assert isinstance(first, nn.Linear)
    norms = [torch.linalg.svdvals(layer.weight)[0].item() for layer in (first, second)]
    example = torch.randn(5, 3)
    bound = lipschitz_bound(network, example)
    assert bound == pytest.approx(norms[0] * norms[1], rel=1e-4)
    assert empirical_slope(network, example).max() <= bound


def test_what_is_normalised_one_way_is_not_normalised_the_other() -> None:
    example = torch.zeros(1, 3, 8, 8)
    network = lipschitz_normalize(nn.Sequential(nn.Conv2d(3, 4, 3)), example)
    spectral_normalize(network)
    assert layer_norms(network, example)["0"] == pytest.approx(1, abs=1e-3)
    other = spectral_normalize(nn.Sequential(nn.Conv2d(3, 4, 3)))
    weight = other[0].weight.clone()  # type: ignore[index]
    torch.testing.assert_close(lipschitz_normalize(other, example)[0].weight, weight)  # type: ignore[index]


def test_conditional_networks_are_refused() -> None:
    network = nn.Linear(2, 1)
    network.sample_shape, network.num_classes = (2,), 3  # type: ignore[assignment]
    with pytest.raises(TypeError, match="Expected an unconditional network, got a Linear"):
        lipschitz_normalize(network)
