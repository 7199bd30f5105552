"""``lightning-gan lab``: the experiments, listed, run and drawn."""

import argparse
import json
import shlex
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jsonargparse import ArgumentParser
from jsonargparse.typing import PositiveInt

from lightning_gan.lab.catalog import Specification, configured, entries, packaged
from lightning_gan.lab.experiment import Experiment, Finding
from lightning_gan.lab.figures import save_figure
from lightning_gan.lab.leaderboard import leaderboard
from lightning_gan.lab.results import Results, plain, read_results
from lightning_gan.lab.runner import name_of, run_missing
from lightning_gan.training.runtime import silence_jsonargparse

OUTPUT_DIR = Path("runs/lab")
_VERDICTS = {True: "holds", False: "DOES NOT HOLD", None: "cannot tell"}
_OWN = ("config", "output_dir", "workers", "plot")  # arguments that are no experiment's


class Order(NamedTuple):
    """What was asked for.

    Attributes:
        experiment: Built from its file and the command line.
        results: Where its rows are kept; not read yet.
        workers: Processes that share the trials.
        plot: Whether only to draw what is there.
    """

    experiment: Experiment
    results: Results
    workers: int
    plot: bool


def add_lab_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments; those of an experiment are declared once it is known."""
    names = ", ".join(entry.name for entry in entries())
    parser.add_argument(
        "name",
        nargs="?",
        default="list",
        help=f"What to run: {names}; 'list' says more of them, and 'leaderboard' sets the results "
        "of --output_dir beside published ones.",
    )
    parser.add_argument(
        "arguments", nargs=argparse.REMAINDER, help="See lightning-gan lab NAME --help."
    )


def lab(name: str = "list", arguments: Sequence[str] = ()) -> None:
    """Run an experiment's missing trials, say what they show and draw them; or list all.

    Args:
        name: Of the experiment, ``list`` or ``leaderboard``.
        arguments: Further words of the command line; ``--help`` tells which.

    Raises:
        ValueError: If there is no such experiment, or its results were made with other settings.
        SystemExit: If a trial failed, or the command line is wrong.
    """
    if name == "list":
        print(listing(shutil.get_terminal_size().columns))
        return
    if name == "leaderboard":
        print(leaderboard(_files_of_results(arguments)))
        return
    order = parse(name, arguments)
    results = order.results
    results.read()
    failures = []
    if not order.plot:
        try:
            failures = run_missing(order.experiment, results, order.workers)
        except KeyboardInterrupt:
            print(f"\nInterrupted; the same command goes on from {results.path}.")
            raise SystemExit(130) from None
    if results.rows:
        _conclude(order)
    elif not failures:
        raise ValueError(f"Expected '{results.path}' to hold trials, got none.")
    if failures:
        named = "\n  ".join(name_of(failure.trial) for failure in failures)
        raise SystemExit(f"lightning-gan: error: {len(failures)} trials failed:\n  {named}")


def listing(width: int) -> str:
    """Return a table of all experiments, as wide as given."""
    listed = entries()
    first = max(len(entry.name) for entry in listed) + 2
    second = max(len(entry.cost) for entry in listed) + 2
    lines = [f"{'name':{first}}{'cost':{second}}claim"]
    for name, claim, cost in listed:
        head, *rest = textwrap.wrap(claim, max(width - first - second, 30)) or [""]
        lines.append(f"{name:{first}}{cost:{second}}{head}")
        lines += [" " * (first + second) + line for line in rest]
    return "\n".join([*lines, "", "Run one with lightning-gan lab NAME; see also --help there."])


def _files_of_results(arguments: Sequence[str]) -> list[Path]:
    """Return the files of results in the folder that a command line names."""
    parser = argparse.ArgumentParser("lightning-gan lab leaderboard", allow_abbrev=False)
    help_text = "Folder of all experiments' results."
    parser.add_argument("--output_dir", type=Path, default=OUTPUT_DIR, help=help_text)
    folder = parser.parse_args(arguments).output_dir
    return sorted(folder.glob("*/results.json"))


def parse(name: str, arguments: Sequence[str]) -> Order:
    """Build the experiment that a command line asks for.

    Args:
        name: Of the experiment.
        arguments: Words after the name.

    Raises:
        ValueError: If there is no such experiment, or it refuses its arguments.
        SystemExit: If an argument is unknown or of a wrong type.
    """
    silence_jsonargparse()
    early = argparse.ArgumentParser(f"lightning-gan lab {name}", add_help=False, allow_abbrev=False)
    early.add_argument("--config", type=Path)
    early.add_argument("--output_dir", type=Path, default=OUTPUT_DIR)
    early.add_argument("--plot", nargs="?", const="true", default="false")
    known, _ = early.parse_known_args(arguments)
    path = known.output_dir / name / "results.json"
    given = packaged(name) if known.config is None else configured(name, known.config)
    called = ""
    if known.plot.lower() == "true":
        content = read_results(path)
        called = content.get("called", "")
        ours = given.init_args if given.class_path == content["class_path"] else {}
        shown = {k: v for k, v in ours.items() if k in given.experiment_class().shown}
        given = Specification(content["class_path"], ours | content["settings"] | shown)
    kind = given.experiment_class()
    parser = _parser(name, kind, given)
    options = parser.parse_args(list(arguments))
    parsed = {key: value for key, value in options.as_dict().items() if key not in _OWN}
    experiment = kind(**parsed)
    written = json.loads(parser.dump(options, format="json"))
    values = {key: written.get(key) for key in parsed}
    defaults = parser.get_defaults().as_dict()
    changed = {k: v for k, v in values.items() if v != plain(defaults[k])}
    settled = {k: v for k, v in changed.items() if k not in experiment.choices}
    experiment.called = called or _command(name, known.config, settled)
    results = Results(
        path=path,
        experiment=name,
        class_path=given.class_path,
        title=experiment.title,
        settings={k: v for k, v in values.items() if k not in experiment.choices},
        command=_command(name, known.config, changed),
        called=experiment.called,
        shown=experiment.shown,
    )
    return Order(experiment, results, options.workers, options.plot)


def _parser(name: str, kind: type[Experiment], given: Specification) -> ArgumentParser:
    """Return a parser of an experiment's arguments, with those of its file as defaults."""
    parser = ArgumentParser(
        prog=f"lightning-gan lab {name}", description=(kind.__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--config", type=Path | None, help="YAML file in place of the packaged one."
    )
    parser.add_argument(
        "--output_dir", type=Path, default=OUTPUT_DIR, help="Folder of all experiments' results."
    )
    parser.add_argument("--workers", type=PositiveInt, default=1, help="Processes at work.")
    parser.add_argument(
        "--plot",
        type=bool,
        nargs="?",
        const=True,
        default=False,
        help="Draw what the results hold, with their own settings, and run nothing.",
    )
    declared = parser.add_class_arguments(kind)
    for argument in given.init_args:
        if argument not in declared:
            raise ValueError(
                f"Expected 'init_args' to be among {list(declared)} for {kind.__name__}, got "
                f"{argument!r}."
            )
    checked = parser.parse_args(_words(given.init_args)).as_dict()  # defaults are not
    parser.set_defaults({argument: checked[argument] for argument in given.init_args})
    return parser


def _words(values: Mapping[str, Any]) -> list[str]:
    """Return arguments as words of a command line."""
    words = []
    for argument, value in values.items():
        text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
        words += [f"--{argument}", text]
    return words


def _command(name: str, config: Path | None, changed: Mapping[str, Any]) -> str:
    """Return the command line that gives the same trials."""
    words = ["lightning-gan", "lab", name]
    if config is not None:
        words += ["--config", str(config)]
    return shlex.join([*words, *_words(changed)])


def _conclude(order: Order) -> None:
    """Say what the trials show, and draw them."""
    experiment, results = order.experiment, order.results
    if not order.plot:
        results.take_up()
    results.findings = experiment.findings(results.rows)
    if not order.plot:
        results.write()
    picture = results.path.parent / f"{results.experiment}.png"
    save_figure(experiment.draw(results.rows), picture)
    told = [
        experiment.title,
        "\n".join(map(_told, results.findings)),
        experiment.table(results.rows),
    ]
    print("\n\n".join(["", *filter(None, told)]).strip("\n"))
    print(f"\nRows in {results.path}\nFigure in {picture}")


def _told(finding: Finding) -> str:
    return f"{_VERDICTS[finding.holds]:14}{finding.claim}\n{'':14}{finding.evidence}"
