"""Worker processes with a time limit on every phase of a job."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tvm_shufflenet.errors import ToolchainError
from tvm_shufflenet.rpc.processes import child_environment

DONE = "done"
ERROR = "error"  # the job raised
TIMEOUT = "timeout"  # a phase took longer than its limit; the worker was killed
DIED = "died"  # the worker process ended

_START_LIMIT_S = 180.0  # importing TVM on a busy machine


@dataclass(frozen=True)
class Job:
    """A function to call in a worker, and how long each of its phases may take."""

    function: str  # "module:function"
    arguments: tuple[Any, ...]
    limits_s: Mapping[str, float]  # phase -> seconds; it begins in phase "start"
    tag: Any = None  # the caller's own, not sent to the worker


@dataclass(frozen=True)
class Finished:
    """How a job ended."""

    job: Job
    outcome: str  # DONE, ERROR, TIMEOUT or DIED
    value: Any = None  # what the function returned
    phase: str = ""
    error: str = ""  # class of what was raised
    message: str = ""
    seconds: float = 0.0


class _Worker:
    def __init__(self, modules: tuple[str, ...], log: Path | None) -> None:
        self.connection, theirs = Pipe()
        with contextlib.ExitStack() as stack:
            stack.callback(theirs.close)
            stderr = stack.enter_context(log.open("ab")) if log else subprocess.DEVNULL
            command = [sys.executable, "-m", "tvm_shufflenet.tuning.worker", str(theirs.fileno())]
            self.process = subprocess.Popen(
                [*command, *modules],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                pass_fds=(theirs.fileno(),),
                env=child_environment(),
                start_new_session=True,
            )
        self.ready = False
        self.job: Job | None = None
        self.phase = "start"
        self.began = self.deadline = 0.0
        self.result: tuple[Any, ...] | None = None

    def begin(self, job: Job) -> None:
        self.job = job
        self.began = time.monotonic()
        self.enter("start")
        self.connection.send((job.function, job.arguments))

    def enter(self, phase: str) -> None:
        self.phase = phase
        limit = self.job.limits_s.get(phase, _START_LIMIT_S) if self.job else 0.0
        self.deadline = time.monotonic() + limit

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.connection.close()


class Pool:
    """Up to `size` workers, started when first needed and replaced when they are lost."""

    def __init__(self, size: int, modules: tuple[str, ...] = (), log: Path | None = None) -> None:
        self.size = size
        self._modules = modules
        self._log = log
        self._workers: list[_Worker] = []

    @property
    def busy(self) -> int:
        """Jobs under way."""
        return sum(worker.job is not None for worker in self._workers)

    @property
    def free(self) -> int:
        """Jobs that could be submitted now."""
        return self.size - self.busy

    def submit(self, job: Job) -> None:
        """Give `job` to a free worker; the caller checks `free` first.

        Raises:
            ToolchainError: if workers cannot start.
        """
        assert self.free > 0
        idle = next((worker for worker in self._workers if worker.job is None), None)
        if idle is None:
            idle = _Worker(self._modules, self._log)
            self._workers.append(idle)
        if not idle.ready:
            self._await_ready(idle)
        idle.begin(job)

    def warm_up(self) -> None:
        """Start all workers now, at the same time."""
        while len(self._workers) < self.size:
            self._workers.append(_Worker(self._modules, self._log))

    def _await_ready(self, worker: _Worker) -> None:
        message: tuple[Any, ...] = ("error", "", "it did not start in time")
        with contextlib.suppress(EOFError, ConnectionResetError):
            if worker.connection.poll(_START_LIMIT_S):
                message = worker.connection.recv()
        if message[0] != "ready":
            self._drop(worker)
            raise ToolchainError(f"a tuning worker cannot start: {message[2]}; see {self._log}")
        worker.ready = True

    def poll(self, timeout_s: float) -> list[Finished]:
        """Return the jobs that ended, waiting up to `timeout_s` for the first."""
        active = {worker.connection: worker for worker in self._workers if worker.job}
        now = time.monotonic()
        nearest = min((worker.deadline for worker in active.values()), default=now)
        for connection in wait(list(active), max(0.0, min(timeout_s, nearest - now))):
            if isinstance(connection, Connection):
                self._receive(active[connection])
        return self._collect(active.values())

    def _receive(self, worker: _Worker) -> None:
        with contextlib.suppress(EOFError, ConnectionResetError):
            while worker.connection.poll():
                message = worker.connection.recv()
                if message[0] == "phase":
                    worker.enter(message[1])
                else:
                    worker.result = message
                    return
            return
        worker.result = (DIED, "", f"worker ended in phase {worker.phase!r}")

    def _collect(self, workers: Iterable[_Worker]) -> list[Finished]:
        ended = []
        for worker in workers:
            result, worker.result = worker.result, None
            if result is None and time.monotonic() > worker.deadline:
                limit = worker.deadline - worker.began
                result = (TIMEOUT, "", f"not done after {limit:.0f} s in phase {worker.phase!r}")
            if result is not None:
                ended.append(self._finish(worker, result))
        return ended

    def _finish(self, worker: _Worker, result: tuple[Any, ...]) -> Finished:
        job, worker.job = worker.job, None
        assert job is not None
        seconds = time.monotonic() - worker.began
        if result[0] == DONE:
            return Finished(job, DONE, value=result[1], phase=worker.phase, seconds=seconds)
        outcome, error, message = result
        if outcome in (TIMEOUT, DIED):
            self._drop(worker)
        return Finished(
            job, outcome, phase=worker.phase, error=error, message=message, seconds=seconds
        )

    def call(self, job: Job) -> Finished:
        """Run one job and wait for it; for a pool that has nothing else to do."""
        self.submit(job)
        while True:
            for finished in self.poll(1.0):
                return finished

    def _drop(self, worker: _Worker) -> None:
        worker.kill()
        self._workers.remove(worker)

    def close(self) -> None:
        """Kill all workers."""
        for worker in list(self._workers):
            self._drop(worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
