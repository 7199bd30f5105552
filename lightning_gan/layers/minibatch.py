"""Layers that show a discriminator how much the samples of a batch vary."""

import torch
from torch import Tensor, nn


class MinibatchDiscrimination(nn.Module):
    r"""Append to each sample's features how close it is to the others of its batch.

    .. math::
        M_i = x_i T, \quad
        o_b(i) = \sum_{j \ne i} \exp\big(-\lVert M_{ib} - M_{jb} \rVert_1\big)

    Under ddp each process sees its local batch alone. Both memory and time grow with the square
    of the batch: its backward pass keeps N x N x ``num_kernels`` x ``kernel_dim`` numbers, 8 MB
    for 64 samples and 131 MB for 256 with the defaults.

    Args:
        in_features: Length A of a sample's features.
        num_kernels: Number B of closenesses to append.
        kernel_dim: Length C of the rows that are compared.

    Attributes:
        out_features: Length of what it returns, A + B.

    Reference:
        Salimans et al., "Improved Techniques for Training GANs", NeurIPS 2016,
        https://arxiv.org/abs/1606.03498, section 3.2.

    Note:
        The paper's sum includes the sample itself, a constant 1; the authors' code leaves it out.
        Like the latter's, the columns of T start with a length of about 1, for without that all
        closenesses of wide features would be 0.
    """

    mixes_samples = True
    allows_penalty = True

    def __init__(self, in_features: int, num_kernels: int = 100, kernel_dim: int = 5) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = in_features + num_kernels
        self.tensor = nn.Parameter(torch.empty(in_features, num_kernels, kernel_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw T anew."""
        nn.init.normal_(self.tensor, std=self.in_features**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, A) to (N, A + B)."""
        # Half precision would round close samples onto each other, which is what it looks for.
        with torch.autocast(x.device.type, enabled=False):
            dtype = torch.promote_types(x.dtype, torch.float32)
            rows = x.to(dtype) @ self.tensor.to(dtype).flatten(start_dim=1)
            rows = rows.unflatten(1, self.tensor.shape[1:])  # (N, B, C)
            # Not torch.cdist: it cannot be differentiated twice, which gradient penalties do.
            distances = torch.linalg.vector_norm(rows[:, None] - rows, ord=1, dim=3)
            closeness = torch.exp(-distances).sum(dim=1) - 1  # without the sample itself
        return torch.cat([x, closeness.to(x.dtype)], dim=1)

    def extra_repr(self) -> str:
        """Return the lengths."""
        return f"in_features={self.in_features}, out_features={self.out_features}"


class MinibatchStdDev(nn.Module):
    """Append one feature: the standard deviation over a group of samples, averaged.

    A batch is split into groups of the same size, the largest that divides it and is at most
    ``group_size``. Under ddp each process sees its local batch alone.

    Args:
        group_size: Bound on the samples of a group. A batch with no divisor up to it but 1, like
            a single sample, has groups of one, whose feature is 1e-4.

    Raises:
        ValueError: If ``group_size`` is below 1.

    Example:
        >>> MinibatchStdDev()(torch.tensor([[1.0], [3.0]]))
        tensor([[1., 1.],
                [3., 1.]])

    Reference:
        Karras et al., "Progressive Growing of GANs", ICLR 2018,
        https://arxiv.org/abs/1710.10196, section 3.

    Note:
        The groups are the authors' code's; the paper takes the whole batch.
    """

    mixes_samples = True
    allows_penalty = True

    def __init__(self, group_size: int = 4) -> None:
        super().__init__()
        if group_size < 1:
            raise ValueError(f"Expected 'group_size' to be at least 1, got {group_size}.")
        self.group_size = group_size

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C + 1, H, W), or (N, F) to (N, F + 1)."""
        size = next(size for size in range(self.group_size, 0, -1) if len(x) % size == 0)
        groups = x.to(torch.promote_types(x.dtype, torch.float32)).unflatten(0, (size, -1))
        variance = groups.var(dim=0, correction=0)
        deviation = torch.sqrt(variance + 1e-8).flatten(start_dim=1).mean(dim=1)  # (N / size,)
        shape = (len(x), *(1,) * (x.dim() - 1))
        feature = deviation.to(x.dtype).repeat(size).reshape(shape)
        return torch.cat([x, feature.expand(-1, 1, *x.shape[2:])], dim=1)

    def extra_repr(self) -> str:
        """Return the bound on the group."""
        return f"group_size={self.group_size}"
