"""Equalised learning rate: every weight has the same scale for the optimiser."""

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils import parametrize

from lightning_gan.layers.parametrized import parametrized_by


class _Scale(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, stored: Tensor) -> Tensor:
        return stored * self.factor

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight / self.factor

    def extra_repr(self) -> str:
        return f"factor={self.factor:.4g}"


def equalize_learning_rate(network: nn.Module, gain: float = 2**0.5) -> nn.Module:
    r"""Store weights of unit variance and scale them at every use.

    .. math:: w = \hat w \cdot \text{gain} / \sqrt{\text{fan in}}, \quad \hat w \sim N(0, 1)

    The step of an optimiser such as Adam does not depend on the scale of a gradient, so that this
    gives all weights the same relative speed. It draws the weight of every convolution, transposed
    convolution and ``nn.Linear`` anew and sets their biases to 0. Layers that are scaled already
    are left alone, so scale those with a gain of their own first.

    Args:
        network: Any module, changed in place.
        gain: Unit variance at the input of a layer becomes a variance of ``gain**2``. The paper
            takes sqrt(2), and 1 for layers that no activation follows.

    Returns:
        ``network``.

    Raises:
        ValueError: If ``gain`` is not positive, or a weight is parametrised in another way.

    Reference:
        Karras et al., "Progressive Growing of GANs", ICLR 2018,
        https://arxiv.org/abs/1710.10196, section 4.1.

    Note:
        The fan-in of a transposed convolution is, as in the authors' code, input channels times
        kernel area. A stride of s leaves a share of 1/s^2 of the kernel for each output, and the
        variance is smaller by as much; likewise at the borders.
    """
    if not gain > 0:
        raise ValueError(f"Expected 'gain' to be positive, got {gain}.")
    layers = [
        module
        for module in network.modules()
        if isinstance(module, _ConvNd | nn.Linear) and not parametrized_by(module, _Scale)
    ]
    for module in layers:
        if parametrize.is_parametrized(module, "weight"):
            raise ValueError(
                f"Expected plain weights to equalise, got a {type(module).__name__}. "
                "Equalise first, normalise after that."
            )
    for module in layers:
        nn.init.normal_(module.weight)
        scale = _Scale(gain / _fan_in(module) ** 0.5)
        parametrize.register_parametrization(module, "weight", scale)
        _draw(module)
    return network


def redraw_equalized(network: nn.Module) -> None:
    """Draw the weights of all layers with an equalised learning rate anew, with biases of 0.

    Args:
        network: Any module; its other layers are left alone.
    """
    for module in network.modules():
        if parametrized_by(module, _Scale):
            _draw(module)


def _draw(module: nn.Module) -> None:
    nn.init.normal_(module.parametrizations.weight.original)  # type: ignore[union-attr, arg-type]
    if module.bias is not None:
        nn.init.zeros_(module.bias)  # type: ignore[arg-type]


def _fan_in(module: nn.Module) -> int:
    """Return how many weights feed one output channel."""
    weight: Tensor = module.weight  # type: ignore[assignment]
    if isinstance(module, _ConvTransposeNd):
        return module.in_channels // module.groups * weight[0, 0].numel()
    return weight[0].numel()
