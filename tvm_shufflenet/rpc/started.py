"""Boards that were started to stay: what runs for them, so that it can be found and ended.

``boards --start`` and ``--setup`` return while tracker, server or tunnel go on running; one JSON
file a board in the user's state folder remembers them. A process is known by its id and the time
it started, so that a stale file never ends a stranger.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tvm_shufflenet.errors import BoardUnreachable
from tvm_shufflenet.rpc.processes import READY
from tvm_shufflenet.rpc.tracker import Address, ask

FOLDER_VARIABLE = "TVM_SHUFFLENET_STATE"  # environment: another folder than the user's
_GOODBYE = re.compile(r"(Shared c|C)onnection to \S+ closed\.")
_POLL_S = 0.1
_END_LIMIT_S = 5.0


@dataclass(frozen=True)
class Running:
    """A process that leads its own group."""

    role: str  # "tracker", "server" or "tunnel"
    pid: int
    created: float  # seconds since the epoch, as psutil says

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        import psutil

        try:
            process = psutil.Process(self.pid)
            zombie = process.status() == psutil.STATUS_ZOMBIE
            return bool(process.create_time() == self.created and not zombie)
        except psutil.Error:
            return False

    def end(self) -> None:
        """End the process and its group; harmless if it is gone."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + _END_LIMIT_S
            if not self.alive:
                return
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, sign)
            while self.alive and time.monotonic() < deadline:
                time.sleep(_POLL_S)


@dataclass(frozen=True, kw_only=True)
class Started:
    """What runs here for one board."""

    board: str
    key: str  # under which its server registers
    tracker: str  # HOST:PORT
    host: str = ""  # user@host of a board over SSH
    port: int = 0  # on our loopback, by which the board's server is reached
    log: str = ""  # file that the processes write to
    processes: tuple[Running, ...] = ()

    @property
    def alive(self) -> bool:
        """Whether everything that was started still runs."""
        return bool(self.processes) and all(process.alive for process in self.processes)


def state_folder() -> Path:
    """Return the folder of the state files and logs; it exists."""
    override = os.environ.get(FOLDER_VARIABLE)
    if override:
        folder = Path(override)
    else:
        from platformdirs import user_state_path

        folder = user_state_path("tvm-shufflenet") / "boards"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def find(name: str) -> Started | None:
    """Return what was started for the board `name`, running or not; None if nothing was."""
    try:
        raw = json.loads((state_folder() / f"{name}.json").read_text(encoding="utf-8"))
        processes = tuple(Running(**process) for process in raw.pop("processes"))
        return Started(**raw, processes=processes)
    except (OSError, ValueError, TypeError, KeyError):
        return None  # none, or of another version: it is written anew


def remember(started: Started) -> None:
    """Write the state file of a board, whole or not at all."""
    file = state_folder() / f"{started.board}.json"
    draft = file.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(dataclasses.asdict(started), indent=1), encoding="utf-8")
    draft.replace(file)


def end(started: Started) -> None:
    """End what runs for a board and forget it."""
    for process in reversed(started.processes):
        process.end()
    (state_folder() / f"{started.board}.json").unlink(missing_ok=True)


def spawn(
    role: str,
    command: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 120.0,
) -> tuple[Running, str]:
    """Start `command` detached from this process; wait for its line that begins with "ready".

    Returns:
        The process and that line.

    Raises:
        BoardUnreachable: if it ends or stays silent for `timeout_s`; it is then gone.
    """
    import psutil

    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        begin = output.tell()
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    running = Running(role, process.pid, psutil.Process(process.pid).create_time())
    try:
        line = _wait_for_line(process, role, log, begin, timeout_s)
    except BaseException:
        running.end()
        process.wait()
        raise
    return running, line


def _wait_for_line(
    process: subprocess.Popen[bytes], role: str, log: Path, begin: int, timeout_s: float
) -> str:
    deadline = time.monotonic() + timeout_s
    while True:
        ended = process.poll() is not None
        text = log.read_bytes()[begin:].decode("utf-8", "replace")
        for line in text.splitlines(keepends=True):
            if line.startswith(READY) and line.endswith("\n"):
                return line.strip()
        if ended or time.monotonic() > deadline:
            # OpenSSH says goodbye after the line that tells why.
            said = [line for line in text.splitlines() if line.strip() and not _GOODBYE.match(line)]
            last = said[-1].strip() if said else "it said nothing"
            what = "ended" if ended else f"was not ready within {timeout_s:g} s"
            raise BoardUnreachable(f"the {role} {what}: {last[:300]}; see {log}")
        time.sleep(_POLL_S)


def ensure_tracker(address: Address, log: Path) -> Running | None:
    """Start a tracker at `address` unless one answers there; return it if it was started.

    Raises:
        BoardUnreachable: if something else listens there.
    """
    with contextlib.suppress(BoardUnreachable):
        ask(address)
        return None
    command = [sys.executable, "-m", "tvm_shufflenet.rpc.tracker"]
    command += ["--host", address.host, "--port", str(address.port)]
    return spawn("tracker", command, log=log)[0]
