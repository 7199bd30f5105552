"""The largest singular value of a linear map that is known by what it does."""

from collections.abc import Callable
from math import prod

import torch
from torch import Tensor
from torch.nn.functional import pad

LinearMap = Callable[[Tensor, Tensor], Tensor]  # of an input and a weight

_TOLERANCE = 1e-6  # relative, of the square of a singular value
_MOST_STEPS = 500
_MOST_VECTORS, _MOST_NUMBERS = 40, 2**25  # that are kept, but 8 vectors at least


def largest_singular(
    linear_map: LinearMap, weight: Tensor, input_shape: tuple[int, ...]
) -> tuple[float, Tensor]:
    """Return a linear map's largest singular value and its right vector, (1, ``*input_shape``).

    By Lanczos' method, which finds the best combination of all vectors of a power iteration: the
    last one alone is hundreds of steps behind it for a convolution, whose largest singular values
    lie close together. Where the vectors get many, their best combinations take their place, as in
    Wu and Simon, "Thick-restart Lanczos method for large symmetric eigenvalue problems", SIAM
    Journal on Matrix Analysis and Applications 2000.

    Args:
        linear_map: Of an input and a weight.
        weight: Finite, of any precision; it is used in double precision.
        input_shape: Of one input, without N.
    """
    weight = weight.double()
    # A generator of its own: measuring must not change what a run draws next.
    source = torch.Generator(weight.device).manual_seed(0)
    size = prod(input_shape)
    most = max(8, min(_MOST_VECTORS, _MOST_NUMBERS // size))
    vector = torch.randn(size, generator=source, device=weight.device, dtype=weight.dtype)
    vector /= torch.linalg.vector_norm(vector)
    basis = vector.new_empty(0, size)
    projected = vector.new_empty(0, 0)
    for _ in range(min(size, _MOST_STEPS)):
        if len(basis) == most:  # before a step: what the last one leaves belongs together
            values, mixtures = torch.linalg.eigh(projected)
            basis = mixtures[:, -(most // 4) :].T @ basis
            projected = torch.diag(values[-(most // 4) :])
        image = gram(linear_map, weight, vector.reshape(1, *input_shape)).flatten()
        basis = torch.cat([basis, vector[None]])
        overlaps = basis @ image
        projected = pad(projected, (0, 1, 0, 1))
        projected[-1] = projected[:, -1] = overlaps
        values, mixtures = torch.linalg.eigh(projected)
        rest = image - overlaps @ basis
        rest -= (basis @ rest) @ basis  # again, for what rounding has left
        length = torch.linalg.vector_norm(rest)
        if length * mixtures[-1, -1].abs() <= _TOLERANCE * values[-1]:  # bounds the error
            break
        vector = rest / length
    norm = float(values[-1].clamp_min(0).sqrt())
    return norm, (mixtures[:, -1] @ basis).reshape(1, *input_shape)


def gram(linear_map: LinearMap, weight: Tensor, vectors: Tensor) -> Tensor:
    """Apply a linear map A and then its adjoint, as the gradient of 1/2 |Av|^2 at vectors v."""
    with torch.enable_grad():
        vectors = vectors.detach().requires_grad_()
        energy = linear_map(vectors, weight).square().sum() / 2
        (result,) = torch.autograd.grad(energy, vectors)
    return result
