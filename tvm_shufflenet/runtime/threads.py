"""Where inferences run: in the caller's thread with one worker, else in a thread of the model's.

TVM 0.19 keeps its worker pool, its limit on workers and its scratch memory per calling thread,
sizes the pool once (on x86-64 to half the CPUs), and pins the calling thread when it starts the
pool (src/runtime/thread_pool.cc, threading_backend.cc). Graph executors may be used by one thread
at a time.

A model with several workers or with cores of its own therefore has a thread of its own, which
makes all of that harmless: callers keep their affinity, calls are served in order, models do not
disturb each other's settings, the pool ends with the model, and after a fork the child simply
starts another. With one worker and no cores to keep to there is no pool to own, and the caller's
own thread saves two switches an inference.
"""

from __future__ import annotations

import os
import queue
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from tvm_shufflenet.errors import InputError

_ENDING_S = 5.0  # more than workers ever took to end
_SHARE_ALL_CORES = -3  # ThreadGroup::kSpecifyThreadShareAllCore: workers move among the cores


class _Job:
    """One call: what to run, then what came of it."""

    __slots__ = ("done", "error", "result", "work")

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work
        self.result: Any = None
        self.error: BaseException | None = None
        self.done = threading.Lock()
        self.done.acquire()


class Runner(Protocol):
    """Runs callables one after another with `threads` TVM workers on `cores`."""

    threads: int
    cores: tuple[int, ...]

    def call(self, work: Callable[[], Any]) -> Any:
        """Run `work` after all that was asked before, and return its result.

        Raises:
            InputError: if the runner is closed.
            Exception: whatever `work` raises.
        """

    def close(self) -> None:
        """Finish what was asked, then free everything. Closing twice is fine."""


def make_runner(
    threads: int, cores: tuple[int, ...], *, pinned: bool, get_function: Callable[[str], Any]
) -> Runner:
    """Return what runs a model; `pinned` if it must keep to `cores`."""
    if threads == 1 and not pinned:
        return InPlaceRunner(cores, get_function)
    return ThreadRunner(threads, cores, get_function)


class InPlaceRunner:
    """Runs callables in the thread that asks, one at a time, with one worker.

    Leaves that thread with one worker for all that it does with TVM.
    """

    threads = 1

    def __init__(self, cores: tuple[int, ...], get_function: Callable[[str], Any]) -> None:
        self.cores = cores
        self._get_function = get_function
        self._closed = False
        self._forget()
        _runners.add(self)

    def _forget(self) -> None:
        """Start from nothing: at the beginning, and in a forked child, where no caller is left."""
        self._lock = threading.Lock()

    def call(self, work: Callable[[], Any]) -> Any:
        """See `Runner.call`."""
        if not hasattr(_this_thread, "prepared"):
            mine = os.sched_getaffinity(0)
            configure(1, self.cores, self._get_function)
            os.sched_setaffinity(0, mine)
            _this_thread.prepared = True
        with self._lock:
            if self._closed:
                raise InputError("the model is closed; load it again")
            return work()

    def close(self) -> None:
        """See `Runner.close`."""
        with self._lock:
            self._closed = True


class ThreadRunner:
    """Runs callables on one thread of its own with `threads` TVM workers on `cores`."""

    def __init__(
        self, threads: int, cores: tuple[int, ...], get_function: Callable[[str], Any]
    ) -> None:
        self.threads = threads
        self.cores = cores
        self._get_function = get_function
        self._closed = False
        self._forget()
        _runners.add(self)

    def _forget(self) -> None:
        """Start from nothing: at the beginning, and in a forked child, where no thread is left."""
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def call(self, work: Callable[[], Any]) -> Any:
        """See `Runner.call`."""
        job = _Job(work)
        with self._lock:
            if self._closed:
                raise InputError("the model is closed; load it again")
            if self._thread is None:
                self._thread = threading.Thread(
                    target=_serve,
                    args=(self._jobs, self.threads, self.cores, self._get_function),
                    name="tvm-shufflenet",
                    daemon=True,  # a model that is never closed must not keep a program alive
                )
                self._thread.start()
            self._jobs.put(job)
        job.done.acquire()
        if job.error is not None:
            raise job.error
        return job.result

    def close(self) -> None:
        """See `Runner.close`."""
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
            self._jobs.put(None)
        if thread is not None and thread is not threading.current_thread():
            thread.join()
            _wait_until_gone(thread)


def _wait_until_gone(thread: threading.Thread) -> None:
    """Wait until TVM has ended the thread's workers, which happens after Python's part of it."""
    patience = time.monotonic() + _ENDING_S
    alive = Path(f"/proc/self/task/{thread.native_id}")
    while alive.exists() and time.monotonic() < patience:
        time.sleep(0.0002)


def _serve(
    jobs: queue.SimpleQueue[_Job | None],
    threads: int,
    cores: tuple[int, ...],
    get_function: Callable[[str], Any],
) -> None:
    # A function, not a method: the thread must not keep its runner from being collected.
    failure: BaseException | None = None
    try:
        configure(threads, cores, get_function)
    except BaseException as error:
        failure = error
    while (job := jobs.get()) is not None:
        try:
            if failure is not None:
                raise failure
            job.result = job.work()
        except BaseException as error:
            job.error = error
        job.done.release()
        del job  # or the last call's arrays would live until the next call


def configure(threads: int, cores: tuple[int, ...], get_function: Callable[[str], Any]) -> None:
    """Run what this thread calls with `threads` TVM workers on `cores`."""
    configure_pool = get_function("runtime.config_threadpool")
    names = [str(core) for core in cores]
    # The first call from a thread creates its pool with as many workers as it names cores;
    # with one core named, kernels run on this thread without a pool.
    configure_pool(_SHARE_ALL_CORES, threads, names[:threads])
    if threads > 1:
        configure_pool(_SHARE_ALL_CORES, threads, names)
    else:
        os.sched_setaffinity(0, cores)  # of this thread


def usable_cores(wanted: Sequence[int] | None, suggested: Sequence[int]) -> tuple[int, ...]:
    """Return the cores to run on: `wanted`, or what the package suggests and is here, or all.

    Raises:
        InputError: if a wanted core does not exist or is not ours to use.
    """
    allowed = os.sched_getaffinity(0)
    if wanted is not None:
        foreign = [core for core in wanted if core not in allowed]
        if foreign or not wanted:
            listed = ", ".join(map(str, sorted(allowed)))
            raise InputError(f"cores={list(wanted)} asked for, but this process may use {listed}")
        return tuple(dict.fromkeys(wanted))
    return tuple(core for core in suggested if core in allowed) or tuple(sorted(allowed))


def _after_fork() -> None:
    for runner in _runners:
        runner._forget()


_this_thread = threading.local()
_runners: weakref.WeakSet[InPlaceRunner | ThreadRunner] = weakref.WeakSet()
os.register_at_fork(after_in_child=_after_fork)
