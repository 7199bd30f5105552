"""Penalties on the discriminator's slopes, and on the size of its logits."""

import torch
from torch import Tensor

from lightning_gan.functional import (
    dragan_penalty,
    drift_penalty,
    gradient_penalty,
    zero_centered_gradient_penalty,
)
from lightning_gan.training.distributed import average
from lightning_gan.training.penalty import LogitPenalty, Logits
from lightning_gan.training.schedules import Schedule, check_range


class GradientPenalty(LogitPenalty):
    r"""Pull the slope between fake and real samples towards ``target``.

    .. math:: \lambda\,\mathbb{E}\big[(\lVert\nabla_{\hat x} D(\hat x)\rVert_2 - t)^2\big]

    Args:
        weight: :math:`\lambda`; 10 as in the paper (0.1 for 2-D toys).
        target: t, the slope that costs nothing. With 0 it is the zero-centred penalty of
            Thanh-Tung et al., under which the game converges.
        one_sided: Whether slopes below the target are free, so that the critic is 1-Lipschitz but
            not pushed to the slope 1 everywhere; without effect for ``target=0``.
        interval: See :class:`~lightning_gan.training.Penalty`.

    Raises:
        ValueError: If ``weight`` or ``target`` is negative or not finite, or ``interval`` below 1.

    Reference:
        Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017,
        https://arxiv.org/abs/1704.00028, eq. (3), and section 4 for one side; Thanh-Tung et al.,
        "Improving Generalization and Stability of Generative Adversarial Networks", ICLR 2019,
        https://arxiv.org/abs/1902.03984 (``target=0``).
    """

    name = "gradient_penalty"
    per_sample_gradient = True

    def __init__(
        self,
        weight: float | Schedule = 10.0,
        target: float = 1.0,
        one_sided: bool = False,
        interval: int = 1,
    ) -> None:
        super().__init__(weight, interval)
        check_range("target", target)
        self.target = target
        self.one_sided = one_sided

    def penalty(self, discriminator: Logits, real: Tensor, fake: Tensor) -> Tensor:
        """Compute the unweighted term, a scalar."""
        return gradient_penalty(
            discriminator, real, fake, target=self.target, one_sided=self.one_sided
        )


class DRAGANPenalty(LogitPenalty):
    r"""Pull the slope around real samples towards 1.

    .. math::
        \lambda\,\mathbb{E}\big[(\lVert\nabla_{\hat x} D(\hat x)\rVert_2 - 1)^2\big], \quad
        \hat x = x + \alpha\, c\, \mathrm{std}(x)\, u

    Args:
        weight: :math:`\lambda`; 10 as in the authors' code.
        scale: c, how far samples are moved, in standard deviations of all processes' batch.
        interval: See :class:`~lightning_gan.training.Penalty`.

    Raises:
        ValueError: If ``weight`` or ``scale`` is negative or not finite, or ``interval`` below 1.

    Reference:
        Kodali et al., "On Convergence and Stability of GANs", 2017,
        https://arxiv.org/abs/1705.07215.
    """

    name = "dragan"
    per_sample_gradient = True

    def __init__(
        self, weight: float | Schedule = 10.0, scale: float = 0.5, interval: int = 1
    ) -> None:
        super().__init__(weight, interval)
        check_range("scale", scale)
        self.scale = scale

    def penalty(self, discriminator: Logits, real: Tensor, fake: Tensor) -> Tensor:
        """Compute the unweighted term, a scalar."""
        mean, mean_square = average(torch.stack([real.mean(), real.square().mean()]))
        std = (mean_square - mean.square()).clamp(min=0).sqrt()
        return dragan_penalty(discriminator, real, scale=self.scale, std=std)


class R1(LogitPenalty):
    r"""Flatten the discriminator at real samples.

    .. math:: \tfrac{\gamma}{2}\,\mathbb{E}\big[\lVert\nabla_x D(x)\rVert_2^2\big]

    Args:
        weight: :math:`\gamma`; 10 as in the paper. The authors' code leaves the half out, so
            that its 10 is 20 here.
        interval: See :class:`~lightning_gan.training.Penalty`.

    Reference:
        Mescheder et al., "Which Training Methods for GANs do actually Converge?", ICML 2018,
        https://arxiv.org/abs/1801.04406, eq. (9).
    """

    name = "r1"
    per_sample_gradient = True

    def __init__(self, weight: float | Schedule = 10.0, interval: int = 1) -> None:
        super().__init__(weight, interval)

    def penalty(self, discriminator: Logits, real: Tensor, fake: Tensor) -> Tensor:
        """Compute the unweighted term, a scalar."""
        return zero_centered_gradient_penalty(discriminator, real)


class R2(R1):
    r"""Flatten the discriminator at generated samples: R1 with :math:`G(z)` in place of x.

    Args:
        weight: :math:`\gamma`; 10 as in the paper.
        interval: See :class:`~lightning_gan.training.Penalty`.

    Reference:
        Mescheder et al., "Which Training Methods for GANs do actually Converge?", ICML 2018,
        https://arxiv.org/abs/1801.04406, eq. (10).
    """

    name = "r2"

    def penalty(self, discriminator: Logits, real: Tensor, fake: Tensor) -> Tensor:
        """Compute the unweighted term, a scalar."""
        return zero_centered_gradient_penalty(discriminator, fake)


class Drift(LogitPenalty):
    r"""Keep the logits of real samples near 0, which a Wasserstein loss leaves free to drift.

    .. math:: \epsilon\,\mathbb{E}[D(x)^2]

    It looks at the real samples once more, and differentiates nothing by them.

    Args:
        weight: :math:`\epsilon`; 1e-3 as in the paper.
        interval: See :class:`~lightning_gan.training.Penalty`.

    Reference:
        Karras et al., "Progressive Growing of GANs for Improved Quality, Stability, and
        Variation", ICLR 2018, https://arxiv.org/abs/1710.10196, appendix A.1.
    """

    name = "drift"

    def __init__(self, weight: float | Schedule = 1e-3, interval: int = 1) -> None:
        super().__init__(weight, interval)

    def penalty(self, discriminator: Logits, real: Tensor, fake: Tensor) -> Tensor:
        """Compute the unweighted term, a scalar."""
        return drift_penalty(discriminator(real))
