from typing import Any

import pytest
import torch
from torch import nn

from lightning_gan.networks import PatchDiscriminator
from tests.toys import flat


def kernel(narrow: int, wide: int, bias: bool = False) -> int:
    """Return the number of weights of a 4x4 convolution."""
    return 16 * narrow * wide + wide * bias


@pytest.mark.parametrize(("num_layers", "side"), [(1, 16), (2, 34), (3, 70)])
def test_receptive_field(num_layers: int, side: int) -> None:
    """The pixels that move the middle logit, far from the borders, found by autograd."""
    network = PatchDiscriminator(1, 2, num_layers, norm="none").double()
    x = torch.randn(1, 1, 128, 128, dtype=torch.float64, requires_grad=True)
    logits = network(x)
    middle = logits.shape[1] // 2
    (gradient,) = torch.autograd.grad(logits[0, middle, middle], x)
    rows, columns = (gradient[0, 0] != 0).nonzero(as_tuple=True)
    for places in (rows, columns):
        assert 0 < places.min() < places.max() < 127
        assert places.max() - places.min() + 1 == side
    assert network.receptive_field == side


def test_as_published() -> None:
    """C64-C128-C256-C512 and a map of 30x30 logits for 256x256 pixels of two images at once."""
    network = PatchDiscriminator(6, norm="batch")
    convolutions = kernel(6, 64, True) + kernel(64, 128) + kernel(128, 256) + kernel(256, 512)
    norms = 2 * (128 + 256 + 512)
    assert flat(network).numel() == convolutions + norms + kernel(512, 1, True) == 2_768_705
    strides = [m.stride[0] for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert strides == [2, 2, 2, 1, 1]
    assert PatchDiscriminator(3, 2)(torch.zeros(2, 3, 256, 256)).shape == (2, 30, 30)


def test_widths_grow_up_to_eightfold() -> None:
    network = PatchDiscriminator(1, 2, num_layers=5)
    widths = [m.out_channels for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert widths == [2, 4, 8, 16, 16, 16, 1]
    assert network.receptive_field == 9 * 2**5 - 2


@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("norm", ["instance", "batch", "layer", "pixel", "none"])
def test_smallest_image(num_layers: int, norm: Any) -> None:
    network = PatchDiscriminator(1, 2, num_layers, norm)
    side = network.smallest_side
    assert side == 3 * 2**num_layers
    assert network(torch.randn(2, 1, side, side + 2**num_layers)).shape == (2, 1, 2)
    for shape in ((1, side - 1, 64), (1, 64, side - 1), (3, 64, 64), (64,)):
        with pytest.raises(ValueError) as error:
            network(torch.zeros(2, *shape))
        assert str(error.value) == (
            f"Expected images with 1 channels and sides of at least {side} pixels for "
            f"num_layers={num_layers}, got samples of the shape {shape}."
        )


@pytest.mark.parametrize("norm", ["instance", "layer", "pixel", "none"])
def test_only_batch_normalization_mixes_samples(norm: Any) -> None:
    network, x = PatchDiscriminator(3, 4, 2, norm), torch.randn(3, 3, 32, 32)
    alone = torch.cat([network(sample[None]) for sample in x])
    torch.testing.assert_close(network(x), alone, rtol=1e-4, atol=1e-5)


def test_labels() -> None:
    network = PatchDiscriminator(3, 2, 1, num_classes=3)
    x, labels = torch.randn(1, 3, 16, 16).expand(3, 3, 16, 16), torch.arange(3)
    assert len(network(x, labels).flatten(1).unique(dim=0)) == 3
    with pytest.raises(ValueError, match=r"'labels' for this PatchDiscriminator.*num_classes=3"):
        network(x)
    plain = PatchDiscriminator(3, 2, 1)
    torch.testing.assert_close(plain(x, labels), plain(x), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["image_channels", "base_channels", "num_layers", "num_classes"])
def test_wrong_sizes(name: str) -> None:
    options: Any = {name: 0}
    with pytest.raises(ValueError, match=f"'{name}' to be at least 1, got 0"):
        PatchDiscriminator(**options)


def test_initial_weights() -> None:
    for layer in PatchDiscriminator(base_channels=16).modules():
        if isinstance(layer, nn.Conv2d):
            weight = layer.weight.detach()
            error = 5 * 0.02 / weight.numel() ** 0.5
            assert weight.std().item() == pytest.approx(0.02, abs=error)
            assert weight.mean().item() == pytest.approx(0, abs=error)
