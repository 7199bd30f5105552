import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter

from lightning_gan.functional import enlarge
from lightning_gan.networks import Generator, Growing


class Steps(Growing):
    """A user's network: one number for each resolution, shown as an image of that side."""

    def __init__(self, *resolutions: int) -> None:
        super().__init__(resolutions or (4, 8, 16))
        self.values = nn.Parameter(torch.randn(len(self.resolutions)))

    def forward(self, z: Tensor) -> Tensor:
        stage = self.resolutions.index(self.resolution)
        shape = (len(z), 1, self.resolution, self.resolution)
        images = self.values[stage].expand(shape)
        if self.fading:
            images = self.fade(self.values[stage - 1].expand(shape), images)
        return images


class Maps(Growing, Generator):
    """One that is a generator, too, and convolves."""

    def __init__(self, resolutions: tuple[int, ...] = (4, 8), **options: Any) -> None:
        side = resolutions[-1]
        super().__init__(resolutions, latent_dim=3, sample_shape=(2, side, side), **options)
        self.to_image = nn.ModuleList([nn.Conv2d(3, 2, 1) for _ in resolutions])

    def layers(self, z: Tensor) -> Tensor:  # type: ignore[override]
        stage = self.resolutions.index(self.resolution)
        h = z[:, :, None, None]
        images: Tensor = self.to_image[stage](enlarge(h, self.resolution))
        if self.fading:
            images = self.fade(self.to_image[stage - 1](enlarge(h, self.resolution)), images)
        return images


def saved(network: nn.Module) -> dict[str, Any]:
    """Return the state as it comes back from a file that may hold nothing but weights."""
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    state: dict[str, Any] = torch.load(file, weights_only=True)
    return state


