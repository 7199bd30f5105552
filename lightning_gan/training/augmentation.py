"""What is done to samples, real and generated alike, before the discriminator sees them."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from lightning_gan.training.preflight import check_non_negative


class Augmentation(nn.Module, ABC):
    """A change of samples that the discriminator must see through; gradients must pass it.

    It is applied to all that the discriminator is shown in training: to real and to generated
    samples, in its own updates, in the generator's, and under penalties.
    """

    @abstractmethod
    def forward(self, samples: Tensor, step: int) -> Tensor:
        """Change samples.

        Args:
            samples: (N, ...), images in [-1, 1].
            step: Number of generator iterations so far, for schedules.

        Returns:
            The same shape.
        """


class InstanceNoise(Augmentation):
    r"""Add Gaussian noise, so that real and generated samples overlap from the start.

    .. math:: x + \sigma_t\,\epsilon, \qquad \sigma_t = \sigma\,\max(0, 1 - t / T), \quad
        \epsilon \sim \mathcal{N}(0, I)

    Args:
        std: :math:`\sigma`, the standard deviation at the start, in units of the samples.
        steps: :math:`T`, the generator iterations in which the noise falls to nothing. None keeps
            it as it is, and the generator then learns the data blurred by it.

    Raises:
        ValueError: If ``std`` is negative or not finite, or ``steps`` below 1.

    Reference:
        Sønderby et al., "Amortised MAP Inference for Image Super-resolution", ICLR 2017,
        https://arxiv.org/abs/1610.04490, section 2.4; Arjovsky and Bottou, "Towards Principled
        Methods for Training Generative Adversarial Networks", ICLR 2017,
        https://arxiv.org/abs/1701.04862, section 3.
    """

    def __init__(self, std: float = 0.1, steps: int | None = None) -> None:
        super().__init__()
        check_non_negative("std", std)
        if steps is not None and steps < 1:
            raise ValueError(f"Expected 'steps' to be at least 1 or None, got {steps}.")
        self.std = std
        self.steps = steps

    def std_at(self, step: int) -> float:
        """Return the standard deviation after a number of generator iterations."""
        return self.std * (1.0 if self.steps is None else max(0.0, 1 - step / self.steps))

    def forward(self, samples: Tensor, step: int) -> Tensor:
        """Add noise to samples of any shape."""
        std = self.std_at(step)
        if std == 0:
            return samples
        noise = torch.randn(samples.shape, device=samples.device, dtype=samples.dtype)
        return samples + std * noise
