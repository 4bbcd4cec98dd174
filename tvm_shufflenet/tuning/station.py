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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tvm_shufflenet.boards import Board
from tvm_shufflenet.errors import BoardUnreachable, ToolchainError
from tvm_shufflenet.rpc.session import Link, wait_for
from tvm_shufflenet.tuning import build, measure, reference
from tvm_shufflenet.tuning.build import BuildJob, Built
from tvm_shufflenet.tuning.events import BoardBack, BoardLost, Observer
from tvm_shufflenet.tuning.measure import Measured, RunJob
from tvm_shufflenet.tuning.pool import DONE, ERROR, TIMEOUT, Finished, Job, Pool
from tvm_shufflenet.tuning.records import (
    AUTOTVM,
    BUILD_TIMEOUT,
    COMPILE_HOST,
    INSTANTIATION_ERROR,
    OK,
    RUN_TIMEOUT,
    RUNTIME_DEVICE,
    WRONG_ANSWER,
    Candidate,
    Record,
)
from tvm_shufflenet.tuning.verdicts import VERIFIED, WRONG, Verdict

_CHANCES = 2  # measurements that may end badly before the candidate is held to be guilty
_NETWORK_FLOPS = 280e6  # what `Rpc.session_timeout_s` is meant for: 140 M multiply-adds
_BASE_SHARE = 0.1  # of that limit, for a kernel of no work at all
_UPLOAD_BYTES_PER_S = 1e6  # slowest connection to a board that we allow for
_GRACE_S = 5.0  # the server ends an expired session; we kill our side this much later
_REFERENCE_LIMIT_S = 600.0
_CUT_FACTOR = 4.0  # a first run this much slower than the best is not repeated


@dataclass
class Subject:
    """A task as the station sees it: what it takes to build, check and time its candidates."""

    name: str
    tuner: str
    flops: float
    example: Candidate  # any candidate: describes the task
    registry: tuple[Any, ...] | None  # Ansor: its entry of TVM's workload registry
    data: str = ""  # .npz with inputs and expected output, once prepared
    reference: str = ""  # what the expected output was computed with
    best_s: float = float("inf")

    @property
    def checked_each(self) -> bool:
        """Whether every trial is compared; Ansor's own layouts need a build of their own for it."""
        return self.tuner == AUTOTVM


@dataclass(frozen=True)
class Outcome:
    """A candidate after measuring."""

    record: Record
    verdict: Verdict | None
    message: str = ""


@dataclass
class _Work:
    """A candidate on its way through the station."""

    candidate: Candidate
    subject: Subject
    built: Built | None = None
    build_s: float = 0.0
    timed: bool = True
    original_layouts: bool = False


