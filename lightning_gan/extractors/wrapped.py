"""Networks of the user's own as extractors: modules, and files that hold a whole program."""

import hashlib
import inspect
import re
import warnings
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass

from lightning_gan.extractors.base import Description, Extractor
from lightning_gan.extractors.files import existing, file_digest, file_kind

_TOLERANCE = 0.01  # far above what rounding does, far below what dropout does


class _Foreign(Extractor):
    """An extractor that asks a network it knows nothing about.

    Args:
        network: Takes images as they are.
        origin: What it is called in messages.
        name: Under which figures are reported: ``fd/<name>``.
        num_classes: Number of the data's classes that the network's logits tell apart, if they do.
    """

    def __init__(self, network: nn.Module, origin: str, name: str, num_classes: int | None) -> None:
        super().__init__(name)
        self.network = network
        self.origin = origin
        self.num_classes = num_classes
        self._proven = False
        self.requires_grad_(False)

    def describe(self, images: Tensor) -> Description:
        """Describe images.

        Args:
            images: (N, C, H, W) uint8, of the channels and size that the network takes.

        Raises:
            TypeError: If the network returns no tensors.
            ValueError: If it fails with such images, if an image's features depend on chance or on
                the other images, or if there is another number of logits than of classes.
        """
        description = self._description(self._answer(images))
        if not self._proven and len(images) > 1:
            self._prove(images, description.features)
        return description

    def _answer(self, images: Tensor) -> Any:
        try:
            return self.network(images)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever a network raises
            raise ValueError(
                f"Expected {self.origin} to take images of shape {tuple(images.shape)} and "
                f"{images.dtype} on {images.device}, got {type(error).__name__}: "
                f"{_last_line(error)}"
            ) from error

    def _description(self, answer: Any) -> Description:
        parts = (answer,) if isinstance(answer, Tensor) else answer
        if not isinstance(parts, tuple | list) or not 1 <= len(parts) <= 2:
            raise TypeError(
                f"Expected the extractor '{self.name}' to return features (N, d) or a pair of "
                f"features and logits, got {type(answer).__name__}."
            )
        description = Description(*parts)
        logits = description.logits
        if not isinstance(description.features, Tensor) or not isinstance(logits, Tensor | None):
            kinds = [type(part).__name__ for part in parts]
            raise TypeError(f"Expected the extractor '{self.name}' to return tensors, got {kinds}.")
        if self.num_classes is not None and (
            logits is None or logits.shape[1:] != (self.num_classes,)
        ):
            found = "none" if logits is None else f"shape {tuple(logits.shape)}"
            raise ValueError(
                f"Expected the extractor '{self.name}' to return logits (N, {self.num_classes}), "
                f"got {found}."
            )
        return description

    def _prove(self, images: Tensor, features: Tensor) -> None:
        """Refuse a network that still trains: its dropout or batch statistics are in use."""
        half = images[: (len(images) + 1) // 2]
        again = self._description(self._answer(half)).features
        expected = features[: len(half)]
        if again.shape == expected.shape:
            change = float(torch.linalg.vector_norm(again.float() - expected.float()))
            if change > _TOLERANCE * float(torch.linalg.vector_norm(expected.float())):
                raise ValueError(
                    f"Expected the features of the extractor '{self.name}' to depend on the image "
                    "alone, got others for the same images in a smaller batch. Dropout or batch "
                    "normalisation may still be training: call .eval() before exporting."
                )
        self._proven = True


class ModuleExtractor(_Foreign):
    """Describe images by a module of the user's own.

    The module is copied; the original stays as it is, and may go on training.

    Args:
        module: Takes images (N, C, H, W) uint8 in [0, 255], scales and resizes them itself, and
            returns features (N, d) or a pair of features and logits (N, K).
        name: Under which figures are reported: ``fd/<name>``.
        num_classes: Number of the data's classes that the logits tell apart, if they do.

    Example:
        >>> import torch
        >>> extractor = ModuleExtractor(nn.Flatten(), name="pixels")
        >>> extractor(torch.zeros(4, 1, 2, 2, dtype=torch.uint8)).features.shape
        torch.Size([4, 4])

    Note:
        The digest covers the name, weights, the modules' settings in plain numbers and words and as
        they are printed, and the source of their classes, but no functions that these call: give
        another name after changing one.
    """

    def __init__(self, module: nn.Module, name: str, num_classes: int | None = None) -> None:
        origin = f"the module of the extractor '{name}'"
        super().__init__(deepcopy(module), origin, name, num_classes)

    def digest(self) -> str:
        """Return the SHA-256 of what decides its answers: layers, their code, and weights."""
        digest = hashlib.sha256(f"{super().digest()} {self.name}".encode())
        for module in self.network.modules():
            digest.update(repr(_settings(module)).encode())
        # Without addresses in memory, which say nothing and change from run to run.
        digest.update(re.sub(r" at 0x[0-9a-f]+", "", repr(self.network)).encode())
        for source in _sources(self.network):
            digest.update(source.encode())
        return digest.hexdigest()


def _settings(module: nn.Module) -> list[tuple[str, Any]]:
    """Return what a module holds in plain numbers and words."""
    plain = {name: value for name, value in vars(module).items() if name != "training"}
    return sorted((k, v) for k, v in plain.items() if isinstance(v, bool | int | float | str))


class FileExtractor(_Foreign):
    """Describe images by a program in a file.

    Args:
        path: Written by ``torch.export.save``, with a dynamic batch size (preferred), or by
            ``torch.jit.save``. The program takes images (N, C, H, W) uint8 in [0, 255], scales and
            resizes them itself, and returns features (N, d) or a pair of features and logits
            (N, K).
        name: Under which figures are reported: ``fd/<name>``; the file's name by default.
        num_classes: Number of the data's classes that the logits tell apart, if they do.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no program, or one that takes something else.

    Warning:
        Both kinds of file can run any code when they are loaded. Use only files that you trust.
    """

    def __init__(
        self, path: Path | str, name: str | None = None, num_classes: int | None = None
    ) -> None:
        path = existing(path, "path")
        name = path.stem if name is None else name
        super().__init__(_loaded(path), f"the program in {path}", name, num_classes)
        self._digest = file_digest(path)

    def digest(self) -> str:
        """Return the SHA-256 of the file."""
        return self._digest


class _Program(nn.Module):
    """An exported program: it has no modes, and its device is written all over it."""

    def __init__(self, program: ExportedProgram) -> None:
        super().__init__()
        self.program = program
        self.device: torch.device | None = None
        self.module: list[nn.Module] = []  # hidden from the modules that change mode or type

    def forward(self, images: Tensor) -> Any:
        """Run it where the images are."""
        if images.device != self.device:
            self.program = move_to_device_pass(self.program, images.device)
            self.module, self.device = [self.program.module()], images.device
        return self.module[0](images)


def _loaded(path: Path) -> nn.Module:
    kind = file_kind(path)
    expected = "Expected 'path' to be a program written by torch.export.save or torch.jit.save"
    if kind not in ("exported", "torchscript"):
        hint = ", which holds weights without their network" if kind == "saved" else ""
        raise ValueError(f"{expected}, got {path}{hint}.")
    try:
        if kind == "exported":
            with path.open("rb") as file:  # torch insists on the ending .pt2 of a path
                program = torch.export.load(file)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                return torch.jit.load(path, map_location="cpu")  # type: ignore[no-any-return]
    except Exception as error:  # whatever a damaged file leads to
        raise ValueError(
            f"{expected}, got {path}: {type(error).__name__}: {_last_line(error)}"
        ) from error
    _check_inputs(program, path)
    return _Program(program)


def _check_inputs(program: ExportedProgram, path: Path) -> None:
    """Refuse a program that does not take batches of any size, of images as bytes."""
    names = program.graph_signature.user_inputs
    inputs = [node.meta.get("val") for node in program.graph.nodes if node.name in names]
    if len(inputs) != 1 or not isinstance(inputs[0], Tensor) or inputs[0].dim() != 4:
        raise ValueError(
            f"Expected the program in {path} to take images (N, C, H, W), got {list(names)}."
        )
    (images,) = inputs
    if images.dtype != torch.uint8:
        raise ValueError(
            f"Expected the program in {path} to take images of torch.uint8, got {images.dtype}."
        )
    if isinstance(images.shape[0], int):
        raise ValueError(
            f"Expected the program in {path} to take batches of any size, got one for "
            f"{images.shape[0]} images. Export it with a dynamic one: "
            'dynamic_shapes=({0: torch.export.Dim("batch")},).'
        )


def _last_line(error: Exception) -> str:
    """Return the line in which TorchScript, after its trace, names the reason."""
    return str(error).strip().rpartition("\n")[2]


def _sources(module: nn.Module) -> Iterator[str]:
    """Yield the code of a module's classes, as far as it can be read; torch's own has a version."""
    kinds = {type(part) for part in module.modules()}
    for kind in sorted(kinds, key=lambda kind: (kind.__module__, kind.__qualname__)):
        if not kind.__module__.startswith("torch."):
            with suppress(OSError, TypeError):
                yield inspect.getsource(kind)
