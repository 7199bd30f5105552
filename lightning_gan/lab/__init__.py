"""The articles' claims as experiments: a class and a YAML file each, run by one runner."""

from lightning_gan.lab.experiment import Experiment, Finding, Row

__all__ = ["Experiment", "Finding", "Row"]