@dataclass
class Clock:
    """Where the time went, seconds."""

    build: float = 0.0
    measure: float = 0.0
    wait: float = 0.0


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
        self._prober = Pool(1, self.modules, log)
        self._serial = 0
        # On one's own machine a build beside a measurement would be measured as well.
        self._overlap = self.revive is None
        self._builders.warm_up()
        self._runners.warm_up()

    def close(self) -> None:
        """End all workers."""
        for pool in (self._builders, self._runners, self._prober):
            pool.close()

    def measure(
        self, pairs: Sequence[tuple[Candidate, Subject]], *, original_layouts: bool = False
    ) -> Iterator[Outcome]:
        """Build and measure; yields each outcome as soon as it is known.

        With `original_layouts` the outcome is a check alone: built to take the network's own
        weights, compared, not timed.

        Raises:
            BoardUnreachable: if the board stays away longer than `patience_s`.
            ToolchainError: if workers or the reference cannot be made.
        """
        for _, subject in pairs:
            if (subject.checked_each or original_layouts) and not subject.data:
                self._prepare(subject)
        timed = not original_layouts
        waiting = deque(
            _Work(candidate, subject, timed=timed, original_layouts=original_layouts)
            for candidate, subject in pairs
        )
        built: deque[_Work] = deque()
        while waiting or built or self._builders.busy or self._runners.busy:
            self._feed(waiting, built)
            began = time.monotonic()
            building, running = self._builders.busy > 0, self._runners.busy > 0
            ended = self._runners.poll(0.02 if building else 0.5) if running else []
            ended += self._builders.poll(0.0 if ended else 0.5) if building else []
            self._count(time.monotonic() - began, running)
            for finished in ended:
                work: _Work = finished.job.tag
                if work.built is None:
                    outcome = self._after_build(finished, work, built)
                else:
                    outcome = self._after_run(finished, work, built)
                if outcome is not None:
                    yield outcome

    def _count(self, seconds: float, running: bool) -> None:
        if running:
            self.clock.measure += seconds
        else:
            self.clock.build += seconds

    def _feed(self, waiting: deque[_Work], built: deque[_Work]) -> None:
        while waiting and self._builders.free:
            self._builders.submit(self._build_job(waiting.popleft()))
        quiet = not waiting and not self._builders.busy
        while built and self._runners.free and (self._overlap or quiet):
            self._runners.submit(self._run_job(built.popleft()))

    def _build_job(self, work: _Work) -> Job:
        self._serial += 1
        job = BuildJob(
            tuner=work.candidate.tuner,
            line=_line(work.candidate),
            registry=work.subject.registry,
            linker=self.linker,
            output=str(self.scratch / f"kernel{self._serial}.so"),
            original_layouts=work.original_layouts,
        )
        return Job(build.FUNCTION, (job,), {"start": self.build_limit_s}, tag=work)

    def _run_job(self, work: _Work) -> Job:
        assert work.built is not None
        subject = work.subject
        session_s = self.session_limit_s(subject, work.built)
        compare = subject.checked_each or work.original_layouts
        job = RunJob(
            link=self.link,
            built=work.built,
            session_s=session_s,
            threads=self.threads,
            cores=self.board.run.core_mask,
            options=self.board.measure,
            data=subject.data if compare else "",
            timed=work.timed,
            cut_above=_CUT_FACTOR * subject.best_s,
            best=subject.best_s,
        )
        limits = {
            "start": _GRACE_S * 4,
            "connect": self.board.rpc.connect_timeout_s + session_s,  # someone else may be first
            "run": session_s + self.board.measure.cooldown_s + _GRACE_S,
        }
        return Job(measure.FUNCTION, (job,), limits, tag=work)

    def session_limit_s(self, subject: Subject, built: Built) -> float:
        """Return how long a kernel may take on the board: grows with its work and its data."""
        size = 4 * sum(_elements(argument.shape) for argument in built.arguments)
        share = _BASE_SHARE + subject.flops / _NETWORK_FLOPS
        return self.board.rpc.session_timeout_s * share + size / _UPLOAD_BYTES_PER_S

    def _after_build(self, finished: Finished, work: _Work, built: deque[_Work]) -> Outcome | None:
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

    def _after_run(self, finished: Finished, work: _Work, built: deque[_Work]) -> Outcome | None:
        if finished.outcome == DONE:
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

    def _measured(self, work: _Work, result: Measured) -> Outcome:
        _remove(work)
        self.strikes.pop(work.candidate.key, None)
        wrong = measure.is_wrong(result.error)
        record = work.candidate.record(
            result.costs,
            WRONG_ANSWER if wrong else OK,
            all_cost_s=work.build_s + result.seconds,
            timestamp=time.time(),
        )
        if result.error is None:
            return Outcome(record, None)
        verdict = Verdict(
            key=work.candidate.key,
            status=WRONG if wrong else VERIFIED,
            error=result.error,
            reference=work.subject.reference,
        )
        if not wrong and result.costs:
            work.subject.best_s = min(work.subject.best_s, record.cost_s)
        message = f"output differs by {result.error:.1e} of its range" if wrong else ""
        return Outcome(record, verdict, message)

    def _failed(self, work: _Work, error_no: int, message: str) -> Outcome:
        _remove(work)
        record = work.candidate.record((), error_no, all_cost_s=work.build_s, timestamp=time.time())
        return Outcome(record, None, message)

    def _prepare(self, subject: Subject) -> None:
        """Compute the inputs and the expected output of a task."""
        path = self.scratch / f"reference{len(list(self.scratch.glob('reference*')))}.npz"
        job = reference.ReferenceJob(
            tuner=subject.tuner,
            line=_line(subject.example),
            registry=subject.registry,
            output=str(path),
            seed=self.seed,
        )
        done = self._prober.call(Job(reference.FUNCTION, (job,), {"start": _REFERENCE_LIMIT_S}))
        if done.outcome != DONE:
            raise ToolchainError(
                f"cannot compute what task {subject.name} should give ({done.message}); "
                "leave it out with --tasks"
            )
        subject.data, subject.reference = str(path), done.value

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
                self.probe(10.0)
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

    def probe(self, register_s: float) -> dict[str, Any]:
        """Open a session and return what the board says of itself.

        Raises:
            BoardUnreachable: if it does not answer.
        """
        wait_for(self.link, register_s)
        session_s = float(self.board.rpc.session_timeout_s)
        limits = {"start": 20.0, "connect": session_s, "run": 20.0}
        done = self._prober.call(Job(measure.PROBE, (self.link, session_s), limits))
        if done.outcome != DONE:
            raise BoardUnreachable(done.message)
        description: dict[str, Any] = done.value
        return description


def _line(candidate: Candidate) -> str:
    return candidate.record((0.0,), OK, all_cost_s=0.0, timestamp=0.0).line()


def _elements(shape: tuple[int, ...]) -> int:
    count = 1
    for extent in shape:
        count *= extent
    return count


def _remove(work: _Work) -> None:
    if work.built is not None:
        Path(work.built.path).unlink(missing_ok=True)
        work.built = replace(work.built, path="")
