"""Penalties on the slope of a discriminator, and on the size of its logits.

Those on the slope differentiate the logits by the images, per sample, and are then differentiated
once more by the weights. Both happen in float32 even inside an autocast region: in half precision
small slopes underflow to zero. The slope of a sample with several logits, one per patch or scale,
is that of their mean, because the mean is what the losses take. Where a layer compares samples, as
minibatch statistics do, what counts is the slope of the batch's sum.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_gan.functional.shapes import check_same_shape

Discriminator = Callable[[Tensor], Tensor]


def slopes(discriminator: Discriminator, samples: Tensor) -> Tensor:
    """Return the gradient of each sample's mean logit by that sample, (N, D), with its graph."""
    kind = samples.device.type
    if torch.is_autocast_enabled(kind):
        samples = samples.float()  # like the weights; a run in true half or double keeps its type
    with torch.enable_grad(), torch.autocast(kind, enabled=False):
        samples = samples.detach().requires_grad_()
        logits = discriminator(samples)
        means = logits.reshape(len(logits), -1).mean(dim=1)
        # A sample's logits depend on that sample alone, so the sum's gradient holds them all.
        (gradient,) = torch.autograd.grad(means.sum(), samples, create_graph=True)
        return gradient.flatten(start_dim=1)


def _distance_to_target(
    discriminator: Discriminator, points: Tensor, target: float, one_sided: bool = False
) -> Tensor:
    """Return the mean square of how far each point's slope is from the target."""
    excess = torch.linalg.vector_norm(slopes(discriminator, points), dim=1) - target
    distance: Tensor = (excess.relu() if one_sided else excess).square().mean()
    return distance


def _uniform_per_sample(
    samples: Tensor, dtype: torch.dtype, generator: torch.Generator | None
) -> Tensor:
    """Draw one number from U[0, 1] for each sample, (N, 1, ...)."""
    shape = (len(samples), *(1,) * (samples.dim() - 1))
    return torch.rand(shape, device=samples.device, generator=generator).to(dtype)


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

    With ``target=0`` it is the zero-centred penalty of Thanh-Tung et al., which vanishes at the
    equilibrium and so lets the game converge to it.

    Args:
        discriminator: Maps samples to logits; sample i's logits must depend on sample i alone.
        real: Real samples, (N, ...).
        fake: Generated samples of the same shape; no gradient flows into them.
        target: Slope that costs nothing. 1 as in the paper, 0 for the zero-centred form.
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
        https://arxiv.org/abs/1704.00028, eq. (3); Thanh-Tung et al., "Improving Generalization and
        Stability of Generative Adversarial Networks", ICLR 2019,
        https://arxiv.org/abs/1902.03984 (``target=0``).
    """
    check_same_shape(real=real, fake=fake)
    dtype = torch.promote_types(real.dtype, fake.dtype)
    epsilon = _uniform_per_sample(real, dtype, generator)
    between = torch.lerp(fake.to(dtype), real.to(dtype), epsilon)
    return _distance_to_target(discriminator, between, target, one_sided)


def dragan_penalty(
    discriminator: Discriminator,
    real: Tensor,
    *,
    scale: float = 0.5,
    std: Tensor | None = None,
    target: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Penalise slopes that differ from ``target`` around the real samples.

    .. math::
        \mathbb{E}\big[(\lVert\nabla_{\hat x} D(\hat x)\rVert_2 - t)^2\big], \quad
        \hat x = x + \alpha\, c\, \mathrm{std}(x)\, u, \quad
        \alpha \sim U[0, 1] \text{ per sample},\; u \sim U[0, 1] \text{ per dimension}

    Args:
        discriminator: Maps samples to logits; sample i's logits must depend on sample i alone.
        real: Real samples, (N, ...); no gradient flows into them.
        scale: c, how far the samples are moved, in standard deviations. 0.5 as in the authors'
            code.
        std: That standard deviation, one number; None takes it of all values in ``real``.
        target: Slope that costs nothing. 1, as in the paper.
        generator: Source of the random numbers; the global one by default.

    Returns:
        Unweighted scalar, not below 0. The authors' code weighs it with 10.

    Example:
        >>> import torch
        >>> slope = torch.tensor([3.0, 4.0])
        >>> dragan_penalty(lambda x: x @ slope, torch.randn(8, 2))
        tensor(16.)

    Reference:
        Kodali et al., "On Convergence and Stability of GANs", 2017,
        https://arxiv.org/abs/1705.07215.

    Note:
        The paper's noise is normal. That of the authors' code, taken here, is uniform and never
        negative.
    """
    noise = torch.rand(real.shape, device=real.device, generator=generator).to(real.dtype)
    alpha = _uniform_per_sample(real, real.dtype, generator)
    std = real.std(correction=0) if std is None else std
    points = real + alpha * scale * std * noise
    return _distance_to_target(discriminator, points, target)


def zero_centered_gradient_penalty(discriminator: Discriminator, samples: Tensor) -> Tensor:
    r"""Penalise any slope at the given samples: R1 on real samples, R2 on generated ones.

    .. math:: \tfrac{1}{2}\,\mathbb{E}\big[\lVert\nabla_x D(x)\rVert_2^2\big]

    Args:
        discriminator: Maps samples to logits; sample i's logits must depend on sample i alone.
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
    return 0.5 * slopes(discriminator, samples).square().sum(dim=1).mean()


def drift_penalty(real_logits: Tensor) -> Tensor:
    r"""Penalise large logits, which a loss of differences leaves free to drift.

    .. math:: \mathbb{E}[D(x)^2]

    Args:
        real_logits: Logits of real samples, any shape.

    Returns:
        Unweighted scalar, not below 0. The paper weighs it with 1e-3.

    Example:
        >>> import torch
        >>> drift_penalty(torch.tensor([1.0, -3.0]))
        tensor(5.)

    Reference:
        Karras et al., "Progressive Growing of GANs for Improved Quality, Stability, and
        Variation", ICLR 2018, https://arxiv.org/abs/1710.10196, appendix A.1.
    """
    return real_logits.square().mean()
