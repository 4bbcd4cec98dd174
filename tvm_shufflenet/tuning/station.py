"""The measuring station: candidates in, records out, whatever happens to kernels and boards.

Builds run in a pool of workers, measurements in another with one worker a server. A measurement
that ends badly raises the question of guilt: the board is brought back or waited for, then the
candidate gets a second chance. A healthy one passes; a candidate that fails twice is recorded
as failed and the run goes on.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tvm_shufflenet.boards import Board
from tvm_shufflenet.errors import BoardUnreachable, ToolchainError
from tvm_shufflenet.rpc.session import Link
from tvm_shufflenet.tuning import build, measure
from tvm_shufflenet.tuning.build import BuildJob, Built
from tvm_shufflenet.tuning.calls import Calls
from tvm_shufflenet.tuning.events import BoardBack, BoardLost, Observer
from tvm_shufflenet.tuning.measure import Measured, RunJob
from tvm_shufflenet.tuning.pool import DONE, ERROR, TIMEOUT, Finished, Job, Pool
from tvm_shufflenet.tuning.records import (
    BUILD_TIMEOUT,
    COMPILE_HOST,
    INSTANTIATION_ERROR,
    OK,
    RUN_TIMEOUT,
    RUNTIME_DEVICE,
    Candidate,
)
from tvm_shufflenet.tuning.work import (
    Clock,
    Outcome,
    Subject,
    Work,
    failed,
    line,
    measured,
    remove,
    session_limit_s,
)

_CHANCES = 2  # measurements that may end badly before the candidate is held to be guilty
_GRACE_S = 5.0  # the server ends an expired session; we kill our side this much later
_KEEP_FACTOR = 1.2  # libraries this close to the best are kept: some take many seconds to build
_CUT_FACTOR = 2.0  # a first run this much slower than the best is not repeated


@dataclass
class Station:
    """Builds, measures and checks candidates on one board; use `close` when done."""

    board: Board
    link: Link
    linker: Any
    scratch: Path
    observer: Observer
    threads: int
    builders: int
    servers: int = 1
    build_limit_s: float = 60.0
    patience_s: float = 300.0
    seed: int = 0
    modules: tuple[str, ...] = ()
    revive: Callable[[], None] | None = None  # starts again what ended; board "local"
    strikes: dict[str, int] = field(default_factory=dict)  # candidate -> bad endings
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        log = self.scratch / "workers.log"
        self._builders = Pool(self.builders, self.modules, log)
        self._runners = Pool(self.servers, self.modules, log)
        self.calls = Calls(self.board, self.link, self.threads, Pool(1, self.modules, log))
        self._serial = 0
        self._kept: dict[str, Built] = {}  # libraries that finalists need again
        # On one's own machine a build beside a measurement would be measured as well.
        self._overlap = self.revive is None
        self._builders.warm_up()
        self._runners.warm_up()

    def close(self) -> None:
        """End all workers."""
        self._builders.close()
        self._runners.close()
        self.calls.close()

    def measure(
        self,
        pairs: Sequence[tuple[Candidate, Subject]],
        *,
        rounds: int = 1,
        original_layouts: bool = False,
    ) -> Iterator[Outcome]:
        """Build and measure; yields each outcome as soon as it is known.

        With several `rounds` the candidates are measured in turns, each that often. With
        `original_layouts` the outcome is a check alone: built to take the network's own weights,
        compared, not timed.

        Raises:
            BoardUnreachable: if the board stays away longer than `patience_s`.
            ToolchainError: if workers or the reference cannot be made.
        """
        for _, subject in pairs:
            if (subject.checked_each or original_layouts) and not subject.data:
                self.calls.prepare(subject, self.scratch, self.seed)
        waiting = deque(
            Work(candidate, subject, rounds=rounds, original_layouts=original_layouts)
            for candidate, subject in pairs
        )
        built = deque(self._without_building(waiting))
        while waiting or built or self._builders.busy or self._runners.busy:
            self._feed(waiting, built)
            began = time.monotonic()
            building, running = self._builders.busy > 0, self._runners.busy > 0
            ended = self._runners.poll(0.02 if building else 0.5) if running else []
            ended += self._builders.poll(0.0 if ended else 0.5) if building else []
            self._count(time.monotonic() - began, running)
            for finished in ended:
                work: Work = finished.job.tag
                if work.built is None:
                    outcome = self._after_build(finished, work, built)
                else:
                    outcome = self._after_run(finished, work, built)
                if outcome is not None:
                    yield outcome

    def _without_building(self, waiting: deque[Work]) -> list[Work]:
        """Take out of `waiting` what was built before and kept."""
        ready = []
        for work in list(waiting):
            kept = None if work.original_layouts else self._kept.get(work.candidate.key)
            if kept is not None:
                work.built = kept
                waiting.remove(work)
                ready.append(work)
        return ready

    def _count(self, seconds: float, running: bool) -> None:
        if running:
            self.clock.measure += seconds
        else:
            self.clock.build += seconds

    def _feed(self, waiting: deque[Work], built: deque[Work]) -> None:
        while waiting and self._builders.free:
            self._builders.submit(self._build_job(waiting.popleft()))
        quiet = not waiting and not self._builders.busy
        while built and self._runners.free and (self._overlap or quiet):
            self._runners.submit(self._run_job(built.popleft()))

    def _build_job(self, work: Work) -> Job:
        self._serial += 1
        job = BuildJob(
            tuner=work.candidate.tuner,
            line=line(work.candidate),
            registry=work.subject.registry,
            linker=self.linker,
            output=str(self.scratch / f"kernel{self._serial}.so"),
            original_layouts=work.original_layouts,
        )
        return Job(build.FUNCTION, (job,), {"start": self.build_limit_s}, tag=work)

    def _run_job(self, work: Work) -> Job:
        assert work.built is not None
        subject = work.subject
        session_s = session_limit_s(self.board, subject, work.built)
        compare = subject.checked_each or work.original_layouts
        job = RunJob(
            link=self.link,
            built=work.built,
            session_s=session_s,
            threads=self.threads,
            cores=self.board.run.core_mask,
            options=self.board.measure,
            data=subject.data if compare else "",
            timed=not work.original_layouts,
            cut_above=_CUT_FACTOR * subject.best_s,
            best=subject.best_s,
        )
        limits = {
            "start": _GRACE_S * 4,
            "connect": self.board.rpc.connect_timeout_s + session_s,  # someone else may be first
            "run": session_s + self.board.measure.cooldown_s + _GRACE_S,
        }
        return Job(measure.FUNCTION, (job,), limits, tag=work)

    def _after_build(self, finished: Finished, work: Work, built: deque[Work]) -> Outcome | None:
        work.build_s = finished.seconds
        if finished.outcome == DONE:
            work.built = finished.value
            built.append(work)
            return None
        if finished.error == ToolchainError.__name__:
            raise ToolchainError(finished.message)
        if finished.outcome == TIMEOUT:
            error_no = BUILD_TIMEOUT
        elif finished.error == "InstantiationError":
            error_no = INSTANTIATION_ERROR
        else:
            error_no = COMPILE_HOST
        return self._failed(work, error_no, f"did not build: {finished.message}")

    def _after_run(self, finished: Finished, work: Work, built: deque[Work]) -> Outcome | None:
        if finished.outcome == DONE:
            work.rounds -= 1
            if work.rounds and not measure.is_wrong(finished.value.error):
                built.append(work)
            return self._measured(work, finished.value)
        if finished.error == ToolchainError.__name__:
            raise ToolchainError(finished.message)
        blamed = finished.outcome == ERROR and finished.error == measure.KernelFailed.__name__
        if blamed and "expired" not in finished.message:
            return self._failed(work, RUNTIME_DEVICE, finished.message)
        key = work.candidate.key
        if finished.phase == "run":  # otherwise it was never sent to the board
            self.strikes[key] = self.strikes.get(key, 0) + 1
        self._recover(finished.message)
        if self.strikes.get(key, 0) >= _CHANCES:
            hangs = finished.outcome == TIMEOUT or blamed
            return self._failed(work, RUN_TIMEOUT if hangs else RUNTIME_DEVICE, finished.message)
        built.append(work)
        return None

    def _measured(self, work: Work, result: Measured) -> Outcome:
        self.strikes.pop(work.candidate.key, None)
        outcome = measured(work, result)
        record, subject = outcome.record, work.subject
        right = record.error_no == OK and bool(result.costs)
        if right:
            subject.best_s = min(subject.best_s, record.cost_s)
        if right and work.built is not None and record.cost_s <= _KEEP_FACTOR * subject.best_s:
            self._kept[record.key] = work.built
        elif not work.rounds and record.key not in self._kept:
            remove(work)
        return outcome

    def _failed(self, work: Work, error_no: int, message: str) -> Outcome:
        remove(work)
        return failed(work, error_no, message)

    def _recover(self, reason: str) -> None:
        """Bring the board back, or wait for it.

        Raises:
            BoardUnreachable: if it stays away longer than `patience_s`.
        """
        began = time.monotonic()
        self.observer(BoardLost(reason=reason))
        pause = 0.5
        while True:
            try:
                if self.revive is not None:
                    self.revive()
                self.calls.probe(10.0)
                break
            except BoardUnreachable as error:
                away = time.monotonic() - began
                if away + pause > self.patience_s:
                    raise BoardUnreachable(
                        f"{self.board.name} stayed away for {away:.0f} s ({error}); what was "
                        "measured is in the log, go on with --resume"
                    ) from error
            time.sleep(pause)
            pause = min(2 * pause, 15.0)
        away = time.monotonic() - began
        self.clock.wait += away
        self.observer(BoardBack(after_s=away))
