"""Commands of the command line that are not a Trainer's, one a file."""

from lightning_gan.commands.evaluate import evaluate
from lightning_gan.commands.fit_extractor import fit_extractor
from lightning_gan.commands.lab import add_lab_arguments, lab
from lightning_gan.commands.sample import add_sample_arguments, sample

__all__ = [
    "add_lab_arguments",
    "add_sample_arguments",
    "evaluate",
    "fit_extractor",
    "lab",
    "sample",
]
