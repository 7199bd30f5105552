"""Spectral normalisation of a whole network."""

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils import parametrize

# Private, but the public `spectral_norm` offers no way to keep its arithmetic out of autocast.
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.spectral_norm import SpectralNorm

from lightning_gan.layers.parametrized import parametrized_by


class OperatorNorm(nn.Module):
    """Base of parametrisations that divide a weight by a norm of the map that it stands for."""


class _ExactSpectralNorm(_SpectralNorm):
    """Spectral normalisation in the precision of the weights, even inside an autocast region."""

    # Compiled, the backward pass would recompute it from a later u.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, weight: Tensor) -> Tensor:
        # CUDA's autocast runs `torch.mv`, and so the whole power iteration, in half precision.
        with torch.autocast(weight.device.type, enabled=False):
            return super().forward(weight)


def spectral_normalize(network: nn.Module) -> nn.Module:
    r"""Divide the weights of a network by their largest singular value, at every use.

    .. math:: \bar W = W / \sigma(W), \quad \sigma(W) \approx u^\top W v

    This holds for the weight of every convolution, transposed convolution, ``nn.Linear`` and
    ``nn.Embedding``, as a matrix with a row per output channel. Each forward pass in training mode
    improves u and v by one power iteration; in evaluation mode they stay. Weights that are
    normalised already, by whatever means, are left alone.

    Call it once the weights are initialised: what initialises a normalised weight changes a copy.

    Args:
        network: Any module, changed in place.

    Returns:
        ``network``.

    Raises:
        ValueError: If a weight is all zeros, so that there is nothing to divide by.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> layer.weight.data = 4 * torch.eye(2)
        >>> spectral_normalize(layer).weight.detach().round(decimals=3)
        tensor([[1., 0.],
                [0., 1.]])

    Reference:
        Miyato et al., "Spectral Normalization for GANs", ICLR 2018,
        https://arxiv.org/abs/1802.05957, algorithm 1.

    Note:
        For a convolution this is not its norm as a linear map, which may be up to
        sqrt(kernel height x width) times as large;
        see :func:`~lightning_gan.layers.lipschitz_normalize`.
    """
    for name, module in list(network.named_modules()):
        if isinstance(module, _ConvNd | nn.Linear | nn.Embedding) and not is_normalized(module):
            if not module.weight.any():
                raise ValueError(f"Expected the weight of '{name}' not to be all zeros.")
            dim = 1 if isinstance(module, _ConvTransposeNd) else 0  # that of the output channels
            norm = _ExactSpectralNorm(module.weight, dim=dim)
            parametrize.register_parametrization(module, "weight", norm)
    return network


def is_normalized(module: nn.Module) -> bool:
    """Tell whether a layer's weight is divided by a norm of its own already, by whatever means."""
    hooks = module._forward_pre_hooks.values()  # torch's former means
    formerly = any(isinstance(hook, SpectralNorm) for hook in hooks)
    return formerly or parametrized_by(module, _SpectralNorm, OperatorNorm)
