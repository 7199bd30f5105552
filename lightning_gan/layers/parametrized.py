"""Which means a layer's weight is computed by."""

from torch import nn
from torch.nn.utils import parametrize


def parametrized_by(layer: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Tell whether a layer's weight is computed by a parametrisation of one of these kinds."""
    if not parametrize.is_parametrized(layer, "weight"):
        return False
    steps = layer.parametrizations["weight"]  # type: ignore[index, operator, unused-ignore]
    return any(isinstance(step, kinds) for step in steps)
