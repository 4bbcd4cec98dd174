"""Registration of the templates that a tuner or a build may meet, in whatever process."""

from __future__ import annotations

import importlib
from functools import cache

from tvm_shufflenet.compiler import load_tvm


@cache
def register(modules: tuple[str, ...] = ()) -> None:
    """Register our operators and templates, and those that `modules` register when imported."""
    load_tvm()
    # By name: mypy does not see the top-level folder under the package's name.
    importlib.import_module("tvm_shufflenet.schedules").register()
    for module in modules:
        importlib.import_module(module)
