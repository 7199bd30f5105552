"""R3GAN, a modern baseline: relativistic pairing under R1 and R2 (Huang et al., 2024)."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from lightning_gan.functional import (
    relativistic_discriminator_loss,
    relativistic_generator_loss,
)
from lightning_gan.gans.base import AdversarialModule
from lightning_gan.training import R1, R2, GANAdam, Penalty, Schedule
from lightning_gan.training.batch import Batch
from lightning_gan.training.penalty import Terms
from lightning_gan.training.schedules import check_range


class R3GAN(AdversarialModule):
    r"""GAN whose discriminator tells which of a pair is real, with slopes held down at both.

    .. math::
        \min_D\; \mathbb{E}[\mathrm{softplus}(-(D(x) - D(G(z))))]
            + \tfrac{\gamma}{2}\,\mathbb{E}\lVert\nabla D(x)\rVert^2
            + \tfrac{\gamma}{2}\,\mathbb{E}\lVert\nabla D(G(z))\rVert^2, \qquad
        \min_G\; \mathbb{E}[\mathrm{softplus}(-(D(G(z)) - D(x)))]

    Its networks have no normalisation; see :class:`~lightning_gan.networks.R3GANGenerator`. The
    authors' recipe also rests on schedules over images seen: of gamma, of both rates and
    ``beta2`` (:class:`~lightning_gan.training.GANAdam`), of the average's half-life
    (:class:`~lightning_gan.callbacks.GeneratorEMA`) and of an augmentation's probability
    (:class:`~lightning_gan.training.AugmentationPipeline`); ``configs/cifar10/r3gan.yaml`` has all.

    Args:
        generator: See :class:`~lightning_gan.gans.base.AdversarialModule`.
        discriminator: Likewise.
        gamma: Weight of both penalties, or its schedule over images seen. None takes
            :func:`default_gamma` of the images' final shape and the batch of all processes. It does
            not transfer between data sets: see "Choosing gamma" in the README.
        penalties: Further terms.
        optimizer_g: Adam with a rate of 2e-4, where the authors' schedule of it begins, and betas
            (0, 0.99), where theirs ends.
        optimizer_d: Likewise.
        **kwargs: See :class:`~lightning_gan.gans.base.AdversarialModule`.

    Raises:
        ValueError: If ``gamma`` is negative or not finite.

    Reference:
        Huang et al., "The GAN is dead; long live the GAN! A Modern Baseline GAN", NeurIPS 2024,
        https://arxiv.org/abs/2501.05441, eq. (2) and section 3; the relativistic pairing is
        Jolicoeur-Martineau's, "The relativistic discriminator", ICLR 2019,
        https://arxiv.org/abs/1807.00734.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        gamma: float | Schedule | None = None,
        penalties: Sequence[Penalty] | None = None,
        optimizer_g: OptimizerCallable = lambda p: GANAdam(p, lr=2e-4, beta1=0.0, beta2=0.99),
        optimizer_d: OptimizerCallable = lambda p: GANAdam(p, lr=2e-4, beta1=0.0, beta2=0.99),
        **kwargs: Any,
    ) -> None:
        weight = 0.0 if gamma is None else gamma
        check_range("gamma", weight)
        super().__init__(
            generator,
            discriminator,
            penalties=[R1(weight), R2(weight), *(penalties or ())],
            optimizer_g=optimizer_g,
            optimizer_d=optimizer_d,
            **kwargs,
        )
        self.gamma = gamma
        self._chosen_gamma: float | None = None

    def begin(self, parts: list[Batch]) -> None:
        """Choose gamma if neither the user nor the run's first part did."""
        if self.gamma is None and self._chosen_gamma is None:
            size = len(parts[0].samples) * self.trainer.world_size
            channels, *sides = parts[0].samples.shape[1:]
            if self._growing:
                sides = [self._growing[0].resolutions[-1]] * 2
            self._choose(default_gamma((channels, *sides), size))
        super().begin(parts)

    def _choose(self, gamma: float) -> None:
        self._chosen_gamma = gamma
        for penalty in self.penalties.all()[:2]:
            penalty.weight = gamma
        rank_zero_info(f"Chosen gamma={gamma:.3g} for R1 and R2; see 'Choosing gamma'.")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the gamma that was chosen."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["lightning_gan"]["gamma"] = self._chosen_gamma

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the gamma that was chosen."""
        super().on_load_checkpoint(checkpoint)
        chosen = checkpoint.get("lightning_gan", {}).get("gamma")
        if self.gamma is None and chosen is not None:
            self._choose(chosen)

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        """Tell which of a pair is real."""
        return {"adversarial": relativistic_discriminator_loss(*self.discriminate(real, fake))}

    def generator_loss(self, real: Batch, fake: Batch) -> Terms:
        """Have generated samples look more real than their partners."""
        with torch.no_grad():
            real_logits = self.logits(real)
        return {"adversarial": relativistic_generator_loss(real_logits, self.logits(fake))}


def default_gamma(sample_shape: Sequence[int], batch_size: int) -> float:
    r"""Return a gamma to begin with: :math:`0.3\,HW / B` for images, 0.1 for points.

    The form is StyleGAN2-ADA's heuristic. The factor is the geometric mean over the five presets of
    the authors of R3GAN, each at its start, which lie between a thirteenth and six times of it: it
    is a place to begin, not a value to trust.

    Args:
        sample_shape: (C, H, W) or (D,).
        batch_size: Real samples of one update, over all processes.

    Example:
        >>> round(default_gamma((3, 32, 32), 512), 2)
        0.6

    Reference:
        Karras et al., "Training Generative Adversarial Networks with Limited Data", NeurIPS 2020,
        https://arxiv.org/abs/2006.06676, appendix C (0.0002 HW / B); Huang et al., "The GAN is
        dead; long live the GAN!", NeurIPS 2024, https://arxiv.org/abs/2501.05441, appendix.
    """
    if len(sample_shape) != 3:
        return 0.1
    return 0.3 * math.prod(sample_shape[1:]) / batch_size
