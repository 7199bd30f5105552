"""Self-attention between the positions of a feature map."""

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import max_pool2d, scaled_dot_product_attention

from lightning_gan.layers.modes import evaluating


class SelfAttention(nn.Module):
    r"""Add to each position a mixture of what the other positions of its map hold.

    .. math:: y = x + \gamma \, W_o \, v\, \text{softmax}(q^\top k)^\top

    Queries and keys have C/8 channels, values C/2, all from 1x1 convolutions without bias. Keys and
    values are max-pooled by 2, an odd last row or column being dropped.

    Args:
        channels: Number C of channels of the feature map, at least 8.
        scale: Whether the products of queries and keys are divided by sqrt(C/8), which the paper
            does not do.

    Attributes:
        gamma: Weight of the mixture. 0 at the start, where the layer is the identity.

    Raises:
        ValueError: If there are fewer than 8 channels.

    Reference:
        Zhang et al., "Self-Attention Generative Adversarial Networks", ICML 2019,
        https://arxiv.org/abs/1805.08318, section 3, eq. (1) to (3).

    Note:
        Pooling and the C/2 channels of the values are the authors' code's, not the paper's. They
        also normalise the convolutions; see :func:`~lightning_gan.layers.spectral_normalize`.
    """

    def __init__(self, channels: int, scale: bool = False) -> None:
        super().__init__()
        if channels < 8:
            raise ValueError(
                "Expected 'channels' of self-attention to be at least 8, because its queries and "
                f"keys have an eighth of them, got {channels}."
            )
        self.scale = scale
        self.query = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.key = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.value = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.out = nn.Conv2d(channels // 2, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def reset_parameters(self) -> None:
        """Set gamma to 0, its value at the start."""
        nn.init.zeros_(self.gamma)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape.

        Raises:
            ValueError: If a side is 1, so that there is nothing to pool.
        """
        query, key = self._queries_and_keys(x)
        value = _positions(max_pool2d(self.value(x), 2))
        # torch's fused kernels cannot be differentiated twice, which gradient penalties do.
        differentiable = sdpa_kernel(SDPBackend.MATH) if torch.is_grad_enabled() else nullcontext()
        with differentiable:
            mixture = scaled_dot_product_attention(
                query[:, None], key[:, None], value[:, None], scale=None if self.scale else 1.0
            )
        mixture = mixture[:, 0].transpose(1, 2).unflatten(2, x.shape[2:])  # (N, C/2, H, W)
        return x + self.gamma * self.out(mixture)  # type: ignore[no-any-return]

    def attention_map(self, x: Tensor) -> Tensor:
        """Return how much each position attends to each pooled one.

        Args:
            x: Feature map, (N, C, H, W).

        Returns:
            Weights (N, H * W, (H // 2) * (W // 2)) in [0, 1]; each row sums to 1.
        """
        query, key = self._queries_and_keys(x)
        scores = query @ key.transpose(1, 2)
        return torch.softmax(scores * query.shape[2] ** -0.5 if self.scale else scores, dim=2)

    def _queries_and_keys(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return queries (N, H * W, C/8) and keys (N, (H // 2) * (W // 2), C/8)."""
        if min(x.shape[2:]) < 2:
            raise ValueError(
                "Expected the maps that self-attention looks at to have sides of at least 2, got "
                f"{tuple(x.shape[2:])}."
            )
        return _positions(self.query(x)), _positions(max_pool2d(self.key(x), 2))


def attention_maps(network: nn.Module, *inputs: Tensor) -> dict[str, Tensor]:
    """Run a network once and return where each of its self-attention layers looks.

    It runs in evaluation mode and without gradient; each module's mode is as before afterwards.

    Args:
        network: Any module.
        inputs: Its arguments.

    Returns:
        Attention map of each :class:`SelfAttention` by its name in ``network``, in order:
        (N, H, W, H // 2, W // 2), from 0 to 1, the last two dimensions summing to 1.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 1), SelfAttention(8))
        >>> {name: list(map_.shape) for name, map_ in
        ...  attention_maps(network, torch.zeros(2, 3, 6, 4)).items()}
        {'1': [2, 6, 4, 3, 2]}
    """
    maps: dict[str, Tensor] = {}
    handles = []
    for name, module in network.named_modules():
        if isinstance(module, SelfAttention):

            def record(layer: SelfAttention, args: tuple[Tensor], name: str = name) -> None:
                height, width = args[0].shape[2:]
                found = layer.attention_map(args[0]).unflatten(1, (height, width))
                maps[name] = found.unflatten(3, (height // 2, width // 2))

            handles.append(module.register_forward_pre_hook(record))
    try:
        with evaluating(network), torch.no_grad():
            network(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return maps


def _positions(x: Tensor) -> Tensor:
    """Map (N, C, H, W) to (N, H * W, C)."""
    return x.flatten(start_dim=2).transpose(1, 2)
