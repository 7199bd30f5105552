"""Losses and penalties as pure functions of tensors, usable in any pipeline."""

from lightning_gan.functional.clipping import clip_weights_
from lightning_gan.functional.divergences import (
    Divergence,
    f_divergence_discriminator_loss,
    f_divergence_generator_loss,
    f_divergence_non_saturating_generator_loss,
)
from lightning_gan.functional.images import to_uint8
from lightning_gan.functional.losses import (
    hinge_discriminator_loss,
    hinge_generator_loss,
    least_squares_discriminator_loss,
    least_squares_generator_loss,
    minimax_discriminator_loss,
    minimax_generator_loss,
    non_saturating_generator_loss,
    wasserstein_discriminator_loss,
    wasserstein_generator_loss,
)
from lightning_gan.functional.penalties import (
    dragan_penalty,
    drift_penalty,
    gradient_penalty,
    zero_centered_gradient_penalty,
)

__all__ = [
    "Divergence",
    "clip_weights_",
    "dragan_penalty",
    "drift_penalty",
    "f_divergence_discriminator_loss",
    "f_divergence_generator_loss",
    "f_divergence_non_saturating_generator_loss",
    "gradient_penalty",
    "hinge_discriminator_loss",
    "hinge_generator_loss",
    "least_squares_discriminator_loss",
    "least_squares_generator_loss",
    "minimax_discriminator_loss",
    "minimax_generator_loss",
    "non_saturating_generator_loss",
    "to_uint8",
    "wasserstein_discriminator_loss",
    "wasserstein_generator_loss",
    "zero_centered_gradient_penalty",
]
