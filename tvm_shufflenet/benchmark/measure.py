"""Verify, then time: from entries (a runtime on a network) to results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from tvm_shufflenet.benchmark import process, results, runners
from tvm_shufflenet.benchmark.export import Export
from tvm_shufflenet.benchmark.interleave import ContestantFailed, Plan, interleave
from tvm_shufflenet.benchmark.process import Worker
from tvm_shufflenet.benchmark.results import Result
from tvm_shufflenet.benchmark.runners import Setup
from tvm_shufflenet.benchmark.verify import Difference

Progress = Callable[[str], None]


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


@dataclass(frozen=True)
class _Loaded:
    worker: Worker
    difference: Difference


def measure(
    entries: Sequence[Entry], plan: Plan, progress: Progress = lambda text: None
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
            ready = _load(entry, stack)
            if isinstance(ready, Result):
                found[index] = ready
            else:
                loaded[index] = ready
        contestants = {str(index): ready.worker for index, ready in loaded.items()}
        outcome = interleave(
            contestants, plan, lambda done, total: progress(f"measuring: turn {done} of {total}")
        )
        for index, ready in loaded.items():
            entry, name = entries[index], str(index)
            if name in outcome.failures:
                found[index] = _result(entry, results.FAILED, outcome.failures[name])
            else:
                again = _check_again(ready)
                found[index] = _judge(entry, again) or _result(
                    entry,
                    results.MEASURED,
                    "" if again.strict else again.describe(),
                    difference_of_scale=again.of_scale,
                    strict=again.strict,
                    samples=outcome.samples[name],
                )
    return tuple(found[index] for index in range(len(entries)))


def _load(entry: Entry, stack: ExitStack) -> _Loaded | Result:
    missing = runners.missing(entry.runner)
    if missing:
        detail = f'no module {", ".join(missing)}: pip install "tvm-shufflenet[host,bench]"'
        return _result(entry, results.NOT_INSTALLED, detail)
    setup = Setup(entry.export, entry.threads, entry.package)
    try:
        if not entry.ours:
            process.prepare(entry.runner, entry.export)
        worker = stack.enter_context(Worker(entry.runner, setup))
        worker.load()
        difference = worker.check()
        worker.pause()
    except ContestantFailed as failed:
        return _result(entry, results.FAILED, str(failed))
    return _judge(entry, difference) or _Loaded(worker, difference)


def _check_again(ready: _Loaded) -> Difference:
    """Check once more after all rounds: a race between threads need not show at first."""
    ready.worker.resume()
    try:
        later = ready.worker.check()
    except ContestantFailed as failed:
        return Difference(float("inf"), False, f"failed after the last round: {failed}")
    finally:
        ready.worker.pause()
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
