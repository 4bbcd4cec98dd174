"""Service processes (trackers, servers) that never outlive whoever started them.

Three nets under each other: `Service.stop` ends the whole process group, `atexit` does so when it
was forgotten, and on Linux the kernel ends the process when its parent is gone for any reason.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tvm_shufflenet.errors import BoardUnreachable

_PARENT = "TVM_SHUFFLENET_PARENT"  # environment: process id of whoever waits for us
_PR_SET_PDEATHSIG = 1
READY = "ready"  # first word of the line a service prints when it accepts connections


def die_with_parent() -> None:
    """Ask the kernel to kill this process, and those it forks, when their parent ends.

    Does nothing in a process that was not started through `Service` or off Linux.
    """
    parent = os.environ.get(_PARENT)
    if parent is None or sys.platform != "linux":
        return
    _kill_when_orphaned()
    # The request is not inherited: an RPC server's session processes have to repeat it.
    os.register_at_fork(after_in_child=_kill_when_orphaned)
    if os.getppid() != int(parent):  # it was already gone
        os._exit(0)


def _kill_when_orphaned() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def child_environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return `base` (default: ours), extended so that a child honors `die_with_parent`."""
    start = os.environ if base is None else base
    return {**start, _PARENT: str(os.getpid()), "TOPHUB_LOCATION": "NONE"}


class Service:
    """A Python module running as a process of its own, in its own process group.

    The module prints ``ready HOST PORT`` on stdout once it listens. Use as a context manager or
    call `stop`.
    """

    def __init__(
        self,
        module: str,
        arguments: list[str],
        *,
        log: Path | None = None,
        python: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`python` is the interpreter's command (default: this one), for one that is emulated."""
        self._module = module
        self._command = [*(python or (sys.executable,)), "-m", module, *arguments]
        self._environment = environment
        self._log = log
        self._process: subprocess.Popen[str] | None = None
        self.address = ("", 0)

    @property
    def pid(self) -> int:
        """Process id; 0 if it is not running."""
        return self._process.pid if self._process and self.alive else 0

    @property
    def alive(self) -> bool:
        """Whether the process is running."""
        return self._process is not None and self._process.poll() is None

    def start(self, timeout_s: float = 60.0) -> Self:
        """Start the process and wait until it listens.

        Raises:
            BoardUnreachable: if it ends or stays silent for `timeout_s`.
        """
        with contextlib.ExitStack() as stack:
            log = stack.enter_context(self._log.open("a")) if self._log else subprocess.DEVNULL
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=child_environment(self._environment),
                start_new_session=True,  # Ctrl-C is for the tuner, which then ends its services
            )
        atexit.register(self.stop)
        try:
            self.address = self._wait_until_ready(self._process, timeout_s)
        except BaseException:
            self.stop()
            raise
        return self

    def _wait_until_ready(
        self, process: subprocess.Popen[str], timeout_s: float
    ) -> tuple[str, int]:
        assert process.stdout is not None
        deadline = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while (left := deadline - time.monotonic()) > 0:
                if not selector.select(left):
                    break
                line = process.stdout.readline()
                words = line.split()
                if len(words) == 3 and words[0] == READY:
                    return words[1], int(words[2])
                if not line:
                    break
        raise BoardUnreachable(
            f"{self._module} did not start within {timeout_s:g} s"
            f"{f'; see {self._log}' if self._log else ''}"
        )

    def restart(self, timeout_s: float = 60.0) -> None:
        """End the process if it is still there and start it again."""
        self.stop()
        self.start(timeout_s)

    def stop(self) -> None:
        """End the process and all it started; harmless if it already ended."""
        atexit.unregister(self.stop)
        process, self._process = self._process, None
        if process is None:
            return
        # Session processes outlive a server that was killed, so the group is ended in any case.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout:
            process.stdout.close()

    def __enter__(self) -> Self:
        if self._process is None:
            self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
