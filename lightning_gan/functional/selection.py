"""Choice of the samples of a batch that a loss is to see."""

from torch import Tensor


def top_k_rows(logits: Tensor, share: float) -> Tensor:
    """Find the rows that the discriminator takes for the most real ones.

    A generator that learns from these alone is not moved by samples between the modes, from which
    the discriminator's gradient may lead anywhere. The paper begins with the whole batch and lets
    the share fall while it trains.

    Args:
        logits: Logits, (N, ...); a row with several, one per patch, counts with their mean.
        share: Share of the rows to find, in (0, 1].

    Returns:
        Indices in ascending order, (K,) int64, where K is ``share`` of N, rounded, at least 1.

    Raises:
        ValueError: If ``share`` lies outside (0, 1].

    Example:
        >>> import torch
        >>> top_k_rows(torch.tensor([0.5, -1.0, 2.0, 0.0]), 0.5)
        tensor([0, 2])

    Reference:
        Sinha et al., "Top-k Training of GANs: Improving GAN Performance by Throwing Away Bad
        Samples", NeurIPS 2020, https://arxiv.org/abs/2002.06224.
    """
    if not 0 < share <= 1:
        raise ValueError(f"Expected 'share' to be in (0, 1], got {share}.")
    means = logits.detach().reshape(len(logits), -1).mean(dim=1)
    return means.topk(max(1, round(share * len(means)))).indices.sort().values
