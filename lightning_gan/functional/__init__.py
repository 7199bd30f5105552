"""Losses and penalties as pure functions of tensors, usable in any pipeline."""

from lightning_gan.functional.clipping import clip_weights_
from lightning_gan.functional.consistency import (
    consistency_penalty,
    feature_matching_loss,
    latent_diversity,
)
from lightning_gan.functional.divergences import (
    Divergence,
    f_divergence_discriminator_loss,
    f_divergence_generator_loss,
    f_divergence_non_saturating_generator_loss,
)
from lightning_gan.functional.fading import at_resolution, enlarge, shrink
from lightning_gan.functional.fidelity import (
    frechet_distance,
    frechet_distance_floor,
    frechet_distance_from_moments,
    inception_score,
)
from lightning_gan.functional.images import to_uint8
from lightning_gan.functional.kernels import kernel_distance, kernel_distance_of_subsets
from lightning_gan.functional.lecam import lecam_penalty
from lightning_gan.functional.losses import (
    hinge_discriminator_loss,
    hinge_generator_loss,
    least_squares_discriminator_loss,
    least_squares_generator_loss,
    minimax_discriminator_loss,
    minimax_generator_loss,
    non_saturating_generator_loss,
    relativistic_discriminator_loss,
    relativistic_generator_loss,
    wasserstein_discriminator_loss,
    wasserstein_generator_loss,
)
from lightning_gan.functional.modes import (
    HIGH_QUALITY,
    ClassCoverage,
    Memorization,
    MixtureCoverage,
    Repetition,
    class_coverage,
    expected_coverage,
    memorization,
    mixture_coverage,
    repetition,
)
from lightning_gan.functional.moments import Moments, moments
from lightning_gan.functional.neighbors import nearest_distances, neighbor_radii
from lightning_gan.functional.orthogonal import orthogonal_penalty
from lightning_gan.functional.overlap import (
    ManifoldScores,
    Neighborhood,
    Overlap,
    neighborhood,
    overlap,
    precision_recall_density_coverage,
)
from lightning_gan.functional.penalties import (
    dragan_penalty,
    drift_penalty,
    gradient_penalty,
    zero_centered_gradient_penalty,
)
from lightning_gan.functional.selection import top_k_rows
from lightning_gan.functional.warping import affine_warp, color_transform, cutout, translate

__all__ = [
    "HIGH_QUALITY",
    "ClassCoverage",
    "Divergence",
    "ManifoldScores",
    "Memorization",
    "MixtureCoverage",
    "Moments",
    "Neighborhood",
    "Overlap",
    "Repetition",
    "affine_warp",
    "at_resolution",
    "class_coverage",
    "clip_weights_",
    "color_transform",
    "consistency_penalty",
    "cutout",
    "dragan_penalty",
    "drift_penalty",
    "enlarge",
    "expected_coverage",
    "f_divergence_discriminator_loss",
    "f_divergence_generator_loss",
    "f_divergence_non_saturating_generator_loss",
    "feature_matching_loss",
    "frechet_distance",
    "frechet_distance_floor",
    "frechet_distance_from_moments",
    "gradient_penalty",
    "hinge_discriminator_loss",
    "hinge_generator_loss",
    "inception_score",
    "kernel_distance",
    "kernel_distance_of_subsets",
    "latent_diversity",
    "least_squares_discriminator_loss",
    "least_squares_generator_loss",
    "lecam_penalty",
    "memorization",
    "minimax_discriminator_loss",
    "minimax_generator_loss",
    "mixture_coverage",
    "moments",
    "nearest_distances",
    "neighbor_radii",
    "neighborhood",
    "non_saturating_generator_loss",
    "orthogonal_penalty",
    "overlap",
    "precision_recall_density_coverage",
    "relativistic_discriminator_loss",
    "relativistic_generator_loss",
    "repetition",
    "shrink",
    "to_uint8",
    "top_k_rows",
    "translate",
    "wasserstein_discriminator_loss",
    "wasserstein_generator_loss",
    "zero_centered_gradient_penalty",
]
