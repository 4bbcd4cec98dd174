"""The RPC server: runs on the board and measures kernels; one session process a client.

``python -m tvm_shufflenet.rpc.server --tracker HOST:PORT --key KEY`` runs one; `server` starts it
as a child process. Unlike TVM's own launcher it goes on serving after a kernel has crashed its
session, and it answers what machine it is (`DESCRIBE`). It needs only TVM's runtime.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

from tvm_shufflenet.rpc.processes import Service, die_with_parent
from tvm_shufflenet.rpc.tracker import LOOPBACK, Address, announce, listen, warn_if_exposed

DEFAULT_PORT = 9090
DESCRIBE = "tvm_shufflenet.describe"  # packed function: () -> JSON text of `describe()`
PIN = "tvm_shufflenet.pin"  # packed function: (threads, "0,1,..." or "": all cores) -> None
_GOVERNOR = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
_FREQUENCY = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"
_TEMPERATURE = "/sys/class/thermal/thermal_zone0/temp"


def server(
    *,
    key: str,
    tracker: Address | None = None,
    host: str = LOOPBACK,
    port: int = 0,
    init: str = "",
    log: Path | None = None,
) -> Service:
    """Return a server, not yet started, that registers at `tracker` under `key`.

    Without a tracker it is reached directly. `init` names a function ``module:function`` that the
    server process calls before it listens, for example to replace TVM's time evaluator.
    """
    arguments = ["--host", host, "--port", str(port), "--key", key]
    if tracker is not None:
        arguments += ["--tracker", str(tracker)]
    if init:
        arguments += ["--init", init]
    return Service("tvm_shufflenet.rpc.server", arguments, log=log)


def describe() -> dict[str, Any]:
    """Return what this machine is and how it is clocked; what cannot be read is None."""
    import tvm

    from tvm_shufflenet.runtime.cpu import architecture_here, features_here, glibc_here

    frequency, temperature = _read(_FREQUENCY), _read(_TEMPERATURE)
    return {
        "tvm": tvm.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "arch": architecture_here(),
        "glibc": glibc_here(),
        "cpu": _cpu_name(),
        "cpu_parts": _cpu_parts(),
        "features": sorted(features_here()),
        "cores": os.cpu_count(),
        "free_memory_bytes": _free_memory_bytes(),
        "governor": _read(_GOVERNOR),
        "frequency_mhz": round(int(frequency) / 1000) if frequency else None,
        "temperature_c": round(int(temperature) / 1000, 1) if temperature else None,
    }


def pin(threads: int, cores: str) -> None:
    """Run kernels on `threads` threads of `cores` ("0,1"), as a deployed package does.

    RPC cannot carry a list. TVM's own way to set one thread goes through its pool of workers all
    the same, at several microseconds a kernel.
    """
    import tvm

    from tvm_shufflenet.runtime.threads import configure

    wanted = [int(core) for core in cores.split(",") if core] or sorted(os.sched_getaffinity(0))
    configure(threads, tuple(wanted), tvm.get_global_func)


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _cpu_name() -> str | None:
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model", "Hardware"):
            return value.strip()
    return platform.processor() or None


def _cpu_parts() -> list[str]:
    """Return Arm's part number of every processor, in Linux's order; empty elsewhere."""
    lines = (_read("/proc/cpuinfo") or "").splitlines()
    return [line.partition(":")[2].strip() for line in lines if line.startswith("CPU part")]


def _free_memory_bytes() -> int | None:
    for line in (_read("/proc/meminfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    return None


def main(arguments: list[str] | None = None) -> None:
    """Serve in this process until it is ended."""
    parser = argparse.ArgumentParser(prog="python -m tvm_shufflenet.rpc.server")
    parser.add_argument("--host", default=LOOPBACK, help="address to listen on")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0: a free port")
    parser.add_argument("--key", required=True, help="key to register under")
    parser.add_argument("--tracker", default="", help="HOST:PORT; none: reached directly")
    parser.add_argument("--announce-as", default="", help="address the tracker shall give out")
    parser.add_argument("--init", default="", help="module:function to call before serving")
    parser.add_argument(
        "--announce-port", type=int, default=0, help="port the tracker shall give out, of a tunnel"
    )
    options = parser.parse_args(arguments)
    die_with_parent()
    warn_if_exposed(options.host)
    import tvm
    from tvm.rpc import server as tvm_server

    tvm_server.logger.setLevel(logging.ERROR)
    tvm._ffi.register_func(DESCRIBE, lambda: json.dumps(describe()), override=True)
    tvm._ffi.register_func(PIN, pin, override=True)
    if options.init:
        module, _, function = options.init.partition(":")
        getattr(importlib.import_module(module), function)()
    listener = listen(options.host, options.port)
    announce(listener)
    _serve(tvm_server, listener, options)


def _serve(tvm_server: Any, listener: Any, options: argparse.Namespace) -> None:
    """Serve one session after the other; a session that crashed must not end the server."""
    home = tempfile.gettempdir()
    tracker = tuple(Address.parse(options.tracker)) if options.tracker else None
    port = options.announce_port or listener.getsockname()[1]
    while True:
        os.chdir(home)  # TVM leaves us in the removed folder of a session that crashed
        try:
            tvm_server._listen_loop(
                listener, port, options.key, tracker, "", options.announce_as or None
            )
        except (RuntimeError, AssertionError) as error:
            sys.stderr.write(f"session lost: {error}\n")


if __name__ == "__main__":
    main()
