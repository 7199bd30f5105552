"""Imports between sub-packages go in one direction."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import lightning_gan

PACKAGE = Path(lightning_gan.__file__).parent

# What the parts of each floor may import, beside themselves.
ALLOWED: dict[str, set[str]] = {
    "functional": set(),
    "data": set(),
    "layers": {"functional"},
    "networks": {"functional", "layers"},
    "training": {"functional", "layers"},
    "gans": {"functional", "layers", "networks", "training"},
    "extractors": {"functional", "data", "training"},
    "metrics": {"functional", "training", "extractors"},
    "diagnostics": {"functional", "layers", "networks", "training", "gans"},
    "callbacks": {
        *("functional", "networks", "training", "gans", "extractors", "metrics", "diagnostics"),
    },
    "lab": {
        *("functional", "data", "layers", "networks", "training", "gans", "extractors", "metrics"),
        *("diagnostics", "callbacks"),
    },
    "commands": {
        *("functional", "training", "gans", "callbacks", "data", "extractors", "metrics", "lab"),
    },
    "cli": {"", "networks", "training", "gans", "callbacks", "commands", "data", "extractors"},
    "__init__": {"gans"},
    "__main__": {"cli"},
}


def offences(root: Path) -> list[str]:
    """Return each import of a package that its floor forbids, as ``file:line: what``."""
    found = []
    for file in sorted(root.rglob("*.py")):
        part = file.relative_to(root).parts[0].removesuffix(".py")
        for line, target in _imports(file, root):
            if target != part and target not in ALLOWED[part]:
                found.append(f"{file}:{line}: {part} imports {target or root.name}")
    return found


def _imports(file: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Yield the line of each import from the package, nested ones too, and the part it names."""
    parts = {path.stem for path in root.iterdir()}
    for node in ast.walk(ast.parse(file.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:  # relative to the folder of the file, or to one above it
                above = file.relative_to(root.parent).parts[: -node.level]
                module = ".".join([*above, *filter(None, [module])])
            names = [f"{module}.{alias.name}" for alias in node.names]
        for name in names:
            package, *below = name.split(".")
            if package == root.name:
                target = below[0] if below and below[0] in parts else ""
                yield getattr(node, "lineno", 0), target


def test_every_part_has_a_floor() -> None:
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert parts - {"__pycache__"} == ALLOWED.keys()


def test_imports_go_down() -> None:
    assert not (wrong := offences(PACKAGE)), "\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    ("file", "source", "target"),
    [
        ("functional/losses.py", "from lightning_gan.layers import X", "layers"),
        ("layers/norm.py", "from lightning_gan import networks", "networks"),
        ("networks/mlp.py", "import lightning_gan.training as t", "training"),
        ("training/a.py", "from ..gans.base import X", "gans"),
        ("gans/a.py", "def f():\n    from lightning_gan.callbacks.ema import X", "callbacks"),
        ("callbacks/a.py", "from .. import commands", "commands"),
        ("data/a.py", "from lightning_gan.functional import to_uint8", "functional"),
        ("data/a.py", "from lightning_gan import __version__", "lightning_gan"),
        ("__init__.py", "from .data import Digits", "data"),
    ],
)
def test_upward_imports_are_found(file: str, source: str, target: str, tmp_path: Path) -> None:
    root = tmp_path / "lightning_gan"
    for name in ALLOWED:
        (root / name).mkdir(parents=True)
    path = root / file
    path.write_text(f"import torch\nfrom torch import nn\n{source}\n")
    part = path.relative_to(root).parts[0].removesuffix(".py")
    line = 2 + len(source.splitlines())
    assert offences(root) == [f"{path}:{line}: {part} imports {target}"]


def test_imports_of_the_own_part_are_fine(tmp_path: Path) -> None:
    root = tmp_path / "lightning_gan"
    (root / "gans").mkdir(parents=True)
    (root / "training").mkdir()
    source = "from .base import X\nfrom lightning_gan.gans import base\nimport torch\n"
    (root / "gans" / "a.py").write_text(source + "from ..training import record\n")
    assert offences(root) == []
