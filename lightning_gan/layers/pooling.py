"""From feature maps to features."""

import torch
from torch import Tensor, nn


class SumPool(nn.Module):
    """Add up each channel over its positions.

    Reference:
        Miyato et al., "Spectral Normalization for GANs", ICLR 2018,
        https://arxiv.org/abs/1802.05957, appendix B.4.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C)."""
        return torch.sum(x, dim=(2, 3))