def test_starts_at_the_last_resolution() -> None:
    network = Steps(2, 4, 8)
    assert network.resolutions == (2, 4, 8)
    assert (network.resolution, network.alpha, network.fading) == (8, 1, False)


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.9])
@pytest.mark.parametrize("resolution", [8, 16])
def test_mixes_while_it_fades(resolution: int, alpha: float) -> None:
    network = Steps()
    network.grow(resolution, alpha)
    assert (network.resolution, network.alpha, network.fading) == (resolution, alpha, True)
    stage = {8: 1, 16: 2}[resolution]
    low, high = network.values.detach()[[stage - 1, stage]]
    images = network(torch.zeros(3, 1)).detach()
    expected = ((1 - alpha) * low + alpha * high).expand(3, 1, resolution, resolution)
    torch.testing.assert_close(images, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_ends_of_the_fade_are_exact(dtype: torch.dtype) -> None:
    low, high = torch.randn(2, 100).mul(100).to(dtype)
    network = Steps()
    for alpha, expected in ((0.0, low), (1.0, high)):
        network.grow(8, alpha)
        torch.testing.assert_close(network.fade(low, high), expected, rtol=0, atol=0)
    network.grow(8, 1 - 2**-40)  # still fading, though no float32 is that close to 1
    assert network.fading
    if dtype != torch.float64:
        torch.testing.assert_close(network.fade(low, high), high, rtol=0, atol=0)


def test_fade_gives_each_part_its_share_of_the_gradient() -> None:
    low, high = torch.randn(5, requires_grad=True), torch.randn(5, requires_grad=True)
    network = Steps()
    network.grow(8, 0.25)
    network.fade(low, high).sum().backward()
    torch.testing.assert_close(low.grad, torch.full((5,), 0.75), rtol=0, atol=0)
    torch.testing.assert_close(high.grad, torch.full((5,), 0.25), rtol=0, atol=0)


def test_growing_on_spoils_no_gradient() -> None:
    network = Steps()
    network.grow(16, 0.25)
    images = network(torch.zeros(2, 1))
    network.grow(16, 0.5)
    images.mean().backward()
    expected = torch.tensor([0, 0.75, 0.25])
    torch.testing.assert_close(network.values.grad, expected, rtol=1e-6, atol=0)


def test_shape_of_a_sample_follows() -> None:
    network = Maps((4, 8, 16))
    assert network.sample_shape == (2, 16, 16)
    for resolution, alpha in ((4, 1.0), (8, 0.5), (8, 1.0), (16, 0.0)):
        network.grow(resolution, alpha)
        assert network.sample_shape == (2, resolution, resolution)
        assert network(torch.zeros(3, 3)).shape == (3, *network.sample_shape)
    assert not hasattr(Steps(), "sample_shape")


def test_arguments_reach_the_next_class() -> None:
    assert Maps(num_classes=4).num_classes == 4
    with pytest.raises(ValueError, match="'num_classes' to be at least 1, got 0"):
        Maps(num_classes=0)


@pytest.mark.parametrize(("resolution", "alpha"), [(4, 1.0), (8, 1 / 3), (8, 0.0), (16, 1.0)])
def test_state_survives_a_file(resolution: int, alpha: float) -> None:
    network, other = Steps(), Steps()
    network.grow(resolution, alpha)
    state = saved(network)
    assert set(state) == {"values", "_extra_state"}
    other.load_state_dict(state)
    assert (other.resolution, other.alpha) == (resolution, alpha)
    z = torch.zeros(2, 1)
    torch.testing.assert_close(other(z), network(z), rtol=0, atol=0)


def test_alpha_is_exact_whatever_the_precision() -> None:
    network = Maps().to(torch.bfloat16)
    network.grow(8, 1 / 3)
    assert network.alpha == 1 / 3
    other = Maps()
    other.load_state_dict(saved(network))
    assert other.alpha == 1 / 3
    double = Maps().double()
    double.load_state_dict(saved(network))
    low, high = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    assert double.fade(low, high).item() == 1 / 3


def test_parts_of_a_model_each_keep_their_place() -> None:
    model, other = nn.ModuleList([Steps(), Maps()]), nn.ModuleList([Steps(), Maps()])
    for part, place in zip(model, [(16, 0.1), (8, 0.2)], strict=True):
        assert isinstance(part, Growing)
        part.grow(*place)
    other.load_state_dict(saved(model))
    found = [(part.resolution, part.alpha) for part in other if isinstance(part, Growing)]
    assert found == [(16, 0.1), (8, 0.2)]
    assert isinstance(other[1], Maps)
    assert other[1].sample_shape == (2, 8, 8)


def test_copies_grow_apart() -> None:
    network = Maps()
    network.grow(8, 0.25)
    twin = copy.deepcopy(network)
    network.grow(4)
    assert (twin.resolution, twin.alpha, twin.fading) == (8, 0.25, True)
    assert twin.sample_shape == (2, 8, 8)
    twin.grow(8, 0.75)
    low, high = torch.zeros(1), torch.ones(1)
    assert network.fade(low, high).item() == 1
    assert twin.fade(low, high).item() == 0.75


def test_state_of_a_resolution_that_it_lacks() -> None:
    large = Steps(4, 8)
    small = Steps(2, 4)
    large.grow(8, 0.5)
    with pytest.raises(ValueError, match=r"'resolution' .* this Steps's, \[2, 4\], got 8\."):
        small.load_state_dict(large.state_dict())
    large.grow(4)
    small.load_state_dict(large.state_dict())
    assert small.resolution == 4


def test_fades_under_autocast() -> None:
    network = Maps()
    network.grow(8, 0.3)
    z = torch.randn(2, 3)
    expected = network(z).detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        images = network(z)
    assert images.dtype == torch.bfloat16
    torch.testing.assert_close(images.detach().float(), expected, rtol=0.03, atol=0.03)
    images.float().square().mean().backward()
    for weight in network.parameters():
        assert weight.grad is not None
        assert weight.grad.isfinite().all()
        assert weight.grad.any()


def test_works_on_the_meta_device() -> None:
    with torch.device("meta"):
        network = Maps()
    network.grow(8, 0.5)
    assert network(torch.zeros(2, 3, device="meta")).shape == (2, 2, 8, 8)
    real = network.to_empty(device="cpu")
    real.load_state_dict(Maps().state_dict())
    assert real.fade(torch.zeros(1), torch.ones(1)).item() == 1


def test_compiles_once_for_each_resolution_and_fade() -> None:
    torch._dynamo.reset()
    network, counter = Steps(), CompileCounter()
    plain = copy.deepcopy(network)
    network.compile(backend=counter)
    z = torch.zeros(2, 1)
    places = [(4, 1.0), (8, 0.0), (8, 0.1), (8, 0.9), (8, 1.0), (16, 0.5), (16, 0.6), (16, 1.0)]
    counts = []
    for place in [*places, (8, 0.2), (4, 1.0)]:
        for part in (network, plain):
            part.grow(*place)
        torch.testing.assert_close(network(z), plain(z), rtol=0, atol=0)
        counts.append(counter.frame_count)
    assert counts == [1, 2, 2, 2, 3, 4, 4, 5, 5, 5]


@pytest.mark.parametrize("resolutions", [(), (4, 8, 12), (8, 4), (4, 4), (4, 16)])
def test_refuses_resolutions_that_do_not_double(resolutions: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="'resolutions', each twice the one before, got") as error:
        Growing(resolutions)
    assert str(list(resolutions)) in str(error.value)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ((5, 1.0), r"'resolution' to be one of this Steps's, \[4, 8, 16\], got 5\."),
        ((32, 0.5), r"'resolution' to be one of this Steps's, \[4, 8, 16\], got 32\."),
        ((4, 0.5), r"'alpha' to be 1 at the first resolution, got 0\.5 at 4\."),
        ((4, 0.0), r"'alpha' to be 1 at the first resolution, got 0\.0 at 4\."),
        ((8, -0.1), r"'alpha' to be in \[0, 1\], got -0\.1 at 8\."),
        ((8, 1.1), r"'alpha' to be in \[0, 1\], got 1\.1 at 8\."),
        ((4, 1.1), r"'alpha' to be in \[0, 1\], got 1\.1 at 4\."),
        ((8, float("nan")), r"'alpha' to be in \[0, 1\], got nan at 8\."),
    ],
)
def test_refusals_change_nothing(place: tuple[int, float], message: str) -> None:
    network = Steps()
    network.grow(16, 0.25)
    with pytest.raises(ValueError, match=message):
        network.grow(*place)
    assert (network.resolution, network.alpha, network.fading) == (16, 0.25, True)
    assert network.fade(torch.zeros(1), torch.ones(1)).item() == 0.25
