"""Instruments that tell how a training stands, and alarms for what ails it."""

from lightning_gan.diagnostics.alarms import Alarms, Raised
from lightning_gan.diagnostics.discriminator import clipped_share, logit_figures
from lightning_gan.diagnostics.diversity import diversity
from lightning_gan.diagnostics.gradients import generator_gradients
from lightning_gan.diagnostics.jacobian import Spectrum, game_eigenvalues, game_jacobian
from lightning_gan.diagnostics.motion import Motion
from lightning_gan.diagnostics.probe import probe
from lightning_gan.diagnostics.signs import ALARMS, NAMES, THRESHOLDS, Alarm, Threshold
from lightning_gan.diagnostics.steepness import steepness
from lightning_gan.diagnostics.unnoticed import unnoticed

__all__ = [
    "ALARMS",
    "NAMES",
    "THRESHOLDS",
    "Alarm",
    "Alarms",
    "Motion",
    "Raised",
    "Spectrum",
    "Threshold",
    "clipped_share",
    "diversity",
    "game_eigenvalues",
    "game_jacobian",
    "generator_gradients",
    "logit_figures",
    "probe",
    "steepness",
    "unnoticed",
]
