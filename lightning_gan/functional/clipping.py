"""Weights kept in a box, the first way of bounding a critic's slope."""

import torch
from torch import nn


@torch.no_grad()
def clip_weights_(network: nn.Module, bound: float) -> None:
    r"""Clamp every parameter to [-``bound``, ``bound``], in place; buffers are left alone.

    A critic of bounded weights has a bounded slope, though not one of 1: a small bound starves the
    generator of gradient, a large one takes long to bind.

    Args:
        network: Its parameters are changed; call it after each step of the critic's optimiser.
        bound: Largest magnitude, above 0; 0.01 in the paper.

    Raises:
        ValueError: If ``bound`` is not above 0.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> _ = nn.init.constant_(layer.weight, 3.0)
        >>> clip_weights_(layer, 0.5)
        >>> layer.weight.item()
        0.5

    Reference:
        Arjovsky et al., "Wasserstein GAN", ICML 2017, https://arxiv.org/abs/1701.07875,
        algorithm 1, line 7.
    """
    if not bound > 0:
        raise ValueError(f"Expected 'bound' to be above 0, got {bound}.")
    for parameter in network.parameters():
        parameter.clamp_(-bound, bound)
