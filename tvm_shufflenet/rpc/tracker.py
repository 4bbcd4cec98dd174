"""The RPC tracker: where servers register under a key and tuners ask for one.

``python -m tvm_shufflenet.rpc.tracker [--host H] [--port P]`` runs one; `tracker` starts it as a
child process; `ask` says what a running one knows. It is TVM's own tracker behind all three.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import socket
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tvm_shufflenet.errors import BoardUnreachable, InputError
from tvm_shufflenet.rpc.processes import READY, Service, die_with_parent

LOOPBACK = "127.0.0.1"  # not "localhost", which may resolve to IPv6
DEFAULT_PORT = 9190
_MAGIC = 0x2F271  # tvm/rpc/base.py: RPC_TRACKER_MAGIC
_SUMMARY = 6  # TrackerCode.SUMMARY
_SUCCESS = 0
_MAX_REPLY_BYTES = 1 << 24


class Address(NamedTuple):
    """Where something listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str, default_port: int = DEFAULT_PORT) -> Address:
        """Read ``HOST[:PORT]``.

        Raises:
            InputError: if it is neither.
        """
        found = re.fullmatch(r"([^\s:]+|\[[0-9a-fA-F:]+\])(?::(\d{1,5}))?", text)
        if found is None or not 0 < (port := int(found[2] or default_port)) < 65536:
            raise InputError(f"{text!r} is not an address; write HOST or HOST:PORT")
        host = found[1].strip("[]")
        return cls(LOOPBACK if host == "localhost" else host, port)


@dataclass(frozen=True, kw_only=True)
class TrackerState:
    """What a tracker knows at one moment."""

    servers: dict[str, tuple[str, ...]]  # key -> addresses of the servers registered under it
    free: dict[str, int]  # key -> servers waiting for work
    pending: dict[str, int]  # key -> requests waiting for a server


def tracker(*, host: str = LOOPBACK, port: int = 0, log: Path | None = None) -> Service:
    """Return a tracker, not yet started, on `port` (0: a free one); its address is ``.address``."""
    arguments = ["--host", host, "--port", str(port)]
    return Service("tvm_shufflenet.rpc.tracker", arguments, log=log)


def ask(address: Address, timeout_s: float = 5.0) -> TrackerState:
    """Return what the tracker at `address` knows.

    Raises:
        BoardUnreachable: if nothing answers there, or it is no TVM tracker.
    """
    try:
        with socket.create_connection(address, timeout=timeout_s) as connection:
            connection.sendall(struct.pack("<i", _MAGIC))
            if struct.unpack("<i", _receive(connection, 4))[0] != _MAGIC:
                raise BoardUnreachable(f"what listens at {address} is not a TVM RPC tracker")
            body = json.dumps([_SUMMARY]).encode()
            connection.sendall(struct.pack("<i", len(body)) + body)
            size = struct.unpack("<i", _receive(connection, 4))[0]
            if not 0 < size <= _MAX_REPLY_BYTES:
                raise BoardUnreachable(f"the tracker at {address} sent an impossible answer")
            code, summary = json.loads(_receive(connection, size))
    except (OSError, ValueError) as error:
        raise BoardUnreachable(
            f"no tracker answers at {address} ({error}); start one with "
            "'python -m tvm_shufflenet.rpc.tracker' or give another --tracker"
        ) from error
    if code != _SUCCESS:
        raise BoardUnreachable(f"the tracker at {address} refused to list its servers")
    return _state(summary)


def _receive(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = connection.recv(min(size - len(data), 1 << 16))
        if not chunk:
            raise OSError("connection closed")
        data += chunk
    return bytes(data)


def _state(summary: dict[str, Any]) -> TrackerState:
    servers: dict[str, tuple[str, ...]] = {}
    for entry in summary["server_info"]:
        key = entry["key"].removeprefix("server:")
        host, port = entry["addr"]
        servers[key] = (*servers.get(key, ()), f"{host}:{port}")
    queues = summary["queue_info"]
    return TrackerState(
        servers=servers,
        free={key: queue["free"] for key, queue in queues.items()},
        pending={key: queue["pending"] for key, queue in queues.items()},
    )


def main(arguments: list[str] | None = None) -> None:
    """Run a tracker in this process until it is ended."""
    parser = argparse.ArgumentParser(prog="python -m tvm_shufflenet.rpc.tracker")
    parser.add_argument("--host", default=LOOPBACK, help="address to listen on")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0: a free port")
    options = parser.parse_args(arguments)
    die_with_parent()
    warn_if_exposed(options.host)
    from tvm.rpc import tracker as tvm_tracker

    tvm_tracker.logger.setLevel(logging.WARNING)
    listener = listen(options.host, options.port)
    announce(listener)
    tvm_tracker._tracker_server(listener, "")


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; a port in TIME_WAIT can be taken over by a restarted service."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(64)
    return listener


def announce(listener: socket.socket) -> None:
    """Tell whoever started this process that it listens, and where."""
    host, port = listener.getsockname()[:2]
    sys.stdout.write(f"{READY} {host} {port}\n")
    sys.stdout.flush()


def warn_if_exposed(host: str) -> None:
    """Warn on stderr when `host` is reachable from other machines."""
    if not (host.startswith("127.") or host == "::1"):
        sys.stderr.write(
            f"warning: listening on {host}: TVM RPC has no authentication, whoever reaches "
            "this port can run code here; prefer 127.0.0.1 and an SSH tunnel\n"
        )


if __name__ == "__main__":
    main()
