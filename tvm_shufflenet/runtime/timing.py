"""How long inferences took: every raw value, and what to quote of them."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Timing:
    """The seconds that each inference took, in the order they were made."""

    seconds: tuple[float, ...]
    warmup_seconds: tuple[float, ...]  # made first and not counted
    batch: int
    threads: int

    @property
    def median_s(self) -> float:
        """Half of the inferences took no longer."""
        return self.percentile_s(50)

    @property
    def p90_s(self) -> float:
        """Nine of ten inferences took no longer."""
        return self.percentile_s(90)

    @property
    def p99_s(self) -> float:
        """99 of 100 inferences took no longer."""
        return self.percentile_s(99)

    def percentile_s(self, percent: float) -> float:
        """Return the time within which `percent` of the inferences ended, interpolated."""
        ordered = sorted(self.seconds)
        position = (len(ordered) - 1) * percent / 100
        low = math.floor(position)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (ordered[high] - ordered[low]) * (position - low)
