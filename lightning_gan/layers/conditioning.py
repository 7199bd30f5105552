"""Ways of telling a network which class a sample has."""

import torch
from torch import Tensor
from torch.nn.functional import one_hot


def append_labels(x: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Append the labels to every position of ``x`` as one-hot channels.

    Args:
        x: Latents (N, C), or images or feature maps (N, C, ...).
        labels: Class of each sample, (N,) int64 in [0, ``num_classes``).
        num_classes: Number of channels to append.

    Returns:
        ``x`` with ``num_classes`` more channels.

    Example:
        >>> append_labels(torch.zeros(2, 1), torch.tensor([1, 0]), num_classes=2)
        tensor([[0., 0., 1.],
                [0., 1., 0.]])

    Reference:
        Mirza and Osindero, "Conditional Generative Adversarial Nets", 2014,
        https://arxiv.org/abs/1411.1784.
    """
    planes = one_hot(labels, num_classes).to(x.dtype)
    planes = planes.reshape(*planes.shape, *(1,) * (x.dim() - 2))  # (N, K, 1, 1) for images
    return torch.cat([x, planes.expand(-1, -1, *x.shape[2:])], dim=1)
