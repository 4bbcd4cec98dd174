"""Compute what depends on constants only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FoldConstants:
    """Relay's constant folding.

    It compiles each operator it folds, so the passes before it do their own arithmetic in NumPy
    and leave it next to nothing.
    """

    name: str = "fold_constants"

    def __call__(self, mod: Any) -> Any:
        """Return the module with constant subexpressions evaluated."""
        from tvm import relay

        return relay.transform.FoldConstant()(relay.transform.InferType()(mod))
