"""Drop what only training needs: dropout, and BatchNorms that could not be folded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SimplifyInference:
    """Relay's own simplification, on what `FoldBatchNorm` left."""

    name: str = "simplify_inference"

    def __call__(self, mod: Any) -> Any:
        """Return the module without training-only operators."""
        from tvm import relay

        return relay.transform.SimplifyInference()(relay.transform.InferType()(mod))
