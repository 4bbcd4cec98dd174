"""Calls that come between measurements: probing the board, references, whole networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm_shufflenet.boards import Board
from tvm_shufflenet.errors import BoardUnreachable, ToolchainError
from tvm_shufflenet.rpc.session import Link, wait_for
from tvm_shufflenet.tuning import kernel_times, latency, measure, reference
from tvm_shufflenet.tuning.kernel_times import KernelTimes
from tvm_shufflenet.tuning.pool import DONE, Finished, Job, Pool
from tvm_shufflenet.tuning.work import UPLOAD_BYTES_PER_S, Subject, line

_GRACE_S = 5.0
_REFERENCE_LIMIT_S = 600.0


@dataclass
class Calls:
    """One worker that is asked and waited for."""

    board: Board
    link: Link
    threads: int
    pool: Pool  # of one

    def close(self) -> None:
        """End the worker."""
        self.pool.close()

    def prepare(self, subject: Subject, scratch: Path, seed: int) -> None:
        """Compute the inputs and the expected output of a task.

        Raises:
            ToolchainError: if the reference cannot be computed.
        """
        path = scratch / f"reference{len(list(scratch.glob('reference*')))}.npz"
        job = reference.ReferenceJob(
            tuner=subject.tuner,
            line=line(subject.example),
            registry=subject.registry,
            output=str(path),
            seed=seed,
        )
        done = self.pool.call(Job(reference.FUNCTION, (job,), {"start": _REFERENCE_LIMIT_S}))
        if done.outcome != DONE:
            raise ToolchainError(
                f"cannot compute what task {subject.name} should give ({done.message}); "
                "leave it out with --tasks"
            )
        subject.data, subject.reference = str(path), done.value

    def network_s(self, library: Path) -> float:
        """Return the measured cost of a network's library, see `Record.costs_s`.

        Raises:
            BoardUnreachable: if the board is lost meanwhile.
        """
        done = self._run_networks(latency.FUNCTION, library)
        if done.outcome != DONE:
            raise BoardUnreachable(
                f"the tuned network could not be timed on {self.board.name} ({done.message}); "
                "the log is complete"
            )
        seconds: float = done.value
        return seconds

    def kernel_times(self, *libraries: Path) -> tuple[KernelTimes, ...]:
        """Return the time of every kernel of each network inside it, measured in turns.

        Raises:
            BoardUnreachable: if the board is lost, has too little memory, or its TVM has no
                debug executor.
        """
        done = self._run_networks(kernel_times.FUNCTION, *libraries)
        if done.outcome != DONE:
            raise BoardUnreachable(done.message)
        times: tuple[KernelTimes, ...] = done.value
        return times

    def _run_networks(self, function: str, *libraries: Path) -> Finished:
        upload_s = sum(library.stat().st_size for library in libraries) / UPLOAD_BYTES_PER_S
        session_s = 2.0 * self.board.rpc.session_timeout_s + upload_s
        job = latency.NetworkJob(
            link=self.link,
            libraries=tuple(map(str, libraries)),
            session_s=session_s,
            threads=self.threads,
            cores=self.board.run.core_mask,
            options=self.board.measure,
        )
        limits = {"connect": session_s, "run": session_s + _GRACE_S}
        return self.pool.call(Job(function, (job,), limits))

    def probe(self, register_s: float) -> dict[str, Any]:
        """Open a session and return what the board says of itself.

        Raises:
            BoardUnreachable: if it does not answer.
        """
        wait_for(self.link, register_s)
        session_s = float(self.board.rpc.session_timeout_s)
        limits = {"start": 20.0, "connect": session_s, "run": 20.0}
        done = self.pool.call(Job(measure.PROBE, (self.link, session_s), limits))
        if done.outcome != DONE:
            raise BoardUnreachable(done.message)
        description: dict[str, Any] = done.value
        return description
