"""The command line: Lightning's own commands for a model and its data, and a few beside them."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser
from lightning import LightningDataModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

# Imported so that their classes can be named shortly, as in `--model WGANGP --data Digits`.
import lightning_gan.data
import lightning_gan.networks
import lightning_gan.training  # noqa: F401
from lightning_gan import __version__
from lightning_gan.callbacks import GANCheckpoint, GeneratorEMA, SampleGrid
from lightning_gan.commands import add_sample_arguments, sample
from lightning_gan.gans import AdversarialModule
from lightning_gan.training import resolve_checkpoint, verify_checkpoint
from lightning_gan.training.runtime import silence_jsonargparse

# For each command beside the Trainer's: what declares its arguments, and what runs with them.
COMMANDS: dict[str, tuple[Callable[[ArgumentParser], None], Callable[..., None]]] = {
    "sample": (add_sample_arguments, sample),
}


class GANCommandLine(LightningCLI):
    """LightningCLI with the callbacks that every training of a GAN wants."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the standard callbacks, each configurable under a name of its own."""
        parser.add_lightning_class_args(GeneratorEMA, "ema")
        parser.add_lightning_class_args(SampleGrid, "samples")
        parser.add_lightning_class_args(GANCheckpoint, "checkpoint")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, and check a checkpoint's file before Lightning reads its hyper-parameters."""
        super().parse_arguments(parser, args)
        subcommand = self.config.get("subcommand")
        ckpt_path = self.config[subcommand].get("ckpt_path") if subcommand else None
        if ckpt_path is None or not Path(ckpt_path).suffix or "://" in str(ckpt_path):
            return  # a keyword such as "last", or a file elsewhere
        if subcommand == "fit":
            self.config[subcommand].ckpt_path = str(resolve_checkpoint(Path(ckpt_path)))
        else:
            verify_checkpoint(Path(ckpt_path))

    def instantiate_classes(self) -> None:
        """Build all parts; what one of ours refuses is said in its own words alone."""
        try:
            super().instantiate_classes()
        except (TypeError, ValueError) as error:
            refusal = _refusal(error)
            if refusal is None:
                raise
            raise SystemExit(f"lightning-gan: error: {refusal}") from error


def _refusal(error: BaseException) -> BaseException | None:
    """Return what a chain of errors began with, if that was in our code."""
    while error.__cause__ is not None:
        error = error.__cause__
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    module = "" if place is None else str(place.tb_frame.f_globals.get("__name__"))
    return error if module.startswith("lightning_gan.") else None


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        args: Arguments without the program's name; None takes the process's own.
    """
    silence_jsonargparse()
    arguments = list(sys.argv[1:] if args is None else args)
    if arguments and arguments[0] in COMMANDS:
        name, *rest = arguments
        add_arguments, run = COMMANDS[name]
        parser = ArgumentParser(
            prog=f"lightning-gan {name}", description=(run.__doc__ or "").split("\n")[0]
        )
        add_arguments(parser)
        run(**parser.parse_args(rest).as_dict())
        return
    GANCommandLine(
        AdversarialModule,
        LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        auto_configure_optimizers=False,
        seed_everything_default=0,
        trainer_class=Trainer,
        trainer_defaults={
            "logger": {
                "class_path": "lightning.pytorch.loggers.CSVLogger",
                "init_args": {"save_dir": "runs", "name": None},
            }
        },
        parser_kwargs={
            "version": __version__,
            "description": "Train GANs. Beside the commands below: "
            + ", ".join(f"lightning-gan {name} --help" for name in COMMANDS),
        },
        args=None if args is None else arguments,
    )
