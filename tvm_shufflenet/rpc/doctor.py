"""The doctor: walks from here to a right kernel on the board and names the first broken link."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm_shufflenet.boards import LOCAL, Board
from tvm_shufflenet.errors import (
    BoardError,
    BoardUnreachable,
    InputError,
    ToolchainError,
    TvmShufflenetError,
)
from tvm_shufflenet.rpc import session, ssh, started
from tvm_shufflenet.rpc.server import describe as describe_here
from tvm_shufflenet.rpc.tracker import Address, ask

GOOD, WARNING, BROKEN = "good", "warning", "broken"
_SESSION_LIMIT_S = 120.0
_HOT_C = 80.0  # Raspberry Pi and Jetson begin to clock down here
_LITTLE_MEMORY_BYTES = 256 << 20
_KERNEL_LENGTH = 1003  # not a multiple of any vector

# Arm's part numbers (main ID register) of the cores that our boards have.
_PARTS = {
    "0xc07": "cortex-a7",
    "0xd03": "cortex-a53",
    "0xd05": "cortex-a55",
    "0xd07": "cortex-a57",
    "0xd08": "cortex-a72",
    "0xd0b": "cortex-a76",
    "0xd0c": "neoverse-n1",
    "0xd40": "neoverse-v1",
    "0xd42": "cortex-a78ae",
}


@dataclass(frozen=True)
class Finding:
    """One link of the chain."""

    link: str
    state: str  # GOOD, WARNING or BROKEN
    detail: str
    error: TvmShufflenetError | None = None  # why it is broken, and the remedy


def examine(board: Board, tracker: str = "") -> Iterator[Finding]:
    """Yield one finding a link, from the board file to a kernel; ends at the first broken one."""
    checks = _local_checks(board) if board.name == LOCAL else _remote_checks(board, tracker)
    for link, check in checks:
        try:
            findings = [Finding(link, *found) for found in check()]
        except TvmShufflenetError as error:
            yield Finding(link, BROKEN, str(error), error)
            return
        yield from findings


_Found = tuple[str, str]  # state, detail
_Check = Callable[[], list[_Found]]


def _local_checks(board: Board) -> Iterator[tuple[str, _Check]]:
    description = describe_here()
    yield "CPU", lambda: _cpu(board, description)
    yield "clock", lambda: _clock(description)
    yield "temperature", lambda: _temperature(description)
    yield "memory", lambda: _memory(description)
    yield "kernel", lambda: _kernel(board, None)


def _remote_checks(board: Board, tracker: str) -> Iterator[tuple[str, _Check]]:
    """Yield the links in order; each may rely on those before it."""
    running = started.find(board.name)
    address = Address.parse(tracker or (running.tracker if running else "127.0.0.1"))
    link = session.Link(address=address, key=board.rpc.key)
    yield "board file", lambda: _board_file(board)
    if running is not None and running.host:
        host = running.host
        yield "SSH", lambda: [(GOOD, ssh.probe(host).summary)]
    if running is not None:
        yield "processes", lambda: _processes(running)
    yield "tracker", lambda: _tracker(address)
    yield "key", lambda: _key(board, link)
    opened: list[Any] = []
    yield "server", lambda: _server(link, opened)
    description = session.describe(opened[0])
    yield "TVM", lambda: _versions(description, link)
    yield "CPU", lambda: _cpu(board, description)
    yield "clock", lambda: _clock(description)
    yield "temperature", lambda: _temperature(description)
    yield "memory", lambda: _memory(description)
    yield "kernel", lambda: _kernel(board, opened.pop())


def _board_file(board: Board) -> list[_Found]:
    if board.compile_only:
        raise BoardError(
            f"{board.name} is for compiling only: there is no runtime for {board.cpu.arch}, so "
            "nothing can be run or tuned there; choose a 64-bit board"
        )
    return [(GOOD, f"{board.title}: {board.target_string()}")]


def _processes(running: started.Started) -> list[_Found]:
    dead = [process.role for process in running.processes if not process.alive]
    if dead:
        raise BoardUnreachable(
            f"the {' and '.join(dead)} of {running.board} ended; see {running.log}, then "
            f"start it again: tvm-shufflenet boards --start {running.board}"
        )
    roles = ", ".join(f"{process.role} {process.pid}" for process in running.processes)
    return [(GOOD, f"running: {roles}")]


def _tracker(address: Address) -> list[_Found]:
    state = ask(address)
    known = ", ".join(sorted(state.servers)) or "no server"
    return [(GOOD, f"{address} answers; it has {known}")]


def _key(board: Board, link: session.Link) -> list[_Found]:
    state = ask(link.address)
    servers = state.servers.get(link.key, ())
    if not servers:
        raise BoardUnreachable(
            f"no server registered as {link.key!r}, the key in the board file; start one: "
            f"tvm-shufflenet boards --start {board.name} (emulated) or --setup user@host --as "
            f"{board.name}"
        )
    if not state.free.get(link.key, 0):
        raise BoardUnreachable(
            f"all servers of {link.key!r} are busy ({state.pending.get(link.key, 0)} waiting); "
            "wait for the other tuning run, or end it"
        )
    return [(GOOD, f"{link.key!r} at {', '.join(servers)}")]


def _server(link: session.Link, opened: list[Any]) -> list[_Found]:
    opened.append(session.connect(link, timeout_s=_SESSION_LIMIT_S))
    return [(GOOD, "a session opens")]


def _versions(description: dict[str, Any], link: session.Link) -> list[_Found]:
    session.check_version(description, link)
    if not description:
        return [(WARNING, "TVM's own server, which does not say what it runs on")]
    return [(GOOD, f"TVM {description['tvm']} on both sides, Python {description['python']}")]


def _cpu(board: Board, description: dict[str, Any]) -> list[_Found]:
    """Compare architecture, core and features with the board file."""
    if not description:
        return []
    from tvm_shufflenet.compiler import load_tvm
    from tvm_shufflenet.runtime.cpu import linux_features

    load_tvm()
    from tvm.target import codegen

    arch = description["arch"]
    if arch != board.cpu.arch:
        raise BoardError(f"the machine is {arch}, but {board.name} is {board.cpu.arch}")
    llvm = [str(name) for name in codegen.llvm_get_cpu_features(board.target())]
    missing = set(linux_features(arch, llvm)) - set(description["features"])
    if missing:
        raise BoardError(
            f"the machine lacks {', '.join(sorted(missing))}, which code for {board.cpu.name} may "
            f"use: take another board than {board.name}, or copy its file and change cpu.name"
        )
    return [_core(board, description)]


def _core(board: Board, description: dict[str, Any]) -> _Found:
    parts = [_PARTS.get(part, part) for part in description["cpu_parts"]]
    mask = board.run.core_mask
    if any(core >= description["cores"] for core in mask):
        raise BoardError(
            f"{board.name} pins threads to core {max(mask)}, but the machine has "
            f"{description['cores']} cores; correct run.core_mask"
        )
    ours = [parts[core] for core in mask if core < len(parts)] or parts
    name = ", ".join(dict.fromkeys(ours)) or description["cpu"] or "unnamed"
    known = set(ours) & set(_PARTS.values())
    if known and board.cpu.name in _PARTS.values() and board.cpu.name not in known:
        return WARNING, f"the cores are {name}, but {board.name} is tuned for {board.cpu.name}"
    return GOOD, f"{name}, {description['cores']} cores, every feature that code may use"


def _clock(description: dict[str, Any]) -> list[_Found]:
    governor, frequency = description.get("governor"), description.get("frequency_mhz")
    speed = f", now {frequency} MHz" if frequency else ""
    if governor is None:
        return [(GOOD, f"the governor cannot be read{speed}")]
    if governor == "performance":
        return [(GOOD, f"governor performance{speed}")]
    remedy = "for steady figures: sudo cpupower frequency-set -g performance"
    return [(WARNING, f"governor {governor}{speed}; {remedy}")]


def _temperature(description: dict[str, Any]) -> list[_Found]:
    degrees = description.get("temperature_c")
    if degrees is None:
        return [(GOOD, "cannot be read")]
    if degrees >= _HOT_C:
        return [(WARNING, f"{degrees} °C: the CPU may be clocked down; cool it or wait")]
    return [(GOOD, f"{degrees} °C")]


def _memory(description: dict[str, Any]) -> list[_Found]:
    free = description.get("free_memory_bytes")
    if free is None:
        return [(GOOD, "cannot be read")]
    detail = f"{free >> 20} MiB free"
    if free < _LITTLE_MEMORY_BYTES:
        return [(WARNING, f"{detail}: large inputs may not fit; end other programs")]
    return [(GOOD, detail)]


def _kernel(board: Board, remote: Any) -> list[_Found]:
    """Build x -> 2x + 1 for the board, run it there and look at every element."""
    import numpy as np

    from tvm_shufflenet.compiler import PASS_CONFIG, load_tvm
    from tvm_shufflenet.linking import linker

    tvm = load_tvm()
    from tvm import te

    source = te.placeholder((_KERNEL_LENGTH,), name="x")
    result = te.compute(source.shape, lambda i: source[i] * 2.0 + 1.0, name="y")
    schedule = te.create_schedule(result.op)
    _, inner = schedule[result].split(result.op.axis[0], factor=board.machine.lanes)
    schedule[result].vectorize(inner)
    with tvm.transform.PassContext(config=PASS_CONFIG):
        built = tvm.build(schedule, [source, result], target=board.target(), name="doctor")
    values = np.arange(_KERNEL_LENGTH, dtype="float32")
    try:
        with tempfile.TemporaryDirectory(prefix="tvm-shufflenet-doctor-") as folder:
            path = str(Path(folder, "doctor.so"))
            built.export_library(path, fcompile=linker(board))
            if remote is None:
                module, device = tvm.runtime.load_module(path), tvm.cpu()
            else:
                remote.upload(path)
                module, device = remote.load_module("doctor.so"), remote.cpu()
            output = tvm.nd.array(np.zeros_like(values), device)
            module["doctor"](tvm.nd.array(values, device), output)
            right = bool(np.array_equal(output.numpy(), values * 2 + 1))
    except (tvm.error.TVMError, OSError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        last = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise BoardUnreachable(
            f"a kernel built for {board.name} does not run there: {last[:200]}; is the board of "
            "another kind than its file says?"
        ) from error
    if not right:
        raise ToolchainError(
            f"a kernel built for {board.name} gave wrong numbers there; check cpu.name and "
            "cpu.features in the board file"
        )
    return [(GOOD, f"{_KERNEL_LENGTH} numbers, all right")]
