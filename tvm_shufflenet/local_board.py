"""The board called ``local``: this machine's own CPU, as LLVM and psutil see it."""

from __future__ import annotations

import dataclasses
import platform

from tvm_shufflenet.boards import Board, load_board
from tvm_shufflenet.compiler import load_tvm
from tvm_shufflenet.errors import BoardError

# The class decides vector width, schedules and records; name and features stay this CPU's own.
_CLASSES = {
    "x86-avx512": ("avx512f", "avx512dq", "avx512bw", "avx512vl", "fma"),
    "x86-avx2": ("avx2", "fma"),
}
_CORES = {"znver4": "x86-zen4"}  # cores that are a class of their own, in LLVM's words


def detect() -> Board:
    """Describe this machine: LLVM names CPU and features, psutil counts the cores.

    Raises:
        BoardError: if the CPU is of no class that we have schedules for.
    """
    import psutil

    load_tvm()
    from tvm.target import codegen

    arch = platform.machine()
    cpu_name = codegen.llvm_get_system_cpu()
    if arch == "aarch64":
        base = load_board("generic-aarch64")
    elif arch == "x86_64":
        target = load_tvm().target.Target(f"llvm -mcpu={cpu_name}")
        has = codegen.target_has_features
        classes = [name for name, needed in _CLASSES.items() if has(list(needed), target)]
        if not classes:
            raise BoardError(
                f"this machine's CPU ({cpu_name}) has no AVX2 and FMA; compile for a board instead"
            )
        base = load_board(_CORES.get(cpu_name, classes[0]))
    else:
        raise BoardError(f"no schedules for this machine's architecture {arch!r}")
    cores = psutil.cpu_count(logical=False) or 1
    return dataclasses.replace(
        base,
        name="local",
        title=f"this machine ({cpu_name}, {base.machine.lanes} float32 lanes)",
        cpu=dataclasses.replace(base.cpu, name=cpu_name, cores=cores),
        rpc=dataclasses.replace(base.rpc, key="local"),
        run=dataclasses.replace(base.run, threads=cores),
    )
