"""Refusal of tensors that would be broadcast where they have to be paired."""

from torch import Tensor


def check_same_shape(**tensors: Tensor) -> None:
    """Refuse two tensors of different shapes.

    Args:
        **tensors: The two, each under the name that the caller gave it.

    Raises:
        ValueError: If the shapes differ.
    """
    (first, a), (second, b) = tensors.items()
    if a.shape != b.shape:
        raise ValueError(
            f"Expected '{first}' and '{second}' to have the same shape, "
            f"got {tuple(a.shape)} and {tuple(b.shape)}."
        )
