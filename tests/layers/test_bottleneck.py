from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lightning_gan.layers import Bottleneck


def randomized(**options: Any) -> Bottleneck:
    """Return a block in double precision whose residual is not 0."""
    block = Bottleneck(**options).double()
    for weight in block.parameters():
        nn.init.normal_(weight, std=0.5)
    return block


def activated(x: Any) -> Any:
    return np.where(x > 0, x, 0.2 * x)


def reference(block: Bottleneck, x: Any, group_width: int) -> Any:
    """The formula, position by position and group by group."""
    w1, b1, w2, b2, w3 = (weight.detach().numpy() for weight in block.parameters())
    hidden = activated(np.einsum("ec,nchw->nehw", w1[:, :, 0, 0], x) + b1[:, None, None])
    padded = np.pad(hidden, ((0, 0), (0, 0), (1, 1), (1, 1)))
    height, width = x.shape[2:]
    mixed = np.zeros_like(hidden) + b2[:, None, None]
    for start in range(0, hidden.shape[1], group_width):
        group = slice(start, start + group_width)
        for i in range(3):
            for j in range(3):
                window = padded[:, group, i : i + height, j : j + width]
                mixed[:, group] += np.einsum("oe,nehw->nohw", w2[group, :, i, j], window)
    return x + np.einsum("ce,nehw->nchw", w3[:, :, 0, 0], activated(mixed))


@pytest.mark.parametrize(
    ("channels", "expansion", "group_width"), [(6, 2, 4), (4, 3, 12), (3, 1, 1), (8, 2, 16)]
)
def test_is_the_formula(channels: int, expansion: int, group_width: int) -> None:
    block = randomized(channels=channels, expansion=expansion, group_width=group_width)
    x = torch.randn(2, channels, 4, 5, dtype=torch.float64)
    expected = torch.from_numpy(reference(block, x.numpy(), group_width))
    torch.testing.assert_close(block(x), expected, rtol=1e-10, atol=1e-10)


def test_groups_of_the_paper() -> None:
    with torch.device("meta"):
        convolutions = [m for m in Bottleneck(768).modules() if isinstance(m, nn.Conv2d)]
    assert [layer.groups for layer in convolutions] == [1, 96, 1]


def test_starts_as_the_identity() -> None:
    block, x = Bottleneck(8), torch.randn(2, 8, 4, 4)
    torch.testing.assert_close(block(x), x, rtol=0, atol=0)
    block(x).sum().backward()
    *_, last = block.parameters()
    assert last.grad is not None
    assert last.grad.abs().min() > 0


@pytest.mark.parametrize("blocks", [1, 8, 16])
@pytest.mark.parametrize("expansion", [2, 4])
def test_initial_weights(blocks: int, expansion: int) -> None:
    """Fixup: L^(-1/4) times He's deviation for a slope of 0.2; the last layer and biases are 0."""
    block = Bottleneck(64, expansion, 16, blocks)
    for weights in block.parameters():
        nn.init.constant_(weights, 7)
    block.reset_parameters()
    w1, b1, w2, b2, w3 = (weights.detach() for weights in block.parameters())
    assert not b1.any()
    assert not b2.any()
    assert not w3.any()
    for drawn, fan_in in ((w1, 64), (w2, 16 * 9)):
        expected = (2 / (1.04 * fan_in * blocks**0.5)) ** 0.5
        assert drawn.std().item() == pytest.approx(expected, rel=0.04)
        assert drawn.mean().item() == pytest.approx(0, abs=4 * expected / drawn.numel() ** 0.5)


def test_activations_keep_their_variance() -> None:
    """What the gain is for: unit second moments stay, over L^(1/4) for each layer."""
    block, x = Bottleneck(256, num_blocks=16), torch.randn(8, 256, 8, 8)
    layers = list(block.residual)
    widened = layers[1](layers[0](x))
    second = widened.square().mean().item()
    assert second == pytest.approx(16**-0.5, rel=0.05)


@pytest.mark.parametrize("name", ["channels", "expansion", "group_width", "num_blocks"])
def test_sizes_below_one(name: str) -> None:
    options: Any = {"channels": 8} | {name: 0}
    with pytest.raises(ValueError, match=rf"'{name}' to be at least 1, got 0\."):
        Bottleneck(**options)


def test_group_width_that_does_not_divide() -> None:
    with pytest.raises(ValueError, match=r"'group_width' to divide the 12 x 2 channels.*got 16\."):
        Bottleneck(12)
