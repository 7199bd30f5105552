"""How steep a network can be: a bound from its layers, and layers made to keep to 1.

The norm of a convolution is meant as that of the linear map which it is at its input's size.
"""

from functools import partial
from math import nan, prod

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, linear
from torch.nn.modules.utils import _pair
from torch.nn.utils import parametrize

from lightning_gan.functional.penalties import slopes
from lightning_gan.layers.conditioning import ConditionalSequential
from lightning_gan.layers.maxout import Maxout
from lightning_gan.layers.modes import evaluating
from lightning_gan.layers.pooling import SumPool
from lightning_gan.layers.residual import DownBlock, LipschitzDownBlock
from lightning_gan.layers.singular import LinearMap, gram, largest_singular
from lightning_gan.layers.spectral import OperatorNorm, is_normalized

_SLOPE_AT_MOST_1 = (nn.ReLU, nn.Tanh, nn.Identity, nn.Flatten, nn.Unflatten, Maxout)


class _MapNorm(OperatorNorm):
    """Divide a weight by the norm of its linear map, which power iteration keeps up to date."""

    vector: Tensor

    def __init__(self, linear_map: LinearMap, weight: Tensor, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.linear_map = linear_map
        _, vector = largest_singular(linear_map, weight, input_shape)
        self.register_buffer("vector", vector.to(weight.dtype))  # right singular vector

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            exact = weight.to(torch.promote_types(weight.dtype, torch.float32))
            # A copy, for the buffer may change again before the backward pass reads it.
            vector = self.vector.to(exact.dtype, copy=True)
            if self.training:
                vector = gram(self.linear_map, exact.detach(), vector)
                vector /= torch.linalg.vector_norm(vector)
                self.vector.copy_(vector)
            norm = torch.linalg.vector_norm(self.linear_map(vector, exact))
            result: Tensor = (exact / norm).to(weight.dtype)
            return result


def lipschitz_normalize(network: nn.Module, example: Tensor | None = None) -> nn.Module:
    """Divide the weights of a network by their operator norm, at every use.

    This holds for the weight of every ``nn.Conv2d`` and ``nn.Linear``, each of which is then a
    linear map of norm 1 at the input size that ``example`` gives it. That differs from
    :func:`~lightning_gan.layers.spectral_normalize`, which divides by the norm of the kernel
    reshaped to a matrix: the convolution's norm may be sqrt(kernel height x width) times as large.
    The norm is exact at the start; after that each forward pass in training mode follows the
    weights by one power iteration. Layers that are normalised already, by this or spectrally, are
    left alone.

    Call it once the weights are initialised: what initialises a normalised weight changes a copy.

    Args:
        network: Any module, changed in place.
        example: A batch that it takes, (N, ...); zeros of the network's ``sample_shape`` by
            default.

    Returns:
        ``network``.

    Raises:
        ValueError: If the network does not use one of its layers on ``example``, or uses it on maps
            of several sizes, or if a weight is all zeros.
        TypeError: If a convolution pads with something other than zeros, or if there is neither an
            example nor a ``sample_shape``.

    Reference:
        Miyato et al., "Spectral Normalization for GANs", ICLR 2018,
        https://arxiv.org/abs/1802.05957, algorithm 1, with the convolution's own linear map as in
        Gouk et al., "Regularisation of Neural Networks by Enforcing Lipschitz Continuity",
        Machine Learning 2021, https://arxiv.org/abs/1804.04368.
    """
    if example is None:
        example = torch.zeros(1, *_sample_shape(network))
    layers: dict[str, nn.Module] = {
        name: layer
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear) and not is_normalized(layer)
    }
    for name, shape in _input_shapes(network, layers, example).items():
        layer = layers[name]
        if not _weight(layer).any():
            raise ValueError(f"Expected the weight of '{name}' not to be all zeros.")
        norm = _MapNorm(_linear_map(layer, name), _weight(layer), shape)
        parametrize.register_parametrization(layer, "weight", norm)
    return network


