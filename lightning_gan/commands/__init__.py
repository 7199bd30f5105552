"""Commands of the command line that are not a Trainer's, one a file."""

from lightning_gan.commands.sample import sample

__all__ = ["sample"]
