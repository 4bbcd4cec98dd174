"""Sets a board up over SSH, starts its server behind a tunnel, and ends both."""

from __future__ import annotations

import hashlib
import shlex
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

from tvm_shufflenet.boards import Board
from tvm_shufflenet.errors import BoardError, BoardUnreachable
from tvm_shufflenet.rpc import ssh, started
from tvm_shufflenet.rpc.session import Link, wait_for
from tvm_shufflenet.rpc.tracker import LOOPBACK, Address
from tvm_shufflenet.rpc.wheel import write_wheel

_INSTALL_LIMIT_S = 1800.0  # a Raspberry Pi on a slow line
_START_LIMIT_S = 120.0
_TRIES = 3  # to find ports that are free on both sides
_KEEP_ALIVE = ("-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4")

Report = Callable[[str], None]

# $1: interpreter, $2: name of the wheel, $3: its digest
_INSTALL = """\
set -e
cd "$HOME"
mkdir -p {folder}
cd {folder}
cat > "$2"
if [ "$(cat installed 2>/dev/null)" = "$3" ] && [ -x venv/bin/python ]; then rm -f "$2"; exit 0; fi
rm -rf venv installed
"$1" -m venv venv >&2 || {{ rm -rf venv; echo "$1 cannot make a virtual environment; on Debian \
install python3-venv" >&2; exit 1; }}
venv/bin/python -m pip install -q --no-input --disable-pip-version-check "./$2" >&2
rm -f "$2"
echo "$3" > installed
"""

# $1: key, $2: port, $3: tracker, $4: port of the tunnel here. The terminal that ssh asks for ends
# the server with the tunnel.
_SERVE = """\
cd "$HOME/{folder}" || exit 1
[ -f "server-$1.pid" ] && kill "$(cat "server-$1.pid")" 2>/dev/null
echo $$ > "server-$1.pid"
exec env TVM_USE_RUNTIME_LIB=1 venv/bin/python -m tvm_shufflenet.rpc.server --host {loopback} \
--port "$2" --key "$1" --tracker "$3" --announce-as {loopback} --announce-port "$4"
"""

_END = """\
cd "$HOME/{folder}" 2>/dev/null || exit 0
[ -f "server-$1.pid" ] && kill "$(cat "server-$1.pid")" 2>/dev/null
rm -f "server-$1.pid"
"""


def set_up(host: str, board: Board, tracker: Address, report: Report) -> started.Started:
    """Install this package on `host` as `board`, start its server and register it at `tracker`.

    Raises:
        BoardUnreachable: if SSH fails.
        BoardError: if the machine does not fit the board, or a step fails there.
    """
    report(f"looking at {host}")
    found = ssh.probe(host)
    ssh.check_fit(found, board, host)
    report(f"installing the runtime on {host}; the first time takes minutes")
    with tempfile.TemporaryDirectory(prefix="tvm-shufflenet-wheel-") as folder:
        wheel = write_wheel(Path(folder))
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        script = _script(_INSTALL, found.python, wheel.name, digest)
        ssh.run(host, script, timeout_s=_INSTALL_LIMIT_S, send=wheel)
    return start(host, board, tracker, report)


def start(host: str, board: Board, tracker: Address, report: Report) -> started.Started:
    """Start the server of a board that was set up before, behind a tunnel.

    Raises:
        BoardUnreachable: if SSH fails, the server does not come up or does not register.
    """
    running = started.find(board.name)
    if running is not None:
        stop(running)
    log = started.state_folder() / f"{board.name}.log"
    processes = []
    report(f"starting an RPC server on {host}")
    try:
        own_tracker = started.ensure_tracker(tracker, log)
        if own_tracker is not None:
            processes.append(own_tracker)
        tunnel, port = _open_tunnel(host, board, tracker, log)
        processes.append(tunnel)
        wait_for(Link(address=tracker, key=board.rpc.key), board.rpc.connect_timeout_s)
    except BaseException:
        for process in reversed(processes):
            process.end()
        raise
    result = started.Started(
        board=board.name,
        key=board.rpc.key,
        tracker=str(tracker),
        host=host,
        port=port,
        log=str(log),
        processes=tuple(processes),
    )
    started.remember(result)
    return result


def stop(running: started.Started) -> None:
    """End the server on the board, the tunnel, and the tracker if it was started for it.

    What was installed stays; ``rm -r ~/.local/share/tvm-shufflenet`` on the board removes it.

    Raises:
        BoardUnreachable: if the board cannot be told; everything here is ended all the same.
    """
    started.end(running)
    if running.host:
        ssh.run(running.host, _script(_END, running.key))


def _open_tunnel(
    host: str, board: Board, tracker: Address, log: Path
) -> tuple[started.Running, int]:
    """Start ssh with the server as its command; retry where a port was taken on either side."""
    for attempt in range(_TRIES):
        port, there, back = _free_port(), _free_port(), _free_port()
        command = ssh.client("-tt", "-o", "ExitOnForwardFailure=yes", *_KEEP_ALIVE)
        command += ["-L", f"{LOOPBACK}:{port}:{LOOPBACK}:{there}"]
        command += ["-R", f"{LOOPBACK}:{back}:{tracker.host}:{tracker.port}", host]
        ports = (str(there), f"{LOOPBACK}:{back}", str(port))
        command += [_script(_SERVE, board.rpc.key, *ports)]
        try:
            running, _ = started.spawn("tunnel", command, log=log, timeout_s=_START_LIMIT_S)
        except BoardUnreachable as error:
            taken = "forward" in str(error) or "in use" in str(error)
            if not taken or attempt == _TRIES - 1:
                raise
        else:
            return running, port
    raise BoardUnreachable(f"no port is free on both sides of the tunnel to {host}")


def _script(template: str, *arguments: str) -> str:
    """Return a shell command with `arguments` as $1, $2, ...; safe for any shell over there."""
    text = template.format(folder=ssh.FOLDER, loopback=LOOPBACK)
    quoted = " ".join(shlex.quote(argument) for argument in arguments)
    return f"sh -c {shlex.quote(text)} tvm-shufflenet {quoted}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def restart(board: Board, tracker: Address, report: Report) -> started.Started:
    """Start the server of a board again that ``--setup`` once prepared.

    Raises:
        BoardError: if it never was.
        BoardUnreachable: if SSH fails or the server does not come up.
    """
    known = started.find(board.name)
    if known is None or not known.host:
        raise BoardError(
            f"{board.name} was not set up from here; "
            f"do so: tvm-shufflenet boards --setup user@host --as {board.name}"
        )
    return start(known.host, board, tracker, report)
