"""From logits to the classes one would name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tvm_shufflenet.errors import ImageError, InputError
from tvm_shufflenet.runtime.library import Tensor


def likeliest(
    logits: Tensor, labels: Sequence[str] | None, k: int
) -> list[tuple[str | int, float]]:
    """Return the `k` likeliest classes of one image: (label or index, probability).

    Raises:
        ImageError: if the logits (n, classes) are those of more than one image.
        InputError: if `k` is less than 1.
    """
    if k < 1:
        raise InputError(f"k must be at least 1, not {k}")
    if len(logits) != 1:
        raise ImageError(f"top takes one image; {len(logits)} came")
    exact = logits[0].astype(np.float64)
    weights = np.exp(exact - exact.max())
    chances = weights / weights.sum()
    best = np.argsort(-chances, kind="stable")[:k]
    names: Sequence[str | int] = labels or range(len(chances))
    return [(names[index], float(chances[index])) for index in best]
