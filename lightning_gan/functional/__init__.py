"""Losses and penalties as pure functions of tensors, usable in any pipeline."""

from lightning_gan.functional.images import to_uint8
from lightning_gan.functional.losses import (
    non_saturating_discriminator_loss,
    non_saturating_generator_loss,
    wasserstein_discriminator_loss,
    wasserstein_generator_loss,
)
from lightning_gan.functional.penalties import gradient_penalty, zero_centered_gradient_penalty

__all__ = [
    "gradient_penalty",
    "non_saturating_discriminator_loss",
    "non_saturating_generator_loss",
    "to_uint8",
    "wasserstein_discriminator_loss",
    "wasserstein_generator_loss",
    "zero_centered_gradient_penalty",
]
