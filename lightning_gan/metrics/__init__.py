"""Metrics of generated samples, usable in any pipeline."""

from lightning_gan.metrics.class_coverage import ClassCoverage
from lightning_gan.metrics.comparison import METRICS, PUBLISHED_SIZE
from lightning_gan.metrics.generation import GenerationMetrics
from lightning_gan.metrics.levels import Levels, calibrate
from lightning_gan.metrics.reference import Reference, cache_key
from lightning_gan.metrics.report import Report
from lightning_gan.metrics.verdict import SEVERE, VERDICTS, Evidence, Verdict, judge

__all__ = [
    "METRICS",
    "PUBLISHED_SIZE",
    "SEVERE",
    "VERDICTS",
    "ClassCoverage",
    "Evidence",
    "GenerationMetrics",
    "Levels",
    "Reference",
    "Report",
    "Verdict",
    "cache_key",
    "calibrate",
    "judge",
]
