"""Choosing the best: the fastest candidates are measured again in turns and must be right.

A best of hundreds of noisy measurements is partly luck. In turns, so that a slow minute of the
board slows all rivals alike.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from tvm_shufflenet.tuning import measure, verdicts
from tvm_shufflenet.tuning.events import Observer, Warned
from tvm_shufflenet.tuning.records import OK, Candidate, Record
from tvm_shufflenet.tuning.station import Station
from tvm_shufflenet.tuning.verdicts import FAILED, UNVERIFIED, VERIFIED, WRONG, Verdict
from tvm_shufflenet.tuning.work import Subject

_ROUNDS = 3
_CLOSE = 1.1  # what was slower than this times the fastest has no chance
UNSTABLE = 0.15  # spread of repeated times that is worth a warning
QUIET_IT = (
    "quiet the board (other programs, governor 'performance', cooling) and run again with --resume"
)


def finalists(records: Sequence[Record], known: Mapping[str, Verdict], count: int) -> list[Record]:
    """Return the fastest records of one workload that may be right, fastest first."""
    usable = [r for r in records if verdicts.status(r, known) in (VERIFIED, UNVERIFIED)]
    usable.sort(key=lambda r: (verdicts.cost_s(r, known), r.key))
    limit = _CLOSE * verdicts.cost_s(usable[0], known) if usable else 0.0
    return [r for r in usable[:count] if verdicts.cost_s(r, known) <= limit]


def settle(
    station: Station,
    subject: Subject,
    rivals: Sequence[Record],
    known: Mapping[str, Verdict],
    keep: Callable[[Verdict], None],
) -> None:
    """Check the rivals that were not compared yet, measure all in turns, keep the verdicts.

    Raises:
        BoardUnreachable: if the board stays away.
    """
    right = check(station, subject, rivals, known, keep)
    if len(right) < 2:
        return
    costs: dict[str, list[float]] = {key: [] for key in right}
    pairs: list[tuple[Candidate, Subject]] = [(r, subject) for r in rivals if r.key in right]
    # Every rival gets the same number of runs: no cutting short.
    limit, subject.best_s = subject.best_s, float("inf")
    for outcome in station.measure(pairs, rounds=_ROUNDS):
        if outcome.record.error_no == OK:
            costs[outcome.record.key] += outcome.record.costs_s
        subject.best_s = float("inf")
    subject.best_s = limit
    for key, values in costs.items():
        if values:
            keep(replace(right[key], costs_s=tuple(values)))
    _warn_if_unstable(subject, [values for values in costs.values() if values], station.observer)


def check(
    station: Station,
    subject: Subject,
    rivals: Sequence[Record],
    known: Mapping[str, Verdict],
    keep: Callable[[Verdict], None],
) -> dict[str, Verdict]:
    """Compare the rivals that were not compared yet; return the verdicts of the right ones.

    Raises:
        BoardUnreachable: if the board stays away.
    """
    right = {r.key: known[r.key] for r in rivals if verdicts.status(r, known) == VERIFIED}
    open_ones = [rival for rival in rivals if rival.key not in right]
    pairs: list[tuple[Candidate, Subject]] = [(rival, subject) for rival in open_ones]
    for outcome in station.measure(pairs, original_layouts=True):
        verdict = outcome.verdict or Verdict(key=outcome.record.key, status=FAILED)
        keep(verdict)
        if verdict.status == VERIFIED:
            right[verdict.key] = verdict
        elif verdict.status == WRONG:
            station.observer(
                Warned(message=f"{subject.name}: a fast candidate is wrong: {outcome.message}")
            )
    return right


def _warn_if_unstable(subject: Subject, costs: list[list[float]], observer: Observer) -> None:
    if not costs:
        return
    winner = min(costs, key=statistics.median)
    spread = measure.spread(winner)
    if spread > UNSTABLE:
        observer(
            Warned(
                message=f"{subject.name}: times of the best candidate spread by {spread:.0%}; "
                f"{QUIET_IT}"
            )
        )
