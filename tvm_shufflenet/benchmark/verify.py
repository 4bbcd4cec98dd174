"""Is what a runtime computed what PyTorch computed? Asked before any time is believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

# Our own packages must meet these; they are the project's one float32 tolerance.
RTOL = 1e-4
ATOL_OF_SCALE = 1e-5
# A peer is called wrong only beyond this share of the logits' scale: Winograd transforms and
# other summation orders legitimately cost a few 1e-4. float16 or bfloat16 arithmetic does not
# pass it over fifty layers.
PEER_LIMIT_OF_SCALE = 1e-3


@dataclass(frozen=True)
class Difference:
    """How far an output is from the expected one."""

    of_scale: float  # largest absolute difference / largest absolute expected value
    strict: bool  # within RTOL and ATOL_OF_SCALE everywhere
    reason: str = ""  # why no difference could be taken: another shape, NaN

    @property
    def acceptable(self) -> bool:
        """Good enough for a peer to be timed."""
        return not self.reason and self.of_scale <= PEER_LIMIT_OF_SCALE

    def describe(self) -> str:
        """Say it in a few words."""
        if self.reason:
            return self.reason
        return f"differs from PyTorch by {self.of_scale:.1e} of the outputs' scale"


def compare(got: np.ndarray, expected: np.ndarray) -> Difference:
    """Compare two outputs of the same shape, element by element."""
    import numpy as np

    got = np.asarray(got)
    if got.shape != expected.shape:
        reason = f"output has shape {list(got.shape)}, expected {list(expected.shape)}"
        return Difference(float("inf"), False, reason)
    if not np.isfinite(got).all():
        return Difference(float("inf"), False, "output holds NaN or infinity")
    scale = float(np.abs(expected).max()) or 1.0
    off = np.abs(got.astype(np.float64) - expected)
    strict = bool((off <= ATOL_OF_SCALE * scale + RTOL * np.abs(expected)).all())
    return Difference(float(off.max()) / scale, strict)


def worst(differences: list[Difference]) -> Difference:
    """Return the largest of several differences, strict only if all are."""
    most = max(differences, key=lambda difference: difference.of_scale)
    return Difference(most.of_scale, all(part.strict for part in differences), most.reason)
