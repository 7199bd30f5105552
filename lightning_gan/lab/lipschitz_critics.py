"""Critics of 8x8 images whose slope is looked into, and the search for their steepest place."""

import copy
import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Adam

from lightning_gan.layers import (
    DownBlock,
    LipschitzDownBlock,
    empirical_slope,
    evaluating,
    lipschitz_normalize,
    spectral_normalize,
)

Kind = Literal["plain", "sum", "mean"]

SHAPE = (1, 8, 8)
KERNEL = 3
BLOCKS: dict[str, type[DownBlock]] = {"sum": DownBlock, "mean": LipschitzDownBlock}
NORMALIZATIONS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "none": lambda critic: critic,
    "spectral": spectral_normalize,
    "exact": lambda critic: lipschitz_normalize(critic, torch.zeros(1, *SHAPE)),
}
_SEARCH_RATE = 0.05
_APART = (-1.0, 0.5)  # powers of 10: how far the pairs are apart at first, per dimension
_SETTLING = 100  # passes after which the estimated norms are those of weights that rest


def convolutional_critic(kind: Kind, channels: int) -> nn.Module:
    """Build three convolutions, the last two of them in a chain or on one branch of a block.

    Args:
        kind: ``"plain"`` for the chain; otherwise how the block joins its two branches.
        channels: Of all maps.
    """
    first = nn.Conv2d(SHAPE[0], channels, KERNEL, padding=1)
    head = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(channels * math.prod(SHAPE[1:]), 1))
    if kind != "plain":
        return nn.Sequential(first, BLOCKS[kind](channels, channels, downsample=False), head)
    second, third = (nn.Conv2d(channels, channels, KERNEL, padding=1) for _ in range(2))
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third, head)


def identity_critic(kind: Kind) -> nn.Module:
    """Build a block whose branches both return positive images as they are, and sum the pixels.

    The sum is divided by its own norm, so that only the block's slope counts.

    Args:
        kind: How the block joins its branches, ``"sum"`` or ``"mean"``.

    Example:
        >>> empirical_slope(identity_critic("sum"), torch.ones(1, 1, 8, 8))
        tensor([2.])
    """
    block = BLOCKS[kind](SHAPE[0], SHAPE[0], downsample=False)
    for layer in block.residual:
        if isinstance(layer, nn.Conv2d):
            nn.init.dirac_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    head = nn.Linear(math.prod(SHAPE), 1, bias=False)
    nn.init.constant_(head.weight, math.prod(SHAPE) ** -0.5)
    return nn.Sequential(block, nn.Flatten(), head)


def settle(critic: nn.Module, images: Tensor) -> None:
    """Let the estimates of the norms, which lag behind weights that move, catch up.

    Args:
        critic: Left in training mode.
        images: What it takes, (N, ...).
    """
    critic.train()
    with torch.no_grad():
        for _ in range(_SETTLING):
            critic(images[:1])


def steepest_slope(network: nn.Module, starts: Tensor, steps: int = 200) -> float:
    r"""Look for the steepest place of a network that maps samples to logits.

    Ascends the difference quotient of pairs of samples, :math:`|f(x) - f(y)| / \|x - y\|`: the
    slope itself has no gradient in a network of straight pieces. The pairs begin at several
    distances, as only distant ones know of other pieces. It is a lower bound of the network's
    Lipschitz constant.

    Args:
        network: Maps samples to logits (N, 1); it runs in evaluation mode.
        starts: Where to begin, (N, ...).
        steps: Steps of Adam.

    Returns:
        The largest of all quotients and of the slopes at the samples in the end.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> layer.weight.data = torch.tensor([[3.0, 4.0]])
        >>> round(steepest_slope(layer, torch.randn(2, 2)), 4)
        5.0
    """
    network = copy.deepcopy(network).requires_grad_(False)
    source = torch.Generator().manual_seed(0)
    apart = torch.logspace(*_APART, len(starts)).reshape(-1, *(1,) * (starts.dim() - 1))
    pair = torch.stack([starts, starts + apart * torch.randn(starts.shape, generator=source)])
    pair.requires_grad_()
    optimizer = Adam([pair], lr=_SEARCH_RATE)
    steepest = torch.zeros(())
    with evaluating(network):
        for _ in range(steps):
            first, second = pair
            distances = (first - second).flatten(1).norm(dim=1).clamp_min(1e-6)
            quotients = (network(first) - network(second)).flatten().abs() / distances
            steepest = steepest.maximum(quotients.detach().max())
            optimizer.zero_grad()
            (-quotients.clamp_min(1e-12).log().sum()).backward()
            optimizer.step()
    ends = pair.detach().flatten(0, 1)
    return steepest.maximum(empirical_slope(network, ends).max()).item()
