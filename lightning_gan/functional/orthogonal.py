"""A penalty on filters of one layer that do the same."""

import torch
from torch import Tensor


def orthogonal_penalty(weight: Tensor) -> Tensor:
    r"""Penalise filters that are not orthogonal to each other, whatever their lengths.

    .. math::
        \lVert W W^\top \odot (\mathbf 1 - I) \rVert_F^2
        = \sum_{i \ne j} \langle w_i, w_j \rangle^2

    where row i of W is the filter of output channel i, flattened. Unlike in the penalty that it
    softens, the products of filters with themselves are free.

    Args:
        weight: Weight (C_out, ...) of a linear layer or of a convolution; of a transposed
            convolution, whose output channels come second, ``weight.transpose(0, 1)``.

    Returns:
        Unweighted scalar, not below 0, in float32 or better. The paper weighs it with 1e-4.

    Raises:
        ValueError: If the weight is not at least a matrix.

    Example:
        >>> orthogonal_penalty(torch.tensor([[5.0, 0.0], [1.0, 2.0]]))
        tensor(50.)

    Reference:
        Brock et al., "Large Scale GAN Training for High Fidelity Natural Image Synthesis",
        ICLR 2019, https://arxiv.org/abs/1809.11096, eq. (3).

    Note:
        The paper writes W^T W and means the similarity of filters: they are the columns of its
        weights, the rows of torch's. Its authors' PyTorch code takes W W^T, too. That code adds
        2 (W W^T * (1 - I)) W to the gradients, half the penalty's own; for the same strength halve
        the weight.
    """
    if weight.dim() < 2:
        raise ValueError(
            f"Expected 'weight' to have at least 2 dimensions, got {tuple(weight.shape)}."
        )
    with torch.autocast(weight.device.type, enabled=False):  # half precision would round the zeros
        rows = weight.to(torch.promote_types(weight.dtype, torch.float32)).flatten(start_dim=1)
        if len(rows) <= rows.shape[1]:
            gram = rows @ rows.T
            return (gram - gram.diagonal().diag()).square().sum()
        # Of more rows than columns W^T W is smaller, and has the same norm.
        return (rows.T @ rows).square().sum() - rows.square().sum(dim=1).square().sum()
