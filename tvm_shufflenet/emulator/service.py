"""Starts an emulated board to stay, for ``boards --start``."""

from __future__ import annotations

from tvm_shufflenet.boards import Board
from tvm_shufflenet.emulator import board as emulated
from tvm_shufflenet.emulator import root
from tvm_shufflenet.errors import BoardError
from tvm_shufflenet.rpc import started
from tvm_shufflenet.rpc.session import Link, wait_for
from tvm_shufflenet.rpc.tracker import Address


def start(board: Board, tracker: Address, report: root.Report) -> started.Started:
    """Run the board's RPC server in the emulator and register it at `tracker`, started if needed.

    Raises:
        BoardError: if `board` is a real one, or it runs already.
        ToolchainError: if something that the emulator needs is missing.
        BoardUnreachable: if the server does not come up.
    """
    running = started.find(board.name)
    if running is not None and running.alive:
        raise BoardError(
            f"{board.name} runs already, at the tracker {running.tracker}; "
            f"end it first: tvm-shufflenet boards --stop {board.name}"
        )
    if running is not None:
        started.end(running)
    system = emulated.board_guest(board, report=report)
    folder = started.state_folder()
    log = folder / f"{board.name}.log"
    counts = folder / f"{board.name}.counts"
    processes = []
    report(f"starting an RPC server on the emulated {board.cpu.name}")
    try:
        own_tracker = started.ensure_tracker(tracker, log)
        if own_tracker is not None:
            processes.append(own_tracker)
        server, line = started.spawn(
            "server",
            [
                *emulated.python_command(system, counts),
                *("-m", emulated.SERVER),
                *emulated.server_arguments(board, tracker),
            ],
            log=log,
            environment=emulated.server_environment(system, counts),
            timeout_s=emulated.START_LIMIT_S,
        )
        processes.append(server)
        wait_for(Link(address=tracker, key=board.rpc.key), board.rpc.connect_timeout_s)
    except BaseException:
        for process in reversed(processes):
            process.end()
        raise
    found = started.Started(
        board=board.name,
        key=board.rpc.key,
        tracker=str(tracker),
        port=int(line.split()[2]),
        log=str(log),
        processes=tuple(processes),
    )
    started.remember(found)
    return found
