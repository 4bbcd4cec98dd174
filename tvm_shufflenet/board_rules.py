"""What must hold of a board file beyond the types of its fields."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tvm_shufflenet.boards import Board

ARCHITECTURES = ("aarch64", "armv7", "x86-64")
UNITS = ("seconds", "instructions")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_FEATURE = re.compile(r"[+-][A-Za-z0-9][A-Za-z0-9._-]*")


def rules(board: Board) -> Iterator[tuple[bool, str]]:
    """Yield what must hold beyond the types, and how to say so."""
    for name, text in (("name", board.name), ("model", board.model), ("rpc.key", board.rpc.key)):
        # They become parts of TVM's target, of file names and of tracker messages.
        yield bool(_WORD.fullmatch(text)), f"{name} must be letters, digits, '.', '_', '-'"
    for name, text in (("triple", board.cpu.triple), ("name", board.cpu.name)):
        yield bool(_WORD.fullmatch(text)), f"cpu.{name} must be one word of LLVM's"
    marked = all(_FEATURE.fullmatch(feature) for feature in board.cpu.features)
    yield marked, "cpu.features must each begin with '+' or '-'"
    yield board.cpu.arch in ARCHITECTURES, f"cpu.arch must be one of {', '.join(ARCHITECTURES)}"
    yield board.machine.vector_bits in (128, 256, 512), "machine.vector_bits must be 128, 256, 512"
    counts = {
        "cpu.cores": board.cpu.cores,
        "machine.vector_registers": board.machine.vector_registers,
        "machine.l1d_kib": board.machine.l1d_kib,
        "machine.l2_kib": board.machine.l2_kib,
        "machine.fma_per_cycle": board.machine.fma_per_cycle,
        "rpc.session_timeout_s": board.rpc.session_timeout_s,
        "measure.number": board.measure.number,
        "measure.repeat": board.measure.repeat,
        "run.threads": board.run.threads,
    }
    for name, count in counts.items():
        yield count >= 1, f"{name} must be at least 1"
    yield len(set(board.run.core_mask)) == len(board.run.core_mask), "run.core_mask repeats a core"
    yield board.measure.unit in UNITS, f"measure.unit must be one of {', '.join(UNITS)}"
    emulated = board.emulator == "qemu-aarch64"
    yield emulated or not board.emulator, "emulator must be 'qemu-aarch64', or left out"
    counted = board.measure.unit == "instructions"
    yield counted == emulated, "measure.unit is 'instructions' on emulated boards, and only there"
