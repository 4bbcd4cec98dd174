"""The emulated board: a real TVM RPC server inside the guest, whose evaluator counts."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tvm_shufflenet.boards import Board
from tvm_shufflenet.emulator import root
from tvm_shufflenet.emulator.guest.evaluator import COUNTS
from tvm_shufflenet.emulator.system import Guest, guest, silent
from tvm_shufflenet.errors import BoardError
from tvm_shufflenet.rpc.processes import Service
from tvm_shufflenet.rpc.tracker import LOOPBACK, Address

SERVER = "tvm_shufflenet.rpc.server"
_EVALUATOR = "tvm_shufflenet.emulator.guest.evaluator:install"
START_LIMIT_S = 120.0  # importing TVM takes 10 s in the guest, more on a busy host


def board_guest(board: Board, *, report: root.Report = silent) -> Guest:
    """Return the guest that stands in for `board`, preparing it if needed.

    Raises:
        BoardError: if `board` is a real one.
        ToolchainError: if something that the emulator needs is missing.
    """
    if not board.emulator:
        raise BoardError(
            f"{board.name} is a real board; the emulated ones are qemu-cortex-a72 and "
            "qemu-cortex-a53"
        )
    return guest(board.cpu.name, report=report)


def server_arguments(board: Board, tracker: Address | None, port: int = 0) -> list[str]:
    """Return the arguments of the guest's RPC server."""
    arguments = ["--host", LOOPBACK, "--port", str(port), "--key", board.rpc.key]
    if tracker is not None:
        arguments += ["--tracker", str(tracker)]
    return [*arguments, "--init", _EVALUATOR]


def server(
    board: Board,
    *,
    tracker: Address | None = None,
    log: Path | None = None,
    report: root.Report = silent,
) -> Service:
    """Return the emulated board's RPC server, not yet started; start it with `START_LIMIT_S`.

    It registers at `tracker` under the board's key; without one it is reached directly. Counts
    of its sessions go to a temporary folder that ends with this process.

    Raises:
        BoardError: if `board` is a real one.
        ToolchainError: if something that the emulator needs is missing.
    """
    system = board_guest(board, report=report)
    counts = Path(tempfile.mkdtemp(prefix="tvm-shufflenet-counts-")) / "session"
    return Service(
        SERVER,
        server_arguments(board, tracker),
        log=log,
        python=python_command(system, counts),
        environment=server_environment(system, counts),
    )


def python_command(system: Guest, counts: Path) -> list[str]:
    """Return the host command of a guest Python whose sessions are counted into `counts`.*."""
    return system.command([], count_to=counts, caches=True)


def server_environment(system: Guest, counts: Path) -> dict[str, str]:
    """Return the environment of the guest's RPC server."""
    return {**system.environment(), COUNTS: str(counts)}
