"""Computing with other weights than a module has."""

from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.func import functional_call

Result = TypeVar("Result")


class _Scope(nn.Module):
    """Whatever uses a module, as a module, so that `functional_call` can lend it weights."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, compute: Callable[[], Any]) -> Any:
        return compute()


def with_weights(
    module: nn.Module, weights: dict[str, Tensor], compute: Callable[[], Result]
) -> Result:
    """Return what is computed, by whatever code, while a module has other weights and buffers.

    Args:
        module: Whose they are for as long.
        weights: Any of its weights and buffers, by their names in the module.
        compute: What uses the module.

    Example:
        >>> import torch
        >>> line = nn.Linear(1, 1, bias=False)
        >>> lent = {"weight": torch.tensor([[3.0]])}
        >>> with_weights(line, lent, lambda: line(torch.ones(1)).item())
        3.0
    """
    lent = {f"module.{name}": weight for name, weight in weights.items()}
    result: Result = functional_call(_Scope(module), lent, (compute,))
    return result
