"""Measure several contestants in turn, A B C A B C …, so that all meet the same machine.

A contestant is anything that can be resumed, run and paused: a worker process, a recording. Only
the one whose turn it is may compute; the others are paused, spinning thread pools included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tvm_shufflenet.benchmark.statistics import Samples


@dataclass(frozen=True)
class Burst:
    """What one turn measured, in seconds."""

    warmup_s: tuple[float, ...]
    seconds: tuple[float, ...]


class ContestantFailed(Exception):  # noqa: N818 - it is an event of a race, not only an error
    """A contestant cannot go on; the message says why in one line."""


class Contestant(Protocol):
    """What is measured."""

    def resume(self) -> None:
        """Get ready to compute."""

    def run(self, warmup: int, number: int) -> Burst:
        """Run `warmup` inferences, then `number` more, timing each.

        Raises:
            ContestantFailed: if it cannot.
        """

    def pause(self) -> None:
        """Stop computing altogether until resumed."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much to measure."""

    rounds: int = 20  # turns of each contestant
    turn_s: float = 0.25  # about how long a turn's measured inferences take
    min_number: int = 3  # inferences measured in a turn, at least
    max_number: int = 50  # and at most
    warmup: int = 2  # inferences before them: caches and thread pools were lost while paused

    def number(self, inference_s: float) -> int:
        """Return how many inferences make a turn when one takes `inference_s`."""
        return max(self.min_number, min(self.max_number, round(self.turn_s / inference_s)))


@dataclass
class _Recording:
    number: int
    rounds: list[tuple[float, ...]] = field(default_factory=list)
    warmups: list[tuple[float, ...]] = field(default_factory=list)

    def add(self, burst: Burst) -> None:
        self.rounds.append(burst.seconds)
        self.warmups.append(burst.warmup_s)


@dataclass(frozen=True)
class Outcome:
    """Samples by contestant, and why the others have none."""

    samples: Mapping[str, Samples]
    failures: Mapping[str, str]


def _turn(contestant: Contestant, warmup: int, number: int) -> Burst:
    contestant.resume()
    try:
        return contestant.run(warmup, number)
    finally:
        contestant.pause()


def interleave(
    contestants: Mapping[str, Contestant],
    plan: Plan,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Outcome:
    """Measure all contestants in turn for `plan.rounds` rounds.

    The order rotates by one from round to round, so that nobody always follows the same
    neighbor. A contestant that fails is dropped with its reason; the others go on. `progress`
    is told (turns done, turns in all).
    """
    failures: dict[str, str] = {}
    recordings: dict[str, _Recording] = {}
    for name, contestant in contestants.items():
        try:
            trial = _turn(contestant, plan.warmup, 1)
            recordings[name] = _Recording(plan.number(trial.seconds[0]))
        except ContestantFailed as failed:
            failures[name] = str(failed)
    turns, total = 0, plan.rounds * len(contestants)
    for round_index in range(plan.rounds):
        for name in _rotated(list(recordings), round_index):
            recording = recordings[name]
            try:
                recording.add(_turn(contestants[name], plan.warmup, recording.number))
            except ContestantFailed as failed:
                failures[name] = str(failed)
                del recordings[name]
            turns += 1
            progress(turns, total)
    samples = {
        name: Samples(tuple(recording.rounds), tuple(recording.warmups))
        for name, recording in recordings.items()
    }
    return Outcome(samples, failures)


def _rotated(names: Sequence[str], by: int) -> list[str]:
    if not names:
        return []
    start = by % len(names)
    return [*names[start:], *names[:start]]
