"""A runtime in a process of its own, as a contestant: started, asked, stopped between turns."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from functools import cache
from types import TracebackType
from typing import Any

from tvm_shufflenet.benchmark.environment import usable_cores
from tvm_shufflenet.benchmark.export import Export
from tvm_shufflenet.benchmark.interleave import Burst, ContestantFailed
from tvm_shufflenet.benchmark.runners import Setup, card
from tvm_shufflenet.benchmark.verify import Difference

PREPARE_LIMIT_S = 900.0
LOAD_LIMIT_S = 300.0
RUN_LIMIT_S = 300.0
_CHUNK_BYTES = 1 << 16


@cache
def prepare(runner: str, export: Export) -> None:
    """Convert or compile for `runner` in a process that ends afterwards; once is enough.

    Raises:
        ContestantFailed: if that does not work.
    """
    with Worker(runner, Setup(export, usable_cores()), compiler=True) as worker:
        worker.ask("prepare", PREPARE_LIMIT_S)


def environment(runner: str, threads: int, *, compiler: bool) -> dict[str, str]:
    """Return the environment of a worker: the thread count, in every library's words."""
    count = str(threads)
    changed = {
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "TVM_NUM_THREADS": count,
        "TOPHUB_LOCATION": "NONE",
    }
    inherited = {key: value for key, value in os.environ.items() if key != "TVM_USE_RUNTIME_LIB"}
    if card(runner).runtime_only and not compiler:
        changed["TVM_USE_RUNTIME_LIB"] = "1"
    return {**inherited, **changed}


class Worker:
    """One worker process; a context manager, so that it never outlives its use."""

    def __init__(self, runner: str, setup: Setup, *, compiler: bool = False) -> None:
        self._buffer = b""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tvm_shufflenet.benchmark.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment(runner, setup.threads, compiler=compiler),
            start_new_session=True,  # Ctrl-C is the parent's to handle
        )
        export = setup.export
        try:
            self.ask(
                "open",
                LOAD_LIMIT_S,
                module=card(runner).module,
                network=export.network,
                height=export.height,
                width=export.width,
                folder=str(export.folder),
                threads=setup.threads,
                package=str(setup.package) if setup.package else None,
            )
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def load(self) -> None:
        """Load the network.

        Raises:
            ContestantFailed: if the runtime cannot.
        """
        self.ask("load", LOAD_LIMIT_S)

    def check(self) -> Difference:
        """Return how far the outputs are from PyTorch's."""
        reply = self.ask("check", RUN_LIMIT_S)
        return Difference(reply["of_scale"], reply["strict"], reply["reason"])

    def run(self, warmup: int, number: int) -> Burst:
        """Time `number` inferences after `warmup` others."""
        reply = self.ask("run", RUN_LIMIT_S, warmup=warmup, number=number)
        return Burst(tuple(reply["warmup_s"]), tuple(reply["seconds"]))

    def resume(self) -> None:
        """Let the process run again."""
        self._signal(signal.SIGCONT)

    def pause(self) -> None:
        """Stop the process with all its threads, whatever they spin on."""
        self._signal(signal.SIGSTOP)

    def close(self) -> None:
        """End the process; there is nothing in it to save."""
        self._signal(signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            if pipe is not None:
                pipe.close()

    def ask(self, action: str, limit_s: float, **arguments: Any) -> dict[str, Any]:
        """Send a request and wait up to `limit_s` seconds for the reply.

        Raises:
            ContestantFailed: if the worker says no, dies, or stays silent.
        """
        assert self._process.stdin is not None
        message = json.dumps({"do": action, **arguments}) + "\n"
        try:
            self._process.stdin.write(message.encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            raise ContestantFailed(self._last_words()) from None
        reply: dict[str, Any] = json.loads(self._read_line(action, limit_s))
        if not reply.pop("ok"):
            raise ContestantFailed(reply["reason"])
        return reply

    def _read_line(self, action: str, limit_s: float) -> bytes:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([descriptor], [], [], limit_s)
            if not ready:
                self._signal(signal.SIGKILL)
                raise ContestantFailed(f"no answer to {action!r} within {limit_s:.0f} s")
            chunk = os.read(descriptor, _CHUNK_BYTES)
            if not chunk:
                raise ContestantFailed(self._last_words())
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _last_words(self) -> str:
        status = self._process.wait()
        how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return f"its process died ({how}){': ' + lines[-1][:160] if lines else ''}"

    def _signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)