def layer_norms(network: nn.Module, example: Tensor) -> dict[str, float]:
    """Measure the operator norm of every linear layer of a network.

    Args:
        network: Any module. It runs once, in evaluation mode.
        example: A batch that it takes, (N, ...); its size decides on the convolutions' norms.

    Returns:
        Norm of each ``nn.Conv2d``, ``nn.ConvTranspose2d``, ``nn.Linear`` and :class:`SumPool` by
        its name, above 0 unless the weight is 0; NaN where it is not finite.

    Raises:
        ValueError: If the network does not use one of its layers on ``example``, or uses it on maps
            of several sizes.
        TypeError: If a convolution pads with something other than zeros.

    Example:
        >>> layer = nn.Conv2d(1, 1, 2, bias=False, stride=2)
        >>> _ = nn.init.ones_(layer.weight)
        >>> round(layer_norms(nn.Sequential(layer), torch.zeros(1, 1, 8, 8))["0"], 6)
        2.0
    """
    layers: dict[str, nn.Module] = {
        name: layer
        for name, layer in network.named_modules(remove_duplicate=False)
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | SumPool)
    }
    norms = {}
    with evaluating(network), torch.inference_mode(False), torch.no_grad():
        for name, shape in _input_shapes(network, layers, example).items():
            if isinstance(layers[name], SumPool):
                norms[name] = prod(shape[1:]) ** 0.5  # of a sum over so many positions
                continue
            linear_map, weight = _linear_map(layers[name], name), _weight(layers[name])
            norms[name] = nan
            if weight.isfinite().all():
                norms[name], _ = largest_singular(linear_map, weight, shape)
    return norms


def lipschitz_bound(
    network: nn.Module, example: Tensor, norms: dict[str, float] | None = None
) -> float:
    """Bound the Lipschitz constant of a network, in the Euclidean norm, by its layers' product.

    The bound holds wherever the network is evaluated, and is often far above the steepest slope
    that it really has, for which see :func:`empirical_slope`.

    Args:
        network: ``nn.Sequential``, :class:`DownBlock` and :class:`LipschitzDownBlock` of linear
            layers, pooling, and activations of slope at most 1; our unconditional discriminators;
            and any module that does nothing but apply the children that it names in an attribute
            ``chain``, one after the other. It runs once, in evaluation mode.
        example: A batch that it takes, (N, ...); its size decides on the convolutions' norms.
        norms: What :func:`layer_norms` returns for both, where it is known already.

    Returns:
        The bound: products along a sequence, sums (or means) over the branches of a block.

    Raises:
        TypeError: If the constant of a layer is unknown, naming it.
        ValueError: If the network does not use one of its layers on ``example``, or uses it on maps
            of several sizes.

    Example:
        >>> network = nn.Sequential(nn.Linear(2, 1), nn.LeakyReLU(0.2), nn.AvgPool1d(1))
        >>> lipschitz_bound(network, torch.zeros(1, 2))
        Traceback (most recent call last):
        TypeError: Expected layers whose Lipschitz constant is known, got AvgPool1d in '2'.
    """
    return _bound(network, "", layer_norms(network, example) if norms is None else norms)


def empirical_slope(network: nn.Module, samples: Tensor) -> Tensor:
    """Measure how steep a network is at samples, to stand beside :func:`lipschitz_bound`.

    It runs in evaluation mode, so that no sample's output depends on another, and in the weights'
    precision.

    Args:
        network: Maps samples to logits: (N,), or (N, ...), whose mean is taken.
        samples: Any batch, (N, ...).

    Returns:
        Euclidean norm of each sample's gradient, (N,), not below 0.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> layer.weight.data = torch.tensor([[3.0, 4.0]])
        >>> empirical_slope(layer, torch.randn(2, 2))
        tensor([5., 5.])
    """
    with evaluating(network), torch.inference_mode(False):
        gradients = slopes(network, samples.clone())
        norms: Tensor = torch.linalg.vector_norm(gradients.detach(), dim=1)
    return norms


