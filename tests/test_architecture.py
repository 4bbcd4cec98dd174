"""The layers of docs/architecture.md, and who may import what from outside."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
_PACKAGE = "tvm_shufflenet"
_MAPPED = ("schedules", "targets", "tuning_logs")  # folders imported as subpackages
_ROW = re.compile(r"^  (?P<names>[a-z_]+/?(?:, [a-z_]+/?)*) .*\s(?P<level>\d)$", re.MULTILINE)
_TEMPLATES = {"channels", "window", "references"}  # the parts of schedules that need no TVM


def _layers() -> dict[str, tuple[int, int]]:
    """Return level and row of each module or folder of the package."""
    text = (_ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    layers = {}
    for row, match in enumerate(_ROW.finditer(text)):
        for name in match["names"].split(", "):
            layers[name.rstrip("/")] = int(match["level"]), row
    return layers


@cache
def _sources() -> dict[str, Path]:
    """Return the file of every module."""
    found = {}
    for folder in (_PACKAGE, *_MAPPED):
        for path in sorted((_ROOT / folder).rglob("*.py")):
            parts = path.relative_to(_ROOT).with_suffix("").parts
            if folder != _PACKAGE:
                parts = (_PACKAGE, *parts)
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


def _imports(path: Path, top_level_only: bool = False) -> Iterator[str]:
    """Yield the full name of everything `path` imports, also inside of functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the layer"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _unit(module: str) -> str:
    """Return the part of the package that a module belongs to; "" for the package itself."""
    rest = module.split(".")[1:]
    return rest[0] if rest and (rest[0] in _layers()) else ""


def test_every_part_of_the_package_has_a_layer() -> None:
    parts = {name.split(".")[1] for name in _sources() if "." in name}
    assert parts - {"targets", "tuning_logs"} == set(_layers())


@pytest.mark.parametrize("module", sorted(_sources()))
def test_imports_go_downwards(module: str) -> None:
    layers, own = _layers(), _unit(module)
    for imported in _imports(_sources()[module]):
        other = _unit(imported) if imported.startswith(_PACKAGE + ".") else ""
        if not own or not other or other == own:
            continue
        (level, row), (level_below, row_below) = layers[own], layers[other]
        # Modules of one row are one thing in several files.
        assert row == row_below or level_below < level, f"{module} imports {imported}"


def _users_of(library: str) -> set[str]:
    return {
        _unit(module)
        for module, path in _sources().items()
        if any(name.split(".")[0] == library for name in _imports(path))
    }


def test_torch_is_known_to_models_and_frontend_and_to_what_is_compared_with_it() -> None:
    assert _users_of("torch") == {"models", "frontend", "benchmark"}


def test_the_runtime_needs_numpy_pillow_and_tvm_only() -> None:
    own = {"errors", "manifest", "runtime"}
    for module, path in _sources().items():
        if _unit(module) != "runtime":
            continue
        for name in _imports(path):
            library = name.split(".")[0]
            if library == _PACKAGE:
                assert _unit(name) in own, f"{module} imports {name}"
            else:
                # cryptography checks signatures, of signed packages only.
                allowed = {*sys.stdlib_module_names, "numpy", "PIL", "tvm", "cryptography"}
                assert library in allowed, f"{module} imports {name}"


def test_importing_the_command_line_imports_neither_tvm_nor_torch() -> None:
    heavy = {"tvm", "torch", "onnx", "matplotlib", "xgboost", "numpy"}
    for module, path in _sources().items():
        if _unit(module) == "cli":
            libraries = {name.split(".")[0] for name in _imports(path, top_level_only=True)}
            assert not libraries & heavy, module


def test_only_templates_import_tvm_at_once() -> None:
    """Everywhere else TVM is imported by functions, after `compiler.load_tvm` set it up."""
    for module, path in _sources().items():
        libraries = {name.split(".")[0] for name in _imports(path, top_level_only=True)}
        # What runs in the guest is a script for the board's own Python.
        if "tvm" in libraries and ".emulator.guest." not in module:
            assert _unit(module) == "schedules"
            assert module.split(".")[-1] not in _TEMPLATES


def test_only_the_command_line_prints() -> None:
    for module, path in _sources().items():
        calls = [
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)
        ]
        printing = [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]
        assert not printing or _unit(module) == "cli", module


def test_modules_are_small() -> None:
    long = {
        module: count
        for module, path in _sources().items()
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > 300
    }
    assert long == {}
