"""The one tolerance: what `benchmark.verify` asks of our own packages, as an assertion."""

from __future__ import annotations

import numpy as np

from tvm_shufflenet.benchmark.verify import compare


def assert_same(got: np.ndarray, expected: np.ndarray) -> None:
    """Fail unless `got` is `expected` within the project's float32 tolerance."""
    difference = compare(got, expected)
    assert difference.strict, difference.describe()
