from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, batch_norm, conv2d, interpolate

from lightning_gan.layers import DownBlock, LipschitzDownBlock, Normalization, UpBlock


def assert_near(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def convolutions(block: nn.Module) -> tuple[list[nn.Conv2d], nn.Conv2d | None]:
    """Return a block's 3x3 convolutions and that of its shortcut."""
    layers = [layer for layer in block.modules() if isinstance(layer, nn.Conv2d)]
    wide = [layer for layer in layers if layer.kernel_size == (3, 3)]
    narrow = [layer for layer in layers if layer.kernel_size == (1, 1)]
    assert len(wide) == 2
    assert len(narrow) == len(layers) - 2 <= 1
    return wide, narrow[0] if narrow else None


def apply(layer: nn.Conv2d, x: Tensor) -> Tensor:
    return conv2d(x, layer.weight, layer.bias, padding=layer.kernel_size[0] // 2)


def down_reference(block: DownBlock, x: Tensor, downsample: bool, first: bool) -> Tensor:
    """The formula of the paper: the shortcut is convolved first, then pooled."""
    (one, two), shortcut = convolutions(block)
    hidden = apply(two, apply(one, x if first else x.relu()).relu())
    short = x if shortcut is None else apply(shortcut, x)
    return avg_pool2d(hidden, 2) + avg_pool2d(short, 2) if downsample else hidden + short


@pytest.mark.parametrize("downsample", [True, False])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("channels", [(3, 3), (3, 5)])
@pytest.mark.parametrize("size", [(8, 8), (4, 12)])
def test_down_block(
    downsample: bool, first: bool, channels: tuple[int, int], size: tuple[int, int]
) -> None:
    block = DownBlock(*channels, downsample=downsample, first=first)
    x = torch.randn(2, channels[0], *size)
    y = block(x)
    scale = 2 if downsample else 1
    assert y.shape == (2, channels[1], size[0] // scale, size[1] // scale)
    assert_near(y, down_reference(block, x, downsample, first))
    learned = downsample or channels[0] != channels[1]
    assert (convolutions(block)[1] is not None) == learned


def test_down_block_adds_its_input_itself_where_shapes_agree() -> None:
    block = DownBlock(4, 4, downsample=False)
    wide, shortcut = convolutions(block)
    assert shortcut is None
    for layer in wide:
        nn.init.zeros_(layer.weight)
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)
    x = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(block(x), x, rtol=0, atol=0)


@pytest.mark.parametrize(("first", "count"), [(False, 2), (True, 1)])
@pytest.mark.parametrize(
    ("norm", "kind"),
    [("batch", nn.BatchNorm2d), ("instance", nn.InstanceNorm2d), ("layer", nn.GroupNorm)],
)
def test_down_block_normalizes_in_front_of_each_activation(
    norm: Any, kind: type[nn.Module], first: bool, count: int
) -> None:
    block = DownBlock(3, 5, first=first, norm=norm)
    layers = list(block.residual)
    places = [i for i, layer in enumerate(layers) if isinstance(layer, kind)]
    assert len(places) == count
    assert all(isinstance(layers[i + 1], nn.ReLU) for i in places)


def test_down_block_without_norm_treats_every_sample_by_itself() -> None:
    block, x = DownBlock(3, 5), torch.randn(4, 3, 8, 8)
    assert_near(block(x), torch.cat([block(sample[None]) for sample in x]))


def test_blocks_leave_their_input_alone() -> None:
    x = torch.randn(2, 3, 4, 4)
    before = x.clone()
    for block in (UpBlock(3, 5), DownBlock(3, 5), DownBlock(3, 5, first=True)):
        block(x)
        torch.testing.assert_close(x, before, rtol=0, atol=0)


@pytest.mark.parametrize("channels", [(3, 3), (5, 3)])
@pytest.mark.parametrize("size", [(4, 4), (2, 6)])
def test_up_block(channels: tuple[int, int], size: tuple[int, int]) -> None:
    """The formula of the paper: the shortcut is upsampled first, then convolved."""
    block = UpBlock(*channels)
    x = torch.randn(4, channels[0], *size)
    y = block(x)
    assert y.shape == (4, channels[1], 2 * size[0], 2 * size[1])
    (one, two), shortcut = convolutions(block)
    assert shortcut is not None

    def normalized(x: Tensor) -> Tensor:
        return batch_norm(x, None, None, training=True)

    def doubled(x: Tensor) -> Tensor:
        return interpolate(x, scale_factor=2, mode="nearest")

    hidden = apply(one, doubled(normalized(x).relu()))
    hidden = apply(two, normalized(hidden).relu())
    assert_near(y, hidden + apply(shortcut, doubled(x)))


def test_up_block_keeps_the_names_of_its_weights() -> None:
    convolution = {f"residual.{i}.{kind}" for i in (3, 6) for kind in ("weight", "bias")}
    norm = {f"residual.{i}.{kind}" for i in (0, 4) for kind in ("weight", "bias")}
    shortcut = {"shortcut.0.weight", "shortcut.0.bias"}
    block = UpBlock(3, 5)
    assert {name for name, _ in block.named_parameters()} == convolution | norm | shortcut
    assert block.num_classes is None


def test_conditional_up_block_normalizes_by_class() -> None:
    block, x, labels = UpBlock(3, 5, num_classes=4), torch.randn(4, 3, 4, 4), torch.arange(4)
    plain = UpBlock(3, 5)
    for i in (3, 6):
        plain.residual[i] = block.residual[i]
    plain.shortcut = block.shortcut
    assert block.num_classes == 4
    assert_near(block(x, labels), plain(x))
    with torch.no_grad():
        dict(block.named_parameters())["residual.4.bias"][1] = 1.0  # of class 1 alone
    changed = (block(x, labels) - plain(x)).abs().amax(dim=(1, 2, 3))
    assert (changed > 1e-2).tolist() == [False, True, False, False]


def test_up_block_steered_by_vectors() -> None:
    """Gains of 1 and biases of 0 make it the plain block; each sample has its own."""
    block, x, vectors = UpBlock(3, 5, vector_dim=2), torch.randn(4, 3, 4, 4), torch.randn(4, 2)
    plain = UpBlock(3, 5)
    for i in (3, 6):
        plain.residual[i] = block.residual[i]
    plain.shortcut = block.shortcut
    assert (block.vector_dim, block.num_classes) == (2, None)
    assert_near(block(x, torch.zeros(4, 2)), plain(x))
    vectors[1] = 0
    vectors[2] = 0
    changed = (block(x, vectors) - plain(x)).abs().amax(dim=(1, 2, 3)) > 1e-2
    assert changed[[0, 3]].all()


@pytest.mark.parametrize("norm", ["instance", "layer", "pixel", "none"])
def test_up_block_with_another_norm_treats_every_sample_by_itself(norm: Normalization) -> None:
    block, x = UpBlock(3, 5, norm=norm), torch.randn(3, 3, 4, 4)
    assert_near(block(x), torch.cat([block(sample[None]) for sample in x]))


def test_up_block_refuses_classes_without_batch_norm() -> None:
    with pytest.raises(ValueError, match="'batch'"):
        UpBlock(3, 5, norm="layer", num_classes=4)


@pytest.mark.parametrize("downsample", [True, False])
@pytest.mark.parametrize("first", [True, False])
def test_lipschitz_down_block_is_half_the_formula_of_the_paper(
    downsample: bool, first: bool
) -> None:
    block = LipschitzDownBlock(3, 5, downsample=downsample, first=first)
    x = torch.randn(2, 3, 8, 8)
    assert_near(block(x), down_reference(block, x, downsample, first) / 2)
