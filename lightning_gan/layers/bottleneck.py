"""A residual block that needs no normalisation."""

from torch import Tensor, nn

_SLOPE = 0.2
_LAYERS = 3


class Bottleneck(nn.Module):
    r"""Add to a map what an inverted bottleneck makes of it, without normalisation.

    .. math:: y = x + W_3\, a(W_2 * a(W_1 x + b_1) + b_2)

    W1 widens each position to ``expansion`` times the channels, W2 is a 3x3 convolution in groups,
    W3 narrows again, and a is a leaky ReLU of slope 0.2. Variances are kept in check by the start:
    W3 is 0, so that the block is the identity, b1 and b2 are 0, and W1 and W2 are normal with

    .. math::
        \sigma = L^{-1/(2m-2)} \sqrt{\frac{2}{(1 + 0.2^2)\, \text{fan in}}}, \quad m = 3

    Args:
        channels: Channels of input and output.
        expansion: Factor by which W1 widens.
        group_width: Channels of a group of W2. The paper fixes the number of groups instead, 96
            for 768 channels expanded twofold, which is the same there; this suits any width.
        num_blocks: Number L of such blocks in the whole network.

    Attributes:
        residual: What is added, of W1, W2 and W3 in order.

    Raises:
        ValueError: If an argument is below 1, or ``group_width`` does not divide the channels
            between W1 and W3.

    Example:
        >>> import torch
        >>> x = torch.randn(2, 8, 4, 4)
        >>> torch.equal(Bottleneck(8)(x), x)
        True

    Reference:
        Huang et al., "The GAN is dead; long live the GAN! A Modern Baseline GAN", NeurIPS 2024,
        https://arxiv.org/abs/2501.05441, section 4 (config E); its start is that of Zhang et al.,
        "Fixup Initialization: Residual Learning Without Normalization", ICLR 2019,
        https://arxiv.org/abs/1901.09321, section 3.
    """

    def __init__(
        self, channels: int, expansion: int = 2, group_width: int = 16, num_blocks: int = 1
    ) -> None:
        super().__init__()
        sizes = {
            "channels": channels,
            "expansion": expansion,
            "group_width": group_width,
            "num_blocks": num_blocks,
        }
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"Expected '{name}' to be at least 1, got {value}.")
        expanded = channels * expansion
        if expanded % group_width != 0:
            raise ValueError(
                f"Expected 'group_width' to divide the {channels} x {expansion} channels of a "
                f"block's 3x3 convolution, got {group_width}."
            )
        self.num_blocks = num_blocks
        groups = expanded // group_width
        self.residual = nn.Sequential(
            nn.Conv2d(channels, expanded, 1),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(expanded, expanded, 3, padding=1, groups=groups),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(expanded, channels, 1, bias=False),
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew, from the distribution above."""
        gain = nn.init.calculate_gain("leaky_relu", _SLOPE)
        gain *= self.num_blocks ** (-1 / (2 * _LAYERS - 2))
        *first, last = (layer for layer in self.residual if isinstance(layer, nn.Conv2d))
        for layer in first:
            nn.init.normal_(layer.weight, std=gain / layer.weight[0].numel() ** 0.5)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(last.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        return x + self.residual(x)  # type: ignore[no-any-return]
