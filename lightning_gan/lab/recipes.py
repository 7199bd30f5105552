"""How trained methods are described in YAML, told from each other, and built."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from jsonargparse import ArgumentError, ArgumentParser
from lightning import Callback

# Imported so that their classes can be named shortly, as on the command line.
import lightning_gan.callbacks
import lightning_gan.layers
import lightning_gan.networks
import lightning_gan.training  # noqa: F401
from lightning_gan.data import GANDataModule
from lightning_gan.gans import AdversarialModule
from lightning_gan.lab.experiment import Row
from lightning_gan.training.runtime import silence_jsonargparse

_OWN = ("class_path", "init_args", "run")  # what the description of a method may hold
_RUN = ("data", "callbacks", "steps", "ema_decay")  # what `run` in it may
_SHARE = re.compile(r"\d+(\.\d+)?%")

Built = TypeVar("Built")


class Recipe(NamedTuple):
    """All that decides a training but its seed.

    Attributes:
        model: ``class_path`` and ``init_args`` of the model.
        data: Of the data.
        callbacks: Of each callback beside the average of the generator.
        steps: Iterations of the generator.
        ema_decay: Of that average.
    """

    model: Row
    data: Row
    callbacks: Sequence[Row]
    steps: int
    ema_decay: float

    def digest(self) -> str:
        """Return eight digits that change with whatever does but the number of steps."""
        said = self._replace(steps=0)._asdict()
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:8]

    def build_data(self, root: str | None = None) -> GANDataModule:
        """Build the data module.

        Args:
            root: Folder of its files, in place of its own.

        Raises:
            ValueError: If the description is none of one.
        """
        folder = {} if root is None else {"init_args": {"root": root}}
        return build(GANDataModule, merged(self.data, folder))  # type: ignore[type-abstract]

    def build_model(self, batch_size: int) -> AdversarialModule:
        """Build the model, with new networks and penalties.

        Args:
            batch_size: Of the data, for schedules over a share of the run.

        Raises:
            ValueError: If the description is none of one.
        """
        config = resolved(self.model, self.steps * batch_size)
        return build(AdversarialModule, config)  # type: ignore[type-abstract]

    def build_callbacks(self) -> list[Callback]:
        """Build the callbacks.

        Raises:
            ValueError: If a description is none of one.
        """
        return [build(Callback, config) for config in self.callbacks]


def recipe(shared: Recipe, method: Mapping[str, Any]) -> Recipe:
    """Describe a method by what differs from what is shared.

    Args:
        shared: What holds where the method says nothing.
        method: ``class_path`` and ``init_args`` are merged into the model's, ``data`` within
            ``run`` into the data's; ``callbacks``, ``steps`` and ``ema_decay`` within ``run`` take
            the place of the shared ones.

    Raises:
        ValueError: If it says anything else.
    """
    own = dict(method.get("run") or {})
    for place, names in ((method, _OWN), (own, _RUN)):
        if unknown := [name for name in place if name not in names]:
            raise ValueError(f"Expected only {list(names)}, got {unknown[0]!r}.")
    model = {name: method[name] for name in ("class_path", "init_args") if name in method}
    data = merged(shared.data, own.pop("data", {}))
    return shared._replace(**{**own, "model": merged(shared.model, model), "data": data})


def merged(base: Any, change: Any) -> Any:
    """Put a change into nested dictionaries; None takes away, what is no dictionary replaces.

    Example:
        >>> merged({"a": {"b": 1, "c": [2], "d": 3}}, {"a": {"c": [4], "d": None, "e": 5}})
        {'a': {'b': 1, 'c': [4], 'e': 5}}

    Reference:
        "JSON Merge Patch", RFC 7396, https://www.rfc-editor.org/rfc/rfc7396, section 2.
    """
    if not isinstance(change, Mapping):
        return change
    result = dict(base) if isinstance(base, Mapping) else {}
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def resolved(config: Any, images: int) -> Any:
    """Turn each ``images`` that is a percentage into that share of a number of images.

    Example:
        >>> resolved({"lr": {"start": 1.0, "end": 0.0, "images": "50%"}}, images=300)
        {'lr': {'start': 1.0, 'end': 0.0, 'images': 150.0}}
    """
    if isinstance(config, Mapping):
        return {
            key: float(value.removesuffix("%")) / 100 * images
            if key == "images" and isinstance(value, str) and _SHARE.fullmatch(value)
            else resolved(value, images)
            for key, value in config.items()
        }
    return [resolved(part, images) for part in config] if isinstance(config, list) else config


def build(kind: type[Built], config: Any) -> Built:
    """Build an object from ``class_path`` and ``init_args``, as the command line does.

    Raises:
        ValueError: If the configuration has a mistake, or the class refuses it.
    """
    parser = _parser(kind)  # type: ignore[arg-type]
    try:
        built: Built = parser.instantiate_classes(parser.parse_object({"built": config})).built
    except (ArgumentError, TypeError, ValueError) as error:
        raise ValueError(_reason(error)) from error
    return built


@lru_cache
def _parser(kind: type[Any]) -> ArgumentParser:
    silence_jsonargparse()
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(kind, "built", required=True)
    return parser


def _reason(error: Exception) -> str:
    """Return what jsonargparse or a constructor says, without all that it was given."""
    text = " ".join(str(error).split("Given value type:")[0].split())
    noise = (
        r'Parser key "[^"]*": |(- )?Does not validate .*?Errors: - |- Expected a (path|<).*?(- |$)'
    )
    return re.sub(noise, "", text).strip()
