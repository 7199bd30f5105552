"""What is done to samples, real and generated alike, before the discriminator sees them."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from lightning_gan.training.schedules import Schedule, check_range, value_at


class Augmentation(nn.Module, ABC):
    """A change of samples that the discriminator must see through; gradients must pass it.

    It is applied to all that the discriminator is shown in training: to real and to generated
    samples, in its own updates, in the generator's, and under penalties.
    """

    @abstractmethod
    def forward(self, samples: Tensor, images: int) -> Tensor:
        """Change samples.

        Args:
            samples: (N, ...), images in [-1, 1].
            images: Real images that the discriminator has seen, for schedules.

        Returns:
            The same shape.
        """

    def observe(self, real_logits: Tensor, images: int) -> None:
        """Learn the logits of the real samples of each discriminator update.

        Args:
            real_logits: Logits of real samples, detached; any shape.
            images: Real images of this update, over all processes.
        """

    def scheduled(self, images: int) -> dict[str, float]:
        """Return what changes with the images seen, as it is now, by name for the log."""
        return {}


class ImageAugmentation(Augmentation):
    """An augmentation of images, computed in float32 at least, under autocast too."""

    def forward(self, samples: Tensor, images: int) -> Tensor:
        """Change images (N, C, H, W), each in a way of its own.

        Raises:
            ValueError: If the samples are not images.
        """
        if samples.dim() != 4:
            shape = tuple(samples.shape)
            raise ValueError(
                f"Expected 'samples' of {type(self).__name__} to be images (N, C, H, W), got the "
                f"shape {shape}."
            )
        exact = samples.to(torch.promote_types(samples.dtype, torch.float32))
        changed: Tensor = self.augment(exact, images)
        return changed.to(samples.dtype)

    @abstractmethod
    def augment(self, samples: Tensor, images: int) -> Tensor:
        """Change images (N, C, H, W) in float32 or better."""


class InstanceNoise(Augmentation):
    r"""Add Gaussian noise, so that real and generated samples overlap from the start.

    .. math:: x + \sigma\,\epsilon, \qquad \epsilon \sim \mathcal{N}(0, I)

    Args:
        std: :math:`\sigma`, the standard deviation in units of the samples, or its schedule. If it
            does not end at 0, the generator learns the data blurred by it.

    Raises:
        ValueError: If ``std`` is negative or not finite.

    Reference:
        Sønderby et al., "Amortised MAP Inference for Image Super-resolution", ICLR 2017,
        https://arxiv.org/abs/1610.04490, section 2.4; Arjovsky and Bottou, "Towards Principled
        Methods for Training Generative Adversarial Networks", ICLR 2017,
        https://arxiv.org/abs/1701.04862, section 3.
    """

    def __init__(self, std: float | Schedule = 0.1) -> None:
        super().__init__()
        check_range("std", std)
        self.std = std

    def scheduled(self, images: int) -> dict[str, float]:
        """Return the standard deviation, if it changes."""
        return {"noise_std": self.std(images)} if isinstance(self.std, Schedule) else {}

    def forward(self, samples: Tensor, images: int) -> Tensor:
        """Add noise to samples of any shape."""
        std = value_at(self.std, images)
        if std == 0:
            return samples
        noise = torch.randn(samples.shape, device=samples.device, dtype=samples.dtype)
        return samples + std * noise
