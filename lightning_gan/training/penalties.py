"""Penalties on the discriminator as objects with a weight and an interval, for any variant."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable

from torch import Tensor, nn

from lightning_gan.functional import (
    dragan_penalty,
    drift_penalty,
    gradient_penalty,
    zero_centered_gradient_penalty,
)
from lightning_gan.layers import mixing_layers
from lightning_gan.training.preflight import check_non_negative

Logits = Callable[[Tensor], Tensor]


class Penalty(nn.Module, ABC):
    """A term that is added to the discriminator's loss.

    Args:
        weight: Factor of the term.
        interval: The term is computed in every ``interval``-th discriminator update only and
            multiplied by ``interval`` there, so that its mean strength stays the same ("lazy").

    Raises:
        ValueError: If ``weight`` is negative or not finite, or ``interval`` below 1.

    Reference:
        Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020,
        https://arxiv.org/abs/1912.04958, section 3.1 (lazy regularisation).
    """

    #: Name of the term in the log.
    name: str
    #: Whether the term differentiates each sample's logit by that sample.
    per_sample_gradient = True

    def __init__(self, weight: float, interval: int = 1) -> None:
        super().__init__()
        check_non_negative("weight", weight)
        if interval < 1:
            raise ValueError(f"Expected 'interval' to be at least 1, got {interval}.")
        self.weight = weight
        self.interval = interval

    def due(self, update: int) -> bool:
        """Tell whether the discriminator update with this number, from 0, has the term."""
        return self.weight > 0 and update % self.interval == 0

    def forward(self, discriminator: Logits, real: Tensor, fake: Tensor) -> Tensor:
        """Compute the weighted term.

        Args:
            discriminator: Maps samples to logits; labels are already bound.
            real: Real samples, (N, ...).
            fake: Generated samples of the same shape.

        Returns:
            Scalar in float32.
        """
        return self.weight * self.interval * self.penalty(discriminator, real, fake)

    @abstractmethod
    def penalty(self, discriminator: Logits, real: Tensor, fake: Tensor) -> Tensor:
        """Compute the unweighted term, a scalar."""


class GradientPenalty(Penalty):
    r"""Pull the slope between fake and real samples towards ``target``.

    .. math:: \lambda\,\mathbb{E}\big[(\lVert\nabla_{\hat x} D(\hat x)\rVert_2 - t)^2\big]

    Args:
        weight: :math:`\lambda`; 10 as in the paper (0.1 for 2-D toys).
        target: t, the slope that costs nothing. With 0 it is the zero-centred penalty of
            Thanh-Tung et al., under which the game converges.
        one_sided: Whether slopes below the target are free, so that the critic is 1-Lipschitz but
            not pushed to the slope 1 everywhere; without effect for ``target=0``.
        interval: See :class:`Penalty`.

    Raises:
        ValueError: If ``weight`` or ``target`` is negative or not finite, or ``interval`` below 1.

    Reference:
        Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017,
        https://arxiv.org/abs/1704.00028, eq. (3), and section 4 for one side; Thanh-Tung et al.,
        "Improving Generalization and Stability of Generative Adversarial Networks", ICLR 2019,
        https://arxiv.org/abs/1902.03984 (``target=0``).
    """

    name = "gradient_penalty"

    def __init__(
        self,
        weight: float = 10.0,
        target: float = 1.0,
        one_sided: bool = False,
        interval: int = 1,
    ) -> None:
        super().__init__(weight, interval)
        check_non_negative("target", target)
        self.target = target
        self.one_sided = one_sided

    def penalty(self, discriminator: Logits, real: Tensor, fake: Tensor) -> Tensor:
        """Compute the unweighted term, a scalar."""
        return gradient_penalty(
            discriminator, real, fake, target=self.target, one_sided=self.one_sided
        )


class DRAGAN(Penalty):
    r"""Pull the slope around real samples towards 1.

    .. math::
        \lambda\,\mathbb{E}\big[(\lVert\nabla_{\hat x} D(\hat x)\rVert_2 - 1)^2\big], \quad
        \hat x = x + \alpha\, c\, \mathrm{std}(x)\, u

    Args:
        weight: :math:`\lambda`; 10 as in the authors' code.
        scale: c, how far samples are moved, in standard deviations of the rank's own batch.
        interval: See :class:`Penalty`.

    Raises:
        ValueError: If ``weight`` or ``scale`` is negative or not finite, or ``interval`` below 1.

    Reference:
        Kodali et al., "On Convergence and Stability of GANs", 2017,
        https://arxiv.org/abs/1705.07215.
    """

    name = "dragan"

    def __init__(self, weight: float = 10.0, scale: float = 0.5, interval: int = 1) -> None:
        super().__init__(weight, interval)
        check_non_negative("scale", scale)
        self.scale = scale

    def penalty(self, discriminator: Logits, real: Tensor, fake: Tensor) -> Tensor:
        """Compute the unweighted term, a scalar."""
        return dragan_penalty(discriminator, real, scale=self.scale)


class R1(Penalty):
    r"""Flatten the discriminator at real samples.

    .. math:: \tfrac{\gamma}{2}\,\mathbb{E}\big[\lVert\nabla_x D(x)\rVert_2^2\big]

    Args:
        weight: :math:`\gamma`; 10 as in the paper. The authors' code leaves the half out, so
            that its 10 is 20 here.
        interval: See :class:`Penalty`.

    Reference:
        Mescheder et al., "Which Training Methods for GANs do actually Converge?", ICML 2018,
        https://arxiv.org/abs/1801.04406, eq. (9).
    """

    name = "r1"

    def __init__(self, weight: float = 10.0, interval: int = 1) -> None:
        super().__init__(weight, interval)

    def penalty(self, discriminator: Logits, real: Tensor, fake: Tensor) -> Tensor:
        """Compute the unweighted term, a scalar."""
        return zero_centered_gradient_penalty(discriminator, real)


class R2(R1):
    r"""Flatten the discriminator at generated samples: R1 with :math:`G(z)` in place of x.

    Args:
        weight: :math:`\gamma`; 10 as in the paper.
        interval: See :class:`Penalty`.

    Reference:
        Mescheder et al., "Which Training Methods for GANs do actually Converge?", ICML 2018,
        https://arxiv.org/abs/1801.04406, eq. (10).
    """

    name = "r2"

    def penalty(self, discriminator: Logits, real: Tensor, fake: Tensor) -> Tensor:
        """Compute the unweighted term, a scalar."""
        return zero_centered_gradient_penalty(discriminator, fake)


class Drift(Penalty):
    r"""Keep the logits of real samples near 0, which a Wasserstein loss leaves free to drift.

    .. math:: \epsilon\,\mathbb{E}[D(x)^2]

    It looks at the real samples once more, and differentiates nothing by them.

    Args:
        weight: :math:`\epsilon`; 1e-3 as in the paper.
        interval: See :class:`Penalty`.

    Reference:
        Karras et al., "Progressive Growing of GANs for Improved Quality, Stability, and
        Variation", ICLR 2018, https://arxiv.org/abs/1710.10196, appendix A.1.
    """

    name = "drift"
    per_sample_gradient = False

    def __init__(self, weight: float = 1e-3, interval: int = 1) -> None:
        super().__init__(weight, interval)

    def penalty(self, discriminator: Logits, real: Tensor, fake: Tensor) -> Tensor:
        """Compute the unweighted term, a scalar."""
        return drift_penalty(discriminator(real))


class Penalties(nn.ModuleList):
    """The penalties of one training.

    Args:
        penalties: The penalties, no two of one name.
        discriminator: The network they will be applied to.

    Raises:
        ValueError: If two penalties share a name, or if the discriminator has batch normalisation,
            under which a sample has no slope of its own.
    """

    def __init__(self, penalties: Iterable[Penalty], discriminator: nn.Module) -> None:
        if isinstance(penalties, Penalty):
            raise TypeError(f"Expected 'penalties' to be a list, got {type(penalties).__name__}.")
        super().__init__(penalties)
        for name, count in Counter(penalty.name for penalty in self._all()).items():
            if count > 1:
                raise ValueError(f"Expected 'penalties' of different names, got '{name}' twice.")
        mixed = mixing_layers(discriminator, under_penalty=True)
        for penalty in self._all():
            if penalty.per_sample_gradient and mixed:
                raise ValueError(
                    "Expected a discriminator without mixing layers under the penalty "
                    f"'{penalty.name}', got {mixed[0]}: it mixes the samples of a batch, so that a "
                    "sample has no slope of its own. Use norm='layer', 'instance' or 'none'."
                )

    def forward(
        self, discriminator: Logits, real: Tensor, fake: Tensor, update: int
    ) -> dict[str, Tensor]:
        """Compute the weighted terms, by name, that are due in this discriminator update."""
        due = [penalty for penalty in self._all() if penalty.due(update)]
        return {penalty.name: penalty(discriminator, real, fake) for penalty in due}

    def _all(self) -> list[Penalty]:
        return [penalty for penalty in self if isinstance(penalty, Penalty)]
