"""Which experiments there are: each a YAML file in this folder, which names its class.

Nothing is imported before it is asked for, so that listing them is quick. An experiment is added by
a class and a file, no list of them is kept.
"""

from collections.abc import Mapping
from importlib import import_module, resources
from pathlib import Path
from typing import Any, NamedTuple

from jsonargparse import get_loader
from yaml import YAMLError

from lightning_gan.lab.experiment import Experiment
from lightning_gan.training.arguments import check_choice


class Entry(NamedTuple):
    """An experiment as it is listed.

    Attributes:
        name: Under which it is run.
        claim: What it tries, in a sentence.
        cost: How long it takes.
    """

    name: str
    claim: str
    cost: str


class Specification(NamedTuple):
    """How an experiment is built.

    Attributes:
        class_path: Where its class is imported from.
        init_args: Arguments of the constructor.
    """

    class_path: str
    init_args: dict[str, Any]

    def experiment_class(self) -> type[Experiment]:
        """Import the class.

        Raises:
            ValueError: If there is none of that name, or it is no experiment.
        """
        module, _, name = self.class_path.rpartition(".")
        try:
            found = getattr(import_module(module), name)
        except (AttributeError, ImportError, ValueError) as error:
            raise ValueError(
                f"Expected 'class_path' to be a class that can be imported, got "
                f"{self.class_path!r}: {error}."
            ) from error
        if not (isinstance(found, type) and issubclass(found, Experiment)):
            raise ValueError(
                f"Expected 'class_path' to name an Experiment, got {self.class_path!r}."
            )
        return found


def _texts() -> dict[str, str]:
    """Return the content of each experiment's file by its name, sorted."""
    files = resources.files("lightning_gan.lab").iterdir()
    texts = {
        file.name.removesuffix(".yaml"): file.read_text(encoding="utf-8")
        for file in files
        if file.name.endswith(".yaml")
    }
    return dict(sorted(texts.items()))


def _load(text: str) -> Any:
    """Read YAML as the other commands do, for which 1e-4 is a number."""
    return get_loader("yaml")(text)


def entries() -> list[Entry]:
    """List all experiments by their files' first line, whose last sentence is the cost."""
    listed = []
    for name, text in _texts().items():
        comment = text.partition("\n")[0].lstrip("# ")
        claim, dot, cost = comment.rstrip(" .").rpartition(". ")
        listed.append(Entry(name, f"{claim}." if dot else comment, cost if dot else ""))
    return listed


def packaged(name: str) -> Specification:
    """Read one of our experiments' file.

    Raises:
        ValueError: If there is no experiment of that name.
    """
    texts = _texts()
    check_choice("name", name, texts)
    return _completed(_load(texts[name]), name)


def configured(name: str, config: Path) -> Specification:
    """Read a user's file, of an experiment of their own or with other arguments of one of ours.

    Args:
        name: Experiment that the file is about where it has neither ``class_path`` nor ``base``.
        config: YAML file with ``init_args``, ``class_path`` or both. Under ``base`` it may name one
            of ours in place of a class, whose arguments it then takes where it leaves them out.

    Raises:
        ValueError: If the file cannot be read, or there is no experiment of that name to complete
            it.
    """
    try:
        content = _load(config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise ValueError(
            f"Expected 'config' to be a YAML file that can be read, got {config}: {error}"
        ) from error
    if isinstance(content, Mapping) and not content.keys() & {"class_path", "base"}:
        content = {**content, "base": name}
    return _completed(content, config)


def _completed(content: Any, source: object) -> Specification:
    """Check what a file says, and take from another of ours what it leaves to that."""
    if not isinstance(content, Mapping) or not isinstance(content.get("base"), str):
        return specification(content, source)
    class_path, init_args = packaged(content["base"])
    rest = {key: value for key, value in content.items() if key != "base"}
    given = specification({"class_path": class_path, **rest}, source)
    return given._replace(init_args=init_args | given.init_args)


def specification(content: Any, source: object) -> Specification:
    """Check what a file says.

    Args:
        content: What it holds.
        source: What to call it.

    Raises:
        ValueError: If it is not of the form ``class_path`` and ``init_args``.
    """
    if isinstance(content, Mapping) and content.keys() <= {"class_path", "init_args"}:
        class_path, init_args = content.get("class_path"), content.get("init_args") or {}
        if isinstance(class_path, str) and isinstance(init_args, Mapping):
            return Specification(class_path, dict(init_args))
    raise ValueError(
        f"Expected 'config' to hold 'class_path' and 'init_args' alone, got {content!r} in "
        f"{source}."
    )
