"""Verify, then time: from entries (a runtime on a network) to results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

from tvm_shufflenet.benchmark import process, results, runners
from tvm_shufflenet.benchmark.export import Export
from tvm_shufflenet.benchmark.interleave import (
    Contestant,
    ContestantFailed,
    Outcome,
    Plan,
    interleave,
)
from tvm_shufflenet.benchmark.process import Worker
from tvm_shufflenet.benchmark.results import Result
from tvm_shufflenet.benchmark.runners import Setup
from tvm_shufflenet.benchmark.verify import Difference

Progress = Callable[[str], None]
INSTALL = "tvm-shufflenet[host,bench]"


@dataclass(frozen=True)
class Entry:
    """One line of the table to come."""

    runner: str
    title: str
    export: Export
    threads: int
    package: Path | None = None

    @property
    def ours(self) -> bool:
        """Is it one of our packages?"""
        return self.runner == runners.OURS


class Checkable(Contestant, Protocol):
    """A contestant that can also say whether it computes what PyTorch computes."""

    def check(self) -> Difference:
        """Return how far its outputs are from PyTorch's.

        Raises:
            ContestantFailed: if it cannot run.
        """


# Gets an entry ready, or raises ContestantFailed; the stack closes it when all is measured.
Opener = Callable[[Entry, ExitStack], Checkable]


class NotInstalled(ContestantFailed):
    """The runtime is not there; the message says what to install."""


@dataclass(frozen=True)
class _Loaded:
    contestant: Checkable
    difference: Difference


def open_worker(entry: Entry, stack: ExitStack) -> Checkable:
    """Load an entry in a process of this machine."""
    missing = runners.missing(entry.runner)
    if missing:
        raise NotInstalled(f'no module {", ".join(missing)}: pip install "{INSTALL}"')
    if not entry.ours:
        process.prepare(entry.runner, entry.export)
    setup = Setup(entry.export, entry.threads, entry.package)
    worker = stack.enter_context(Worker(entry.runner, setup))
    worker.load()
    return worker


def measure(
    entries: Sequence[Entry],
    plan: Plan,
    progress: Progress = lambda text: None,
    open_entry: Opener = open_worker,
) -> tuple[Result, ...]:
    """Verify every entry against PyTorch, time those that are right, interleaved.

    An entry that is not installed, fails or computes something else gets a result that says so.
    `progress` is told what is going on, in a few words.
    """
    found: dict[int, Result] = {}
    loaded: dict[int, _Loaded] = {}
    with ExitStack() as stack:
        for index, entry in enumerate(entries):
            progress(f"{entry.export.network}: {entry.title}: preparing")
            ready = _load(entry, open_entry, stack)
            if isinstance(ready, Result):
                found[index] = ready
            else:
                loaded[index] = ready
        outcome = interleave(
            {str(index): ready.contestant for index, ready in loaded.items()},
            plan,
            lambda done, total: progress(f"measuring: turn {done} of {total}"),
        )
        for index, ready in loaded.items():
            found[index] = _conclude(entries[index], ready, str(index), outcome)
    return tuple(found[index] for index in range(len(entries)))


def _load(entry: Entry, open_entry: Opener, stack: ExitStack) -> _Loaded | Result:
    try:
        contestant = open_entry(entry, stack)
        difference = contestant.check()
        contestant.pause()
    except NotInstalled as absent:
        return _result(entry, results.NOT_INSTALLED, str(absent))
    except ContestantFailed as failed:
        return _result(entry, results.FAILED, str(failed))
    return _judge(entry, difference) or _Loaded(contestant, difference)


def _conclude(entry: Entry, ready: _Loaded, name: str, outcome: Outcome) -> Result:
    if name in outcome.failures:
        return _result(entry, results.FAILED, outcome.failures[name])
    again = _check_again(ready)
    return _judge(entry, again) or _result(
        entry,
        results.MEASURED,
        "" if again.strict else again.describe(),
        difference_of_scale=again.of_scale,
        strict=again.strict,
        samples=outcome.samples[name],
    )


def _check_again(ready: _Loaded) -> Difference:
    """Check once more after all rounds: a race between threads need not show at first."""
    ready.contestant.resume()
    try:
        later = ready.contestant.check()
    except ContestantFailed as failed:
        return Difference(float("inf"), False, f"failed after the last round: {failed}")
    finally:
        ready.contestant.pause()
    return max(ready.difference, later, key=lambda difference: difference.of_scale)


def _judge(entry: Entry, difference: Difference) -> Result | None:
    """Return a result that says "wrong", or None if the output is right enough to be timed."""
    if difference.strict or (difference.acceptable and not entry.ours):
        return None
    return _result(
        entry,
        results.WRONG,
        difference.describe(),
        difference_of_scale=difference.of_scale,
        strict=False,
    )


def _result(entry: Entry, status: str, detail: str, **fields: Any) -> Result:
    card = runners.card(entry.runner)
    try:
        version = metadata.version(card.distribution)
    except metadata.PackageNotFoundError:
        version = None
    return Result(
        network=entry.export.network,
        height=entry.export.height,
        width=entry.export.width,
        threads=entry.threads,
        runner=entry.runner,
        title=entry.title,
        ours=entry.ours,
        version=version,
        settings=card.settings,
        status=status,
        detail=detail,
        **fields,
    )
