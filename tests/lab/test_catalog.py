"""The catalogue of experiments: every YAML file of the package, and the user's own."""

import inspect
from pathlib import Path

import pytest

from lightning_gan.commands.lab import parse
from lightning_gan.lab import Experiment, catalog
from lightning_gan.lab.catalog import configured, entries, packaged
from lightning_gan.lab.results import plain
from tests.lab.test_runner import Powers

NAMES = [entry.name for entry in entries()]


def test_every_class_has_a_file() -> None:
    folder = Path(catalog.__file__).parent
    files = {path.stem for path in folder.glob("*.yaml")}
    assert files == set(NAMES)
    assert {"saturation", "divergences", "covering"} <= files
    assert sorted(NAMES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_experiments_are_built_as_described(name: str) -> None:
    [entry] = [entry for entry in entries() if entry.name == name]
    assert entry.claim.endswith(".")
    assert any(unit in entry.cost for unit in ("second", "minute", "hour"))
    given = packaged(name)
    kind = given.experiment_class()
    assert given.class_path.startswith("lightning_gan.lab.")
    experiment = parse(name, []).experiment
    arguments = inspect.signature(kind).parameters
    assert set(experiment.choices) <= set(arguments)
    for argument in arguments:
        assert hasattr(experiment, argument)
    for argument, value in given.init_args.items():
        assert plain(getattr(experiment, argument)) == plain(value)
    assert experiment.title


def test_unknown_names_list_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"'name' to be one of \[.*'saturation'.*\], got 'x'"):
        packaged("x")


def test_users_file_replaces_or_completes_ours(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("class_path: tests.lab.test_runner.Powers\ninit_args: {base: 3.0}")
    given = configured("mine", config)
    assert given.experiment_class() is Powers
    assert given.init_args == {"base": 3.0}
    config.write_text("init_args: {seeds: [7]}")
    ours = packaged("saturation")
    assert configured("saturation", config).init_args == ours.init_args | {"seeds": [7]}
    assert configured("saturation", config).class_path == ours.class_path


def test_a_file_takes_what_it_leaves_out_from_its_base(tmp_path: Path) -> None:
    ring, grid = packaged("ring"), packaged("grid")
    assert grid.class_path == ring.class_path
    assert grid.init_args["methods"] == ring.init_args["methods"]
    assert grid.init_args["name"] == "grid"
    config = tmp_path / "mine.yaml"
    config.write_text("base: grid\ninit_args: {steps: 7}")
    assert configured("mine", config).init_args == grid.init_args | {"steps": 7}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "'config' to be a YAML file that can be read, got"),
        ("a: [", "'config' to be a YAML file that can be read, got"),
        ("- 1", "'config' to hold 'class_path' and 'init_args' alone, got"),
        ("class_path: 3", "'config' to hold 'class_path' and 'init_args' alone, got"),
        ("class_path: a.B\nseeds: [1]", "'config' to hold 'class_path' and 'init_args' alone, got"),
        ("class_path: nowhere.Thing", "can be imported, got 'nowhere.Thing': No module"),
        ("class_path: Thing", "can be imported, got 'Thing': "),
        ("class_path: pathlib.Path", "'class_path' to name an Experiment, got 'pathlib.Path'"),
        ("init_args: {seeds: [7]}", "'name' to be one of"),
        ("base: nothing", "'name' to be one of"),
        ("base: 3", "'config' to hold 'class_path' and 'init_args' alone, got"),
        ("base: ring\nclass_path: a.B\nsteps: 1", "'config' to hold"),
    ],
)
def test_refusals(content: str | None, message: str, tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    if content is not None:
        config.write_text(content)
    with pytest.raises(ValueError, match=message):
        configured("mine", config).experiment_class()


def test_an_abstract_experiment_is_one() -> None:
    given = catalog.Specification("lightning_gan.lab.experiment.Experiment", {})
    assert given.experiment_class() is Experiment
