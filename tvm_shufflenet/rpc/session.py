"""Sessions: a connection to a board, through a tracker or directly."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from tvm_shufflenet.boards import Board
from tvm_shufflenet.errors import BoardUnreachable, ToolchainError
from tvm_shufflenet.rpc import started
from tvm_shufflenet.rpc.server import DEFAULT_PORT as SERVER_PORT
from tvm_shufflenet.rpc.server import DESCRIBE, PIN
from tvm_shufflenet.rpc.tracker import LOOPBACK, Address, ask

_PRESENT_S = 5.0  # within which a server that lost its tracker registers again
_POLL_S = 0.3
_BIG_CORES = 1  # thread_pool.cc, config_threadpool: TVM's own order, fastest cores first


@dataclass(frozen=True, kw_only=True)
class Link:
    """How a board is reached; picklable, so worker processes can connect by themselves."""

    address: Address  # the tracker's, or the server's own if `direct`
    key: str  # key that the board's servers register under
    direct: bool = False  # no tracker in between

    def __str__(self) -> str:
        return f"{self.key!r} at {self.address}" + ("" if self.direct else " (tracker)")


def connect(link: Link, *, timeout_s: float, priority: int = 1) -> Any:
    """Open a session that the server ends by itself after `timeout_s`; returns an RPCSession.

    Blocks while all servers of the key are busy, so call it where it can be given up.

    Raises:
        BoardUnreachable: if the tracker or the server refuses, or no server of the key is there.
    """
    import tvm
    from tvm import rpc

    seconds = max(1, round(timeout_s))
    try:
        if link.direct:
            return rpc.connect(*link.address, link.key, session_timeout=seconds)
        # TVM's client retries a tracker for a minute, and waits for a server that went away as
        # long as for a busy one; we want to know now.
        wait_for(link, _PRESENT_S)
        tracker = rpc.connect_tracker(*link.address)
        return tracker.request(link.key, priority=priority, session_timeout=seconds, max_retry=1)
    except (OSError, RuntimeError, tvm.error.TVMError) as error:
        first = str(error).strip().splitlines() or [type(error).__name__]
        raise BoardUnreachable(f"cannot open a session on {link}: {first[-1][:200]}") from error


def set_threads(session: Any, threads: int, cores: tuple[int, ...] = ()) -> None:
    """Run kernels on `threads` threads of `cores` (empty: all) as a deployed package does.

    Raises:
        ToolchainError: if cores are given and the server is not ours: TVM's cannot pin over RPC.
    """
    try:
        pin = session.get_function(PIN)
    except AttributeError:  # TVM's own server
        if cores:
            raise ToolchainError(
                "the board's server cannot pin threads to cores; start it there with "
                "'python -m tvm_shufflenet.rpc.server'"
            ) from None
        session.get_function("runtime.config_threadpool")(_BIG_CORES, threads)
        return
    pin(threads, ",".join(str(core) for core in cores))


def open_graph(session: Any, library: str | bytearray, name: str) -> Any:
    """Send a package's library, a file or its bytes, as `name`; return its graph, loaded there.

    Raises:
        tvm.error.TVMError: if the board cannot load it.
    """
    from tvm.contrib import graph_executor

    session.upload(library, target=name)
    return graph_executor.GraphModule(session.load_module(name)["default"](session.cpu(0)))


def describe(session: Any) -> dict[str, Any]:
    """Return what the board says of itself; empty if its server is not ours."""
    try:
        answer: dict[str, Any] = json.loads(session.get_function(DESCRIBE)())
    except AttributeError:  # TVM's own server has no such function
        return {}
    return answer


def check_version(description: dict[str, Any], link: Link) -> None:
    """Compare the TVM on the board with ours.

    Raises:
        ToolchainError: if they differ: the runtimes then disagree about what they exchange.
    """
    import tvm

    theirs = description.get("tvm", tvm.__version__)
    if theirs != tvm.__version__:
        raise ToolchainError(
            f"{link} runs TVM {theirs} and this machine {tvm.__version__}; install "
            f"xtc-tvm-python-bindings of the same version on both"
        )


def wait_for(link: Link, timeout_s: float) -> int:
    """Wait until a server of the key is registered; return how many there are.

    Raises:
        BoardUnreachable: if no tracker answers, or after `timeout_s`, saying what it does have.
    """
    if link.direct:
        return 1
    deadline = time.monotonic() + timeout_s
    while True:
        state = ask(link.address)
        if count := len(state.servers.get(link.key, ())):
            return count
        left = deadline - time.monotonic()
        if left <= 0:
            known = ", ".join(sorted(state.servers)) or "no server at all"
            raise BoardUnreachable(
                f"no server registered as {link.key!r} at the tracker {link.address} within "
                f"{timeout_s:g} s; it has: {known}"
            )
        time.sleep(min(_POLL_S, left))


def link_to(board: Board, *, tracker: str = "", host: str = "", key: str = "") -> Link:
    """Return the link to `board` through a tracker ("HOST:PORT") or to a server ("HOST:PORT").

    Without either, it is the tracker that ``boards --start`` or ``--setup`` started the board at,
    else one at the usual port of this machine.

    Raises:
        InputError: if the address is none.
    """
    key = key or board.rpc.key
    if host:
        return Link(address=Address.parse(host, SERVER_PORT), key=key, direct=True)
    if not tracker:
        running = started.find(board.name)
        tracker = running.tracker if running else LOOPBACK
    return Link(address=Address.parse(tracker), key=key)
