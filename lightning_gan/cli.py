"""The command line: Lightning's own commands for a model and its data, and a few beside them."""

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser
from lightning import Callback, LightningDataModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

# Imported so that their classes can be named shortly, as in `--model WGANGP --data Digits`.
import lightning_gan.data
import lightning_gan.networks
import lightning_gan.training  # noqa: F401
from lightning_gan import __version__
from lightning_gan.callbacks import (
    BestCheckpoint,
    CollapseGuard,
    Diagnostics,
    Evaluation,
    GANCheckpoint,
    GeneratorEMA,
    SampleGrid,
)
from lightning_gan.commands import (
    add_lab_arguments,
    add_sample_arguments,
    evaluate,
    fit_extractor,
    lab,
    sample,
)
from lightning_gan.gans import AdversarialModule
from lightning_gan.training import resolve_checkpoint, verify_checkpoint
from lightning_gan.training.runtime import silence_jsonargparse

# What runs beside the Trainer's commands, and what declares arguments that their signatures do not.
COMMANDS: dict[str, Callable[..., None]] = {
    "sample": sample,
    "evaluate": evaluate,
    "fit-extractor": fit_extractor,
    "lab": lab,
}
DECLARATIONS: dict[str, Callable[[ArgumentParser], None]] = {
    "sample": add_sample_arguments,
    "lab": add_lab_arguments,
}


class GANCommandLine(LightningCLI):
    """LightningCLI with the callbacks that every training of a GAN wants."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the standard callbacks, each configurable under a name of its own."""
        parser.add_lightning_class_args(GeneratorEMA, "ema")
        parser.add_lightning_class_args(SampleGrid, "samples")
        parser.add_lightning_class_args(GANCheckpoint, "checkpoint")
        parser.add_lightning_class_args(Evaluation, "evaluation")
        parser.add_lightning_class_args(Diagnostics, "diagnostics")
        parser.add_lightning_class_args(CollapseGuard, "guard")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, and check a checkpoint's file before Lightning reads its hyper-parameters."""
        with warnings.catch_warnings():  # of what differs from sys.argv, which is what is meant
            warnings.filterwarnings("ignore", "LightningCLI's args parameter")
            super().parse_arguments(parser, args)
        subcommand = self.config.get("subcommand")
        ckpt_path = self.config[subcommand].get("ckpt_path") if subcommand else None
        if ckpt_path is None or not Path(ckpt_path).suffix or "://" in str(ckpt_path):
            return  # a keyword such as "last", or a file elsewhere
        if subcommand == "fit":
            self.config[subcommand].ckpt_path = str(resolve_checkpoint(Path(ckpt_path)))
        else:
            verify_checkpoint(Path(ckpt_path))

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Keep the best checkpoint, too, where the training is evaluated."""
        trainer = super().instantiate_trainer(**kwargs)
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        evaluation = next(part for part in callbacks if isinstance(part, Evaluation))
        place = next(i for i, part in enumerate(callbacks) if isinstance(part, GANCheckpoint))
        if self.subcommand == "fit" and evaluation.active:
            callbacks.insert(place, BestCheckpoint(getattr(callbacks[place], "dirpath", None)))
        return trainer

    def instantiate_classes(self) -> None:
        """Build all parts; what one of ours refuses is said in its own words alone."""
        with _refusals():
            super().instantiate_classes()


@contextmanager
def _refusals() -> Iterator[None]:
    """End the program with one message where our code refuses something."""
    try:
        yield
    except (OSError, TypeError, ValueError) as error:
        refusal = _refusal(error)
        if refusal is None:
            raise
        raise SystemExit(f"lightning-gan: error: {refusal}") from error


def _command_line(command: str | None) -> type[GANCommandLine]:
    """Return one that knows a single command, as declaring the others takes longer than parsing."""
    commands = GANCommandLine.subcommands()
    if command not in commands:  # such as a request for help
        return GANCommandLine
    only = {command: commands[command]}
    return type("OneCommand", (GANCommandLine,), {"subcommands": staticmethod(lambda: only)})


def _refusal(error: BaseException) -> BaseException | None:
    """Return, of a chain of errors, the first that our code raised."""
    refusal: BaseException | None = None
    cause: BaseException | None = error
    while cause is not None:
        place = cause.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        module = "" if place is None else str(place.tb_frame.f_globals.get("__name__"))
        if module.startswith("lightning_gan."):
            refusal = cause
        cause = cause.__cause__
    return refusal


def _run(name: str, *arguments: str) -> None:
    """Run a command that is not a Trainer's."""
    command = COMMANDS[name]
    parser = ArgumentParser(
        prog=f"lightning-gan {name}", description=(command.__doc__ or "").split("\n")[0]
    )
    DECLARATIONS.get(name, lambda parser: parser.add_function_arguments(command))(parser)
    options = parser.parse_args(arguments)
    with _refusals():
        command(**parser.instantiate_classes(options).as_dict())


def _with_config_of_run(arguments: list[str]) -> list[str]:
    """Let a checkpoint of a run do without the run's configuration, which lies beside it."""
    names = {argument.split("=")[0] for argument in arguments}
    if names & {"--config", "-c", "--model", "--data"} or "--ckpt_path" not in names:
        return arguments
    place = next(i for i, argument in enumerate(arguments) if argument.startswith("--ckpt_path"))
    _, _, path = arguments[place].partition("=")
    path = path or "".join(arguments[place + 1 : place + 2])
    config = Path(path).parent.parent / "config.yaml"
    return [arguments[0], "--config", str(config), *arguments[1:]] if config.exists() else arguments


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        args: Arguments without the program's name; None takes the process's own.
    """
    silence_jsonargparse()
    arguments = list(sys.argv[1:] if args is None else args)
    if arguments and arguments[0] in COMMANDS:
        _run(*arguments)
        return
    _command_line(arguments[0] if arguments else None)(
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
        args=_with_config_of_run(arguments),
    )
