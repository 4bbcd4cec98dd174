"""Samples of one runner: raw seconds by round, what they add up to, and whether to trust them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

FEW_SAMPLES = 10  # below this, percentiles say nothing
UNSTABLE_DEVIATION = 0.10  # pyperf's limit for standard deviation / mean
UNSTABLE_ROUNDS = 0.15  # how far the median of a round may be from the overall median


def percentile(values: Sequence[float], fraction: float) -> float:
    """Return the `fraction` (0..1) percentile, linearly interpolated as numpy does by default.

    Raises:
        ValueError: if there are no values or `fraction` is outside 0..1.
    """
    if not values or not 0 <= fraction <= 1:
        raise ValueError(f"no {fraction:g} percentile of {len(values)} values")
    ordered = sorted(values)
    position = (len(ordered) - 1) * fraction
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


@dataclass(frozen=True)
class Samples:
    """Seconds of single inferences, grouped by the round they were measured in."""

    rounds: tuple[tuple[float, ...], ...]
    warmups: tuple[tuple[float, ...], ...] = ()  # kept for the record, in no figure

    def __post_init__(self) -> None:
        if not self.rounds or not all(self.rounds):
            raise ValueError("samples need at least one round, and every round a value")
        if any(not value > 0 or math.isinf(value) for value in self.values):
            raise ValueError("every sample must be a positive, finite number of seconds")

    @property
    def values(self) -> tuple[float, ...]:
        """All seconds, in the order they were measured."""
        return tuple(chain.from_iterable(self.rounds))

    @property
    def median_s(self) -> float:
        """The figure to quote."""
        return statistics.median(self.values)

    @property
    def p90_s(self) -> float:
        """Nine of ten inferences were at least this fast."""
        return percentile(self.values, 0.90)

    @property
    def p99_s(self) -> float:
        """99 of 100 inferences were at least this fast."""
        return percentile(self.values, 0.99)

    @property
    def min_s(self) -> float:
        """The fastest inference."""
        return min(self.values)

    @property
    def round_medians_s(self) -> tuple[float, ...]:
        """One median a round: what is compared between runners."""
        return tuple(statistics.median(values) for values in self.rounds)

    @property
    def deviation(self) -> float:
        """Standard deviation / mean, 0 for a single value."""
        values = self.values
        return statistics.stdev(values) / statistics.fmean(values) if len(values) > 1 else 0.0

    @property
    def spread(self) -> float:
        """(p90 - p10) / median: how wide the bulk is, deaf to rare outliers."""
        return (self.p90_s - percentile(self.values, 0.10)) / self.median_s

    def warnings(self) -> tuple[str, ...]:
        """Return why these samples should not be quoted, each with what to do about it."""
        found = []
        if len(self.values) < FEW_SAMPLES:
            found.append(f"only {len(self.values)} samples: raise --rounds")
        if self.deviation >= UNSTABLE_DEVIATION:
            found.append(
                f"standard deviation is {self.deviation:.0%} of the mean: "
                "close other programs, fix the CPU frequency, or raise --rounds"
            )
        drift = max(abs(part / self.median_s - 1) for part in self.round_medians_s)
        if drift >= UNSTABLE_ROUNDS:
            found.append(
                f"a round's median is {drift:.0%} off: something else ran, or the CPU throttled; "
                "measure again on a quiet machine"
            )
        return tuple(found)


@dataclass(frozen=True)
class Ratio:
    """How many times faster one runner is than another."""

    median: float
    low: float  # the least favorable round
    high: float  # the most favorable round


def speedup(ours: Samples, theirs: Samples) -> Ratio:
    """Return theirs / ours, compared round by round.

    Rounds are interleaved, so the two medians of one round met the same machine state: slow
    drift of clock or load cancels out, which it would not in a ratio of two overall medians.
    """
    pairs = zip(ours.round_medians_s, theirs.round_medians_s, strict=False)
    ratios = [theirs_s / ours_s for ours_s, theirs_s in pairs]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))