def _bound(module: nn.Module, name: str, norms: dict[str, float]) -> float:
    if name in norms:
        return norms[name]
    # Exact types: a subclass may call its children in another way.
    if type(module) in (nn.Sequential, ConditionalSequential):
        # Not `named_children`, which leaves out a layer that comes a second time.
        steps = module._modules.items()
        return prod(_bound(child, _join(name, at), norms) for at, child in steps if child)
    if type(module) in (DownBlock, LipschitzDownBlock):
        branches = ("residual", "shortcut")
        total = sum(_bound(getattr(module, at), _join(name, at), norms) for at in branches)
        return total / 2 if isinstance(module, LipschitzDownBlock) else total
    chain: tuple[str, ...] = getattr(module, "chain", ())
    if chain:
        return prod(_bound(getattr(module, at), _join(name, at), norms) for at in chain)
    if isinstance(module, nn.LeakyReLU):
        return max(1.0, abs(module.negative_slope))
    if isinstance(module, _SLOPE_AT_MOST_1):
        return 1.0
    if isinstance(module, nn.AvgPool2d) and _is_without_overlap(module):
        height, width = _pair(module.kernel_size)
        return float((height * width) ** -0.5)
    raise TypeError(
        f"Expected layers whose Lipschitz constant is known, got {type(module).__name__} in "
        f"'{name}'."
    )


def _join(name: str, child: str) -> str:
    return f"{name}.{child}" if name else child


def _is_without_overlap(pool: nn.AvgPool2d) -> bool:
    whole = _pair(pool.padding) == (0, 0) and not pool.ceil_mode and pool.divisor_override is None
    return whole and _pair(pool.stride) == _pair(pool.kernel_size)


def _weight(layer: nn.Module) -> Tensor:
    weight: Tensor = layer.weight  # type: ignore[assignment]
    return weight.detach()


def _linear_map(layer: nn.Module, name: str) -> LinearMap:
    """Return what a layer does with its input and weight, apart from the bias."""
    if isinstance(layer, nn.Linear):
        return linear
    assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    if layer.padding_mode != "zeros":
        raise TypeError(
            f"Expected convolutions that pad with zeros, got padding_mode='{layer.padding_mode}' "
            f"in '{name}'."
        )
    names = ["stride", "padding", "dilation", "groups"]
    if isinstance(layer, nn.Conv2d):
        return partial(conv2d, **{name: getattr(layer, name) for name in names})
    names.append("output_padding")
    return partial(conv_transpose2d, **{name: getattr(layer, name) for name in names})


def _input_shapes(
    network: nn.Module, layers: dict[str, nn.Module], example: Tensor
) -> dict[str, tuple[int, ...]]:
    """Return the shape of one sample, without N, at the entrance of each layer."""
    shapes: dict[str, tuple[int, ...]] = {}
    handles = []
    for name, layer in layers.items():

        def record(layer: nn.Module, args: tuple[Tensor], name: str = name) -> None:
            shape = tuple(args[0].shape)
            shape = shape[-1:] if isinstance(layer, nn.Linear) else shape[-3:]
            if shapes.setdefault(name, shape) != shape:
                raise ValueError(f"Expected maps of one size at '{name}', got several.")

        handles.append(layer.register_forward_pre_hook(record))
    try:
        with evaluating(network), torch.no_grad():
            network(example)
    finally:
        for handle in handles:
            handle.remove()
    for name in layers:
        if name not in shapes:
            raise ValueError(f"Expected the network to use all its layers, got no use of '{name}'.")
    return shapes


def _sample_shape(network: nn.Module) -> tuple[int, ...]:
    shape = getattr(network, "sample_shape", None)
    if shape is None:
        raise TypeError(
            f"Expected an 'example' for a network without a 'sample_shape', got a "
            f"{type(network).__name__} alone."
        )
    if getattr(network, "num_classes", None) is not None:
        raise TypeError(
            f"Expected an unconditional network, got a {type(network).__name__} with num_classes="
            f"{network.num_classes}, which needs labels."
        )
    return tuple(shape)
