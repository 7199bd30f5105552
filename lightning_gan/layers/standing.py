"""Statistics of batch normalisation that belong to the weights at hand."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lightning_gan.layers.modes import evaluating


@torch.no_grad()
def standing_statistics(network: nn.Module, run: Callable[[], object], passes: int) -> None:
    """Replace the running statistics of batch normalisation by plain averages over some passes.

    In training they are moving averages, which lag behind the weights; of averaged weights they
    were never measured. Afterwards every mode and momentum is as before, and so is all else but
    these statistics. A layer that no pass reaches keeps its own.

    Only batch normalisation is in training mode in these passes: dropout stays off and spectral
    normalisation keeps its vectors, as when samples are drawn.

    Args:
        network: Any module with batch normalisation.
        run: Runs the network on one batch; called ``passes`` times.
        passes: Number of batches.

    Raises:
        ValueError: If ``passes`` is below 1, or nothing in the network has running statistics.

    Example:
        >>> norm = nn.BatchNorm1d(1)
        >>> standing_statistics(norm, lambda: norm(torch.tensor([[1.0], [3.0]])), passes=2)
        >>> norm.running_mean, norm.running_var
        (tensor([2.]), tensor([2.]))

    Reference:
        Brock et al., "Large Scale GAN Training for High Fidelity Natural Image Synthesis",
        ICLR 2019, https://arxiv.org/abs/1809.11096, appendix B.
    """
    if passes < 1:
        raise ValueError(f"Expected the number of batches to be at least 1, got {passes}.")
    layers = [
        module
        for module in network.modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    ]
    if not layers:
        raise ValueError(
            "Expected a network with batch normalisation that has running statistics, got a "
            f"{type(network).__name__} without."
        )
    former = [(layer, layer.momentum, _statistics(layer)) for layer in layers]
    measured = False
    try:
        with evaluating(network):
            for layer in layers:
                layer.reset_running_stats()
                layer.momentum = None  # torch's way to say: a plain average
                layer.train()
            for _ in range(passes):
                run()
        measured = True
    finally:
        for layer, momentum, statistics in former:
            layer.momentum = momentum
            if not measured or layer.num_batches_tracked == 0:
                layer.load_state_dict(statistics, strict=False)


def _statistics(layer: _BatchNorm) -> dict[str, torch.Tensor]:
    return {name: buffer.clone() for name, buffer in layer.named_buffers()}
