"""Penalties on the slope of a discriminator.

All of them differentiate the logits by the images, per sample, and are then differentiated once
more by the weights. Both happen in float32 even inside an autocast region: in half precision small
slopes underflow to zero.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Discriminator = Callable[[Tensor], Tensor]


def _slopes(discriminator: Discriminator, samples: Tensor) -> Tensor:
    """Return the gradient of each sample's logit by that sample, (N, D)."""
    kind = samples.device.type
    if torch.is_autocast_enabled(kind):
        samples = samples.float()  # like the weights; a run in true half or double keeps its type
    with torch.enable_grad(), torch.autocast(kind, enabled=False):
        samples = samples.detach().requires_grad_()
        logits = discriminator(samples)
        # A sample's logit depends on that sample alone, so the sum's gradient holds them all.
        (gradient,) = torch.autograd.grad(logits.sum(), samples, create_graph=True)
        return gradient.flatten(start_dim=1)


def gradient_penalty(
    discriminator: Discriminator,
    real: Tensor,
    fake: Tensor,
    *,
    target: float = 1.0,
    one_sided: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Penalise slopes that differ from ``target`` on the way from fake to real samples.

    .. math::
        \mathbb{E}\big[(\lVert\nabla_{\hat x} D(\hat x)\rVert_2 - t)^2\big], \quad
        \hat x = \epsilon x + (1 - \epsilon) G(z), \quad \epsilon \sim U[0, 1] \text{ per sample}

    Args:
        discriminator: Maps samples to logits; sample i's logit must depend on sample i alone.
        real: Real samples, (N, ...).
        fake: Generated samples of the same shape; no gradient flows into them.
        target: Slope that costs nothing. 1, as in the paper.
        one_sided: Whether slopes below the target are free.
        generator: Source of the interpolation's random numbers; the global one by default.

    Returns:
        Unweighted scalar, not below 0. The paper weighs it with 10.

    Raises:
        ValueError: If ``real`` and ``fake`` differ in shape.

    Example:
        >>> import torch
        >>> slope = torch.tensor([3.0, 4.0])
        >>> gradient_penalty(lambda x: x @ slope, torch.randn(8, 2), torch.randn(8, 2))
        tensor(16.)

    Reference:
        Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017,
        https://arxiv.org/abs/1704.00028, eq. (3).
    """
    if real.shape != fake.shape:
        shapes = f"{tuple(real.shape)} and {tuple(fake.shape)}"
        raise ValueError(f"Expected 'real' and 'fake' to have the same shape, got {shapes}.")
    shape = (len(real), *(1,) * (real.dim() - 1))
    dtype = torch.promote_types(real.dtype, fake.dtype)
    epsilon = torch.rand(shape, device=real.device, generator=generator).to(dtype)
    between = torch.lerp(fake.to(dtype), real.to(dtype), epsilon)
    excess = torch.linalg.vector_norm(_slopes(discriminator, between), dim=1) - target
    penalty: Tensor = (excess.relu() if one_sided else excess).square().mean()
    return penalty


def zero_centered_gradient_penalty(discriminator: Discriminator, samples: Tensor) -> Tensor:
    r"""Penalise any slope at the given samples: R1 on real samples, R2 on generated ones.

    .. math:: \tfrac{1}{2}\,\mathbb{E}\big[\lVert\nabla_x D(x)\rVert_2^2\big]

    Args:
        discriminator: Maps samples to logits; sample i's logit must depend on sample i alone.
        samples: Real or generated samples, (N, ...); no gradient flows into them.

    Returns:
        Scalar, not below 0, to be weighed with the paper's gamma.

    Example:
        >>> import torch
        >>> slope = torch.tensor([3.0, 4.0])
        >>> zero_centered_gradient_penalty(lambda x: x @ slope, torch.randn(8, 2))
        tensor(12.5000)

    Reference:
        Mescheder et al., "Which Training Methods for GANs do actually Converge?", ICML 2018,
        https://arxiv.org/abs/1801.04406, eq. (9).

    Note:
        The factor one half is the paper's; the authors' code leaves it out.
    """
    return 0.5 * _slopes(discriminator, samples).square().sum(dim=1).mean()
