"""Which layers look across the samples of a batch."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def mixing_layers(network: nn.Module, *, under_penalty: bool = False) -> list[str]:
    """Describe the layers through which one sample's output depends on the others of its batch.

    With these, real and generated samples must not share a batch. Under batch normalisation,
    moreover, a sample has no slope of its own, so that gradient penalties are meaningless. A layer
    of such a kind that is not batch normalisation says so by an attribute ``mixes_samples = True``,
    and by ``allows_penalty = True`` if papers put gradient penalties on networks with it.

    Args:
        network: Any module.
        under_penalty: Whether to leave out the layers that allow a gradient penalty.

    Returns:
        Kind and name of each, empty if the samples are independent.

    Example:
        >>> mixing_layers(nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4)))
        ["BatchNorm1d in '1'"]
    """
    return [
        f"{type(module).__name__} in '{name}'"
        for name, module in network.named_modules()
        if (isinstance(module, _BatchNorm) or getattr(module, "mixes_samples", False))
        and not (under_penalty and getattr(module, "allows_penalty", False))
    ]
