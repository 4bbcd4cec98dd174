"""``python -m tvm_shufflenet.emulator.count LIBRARY``: instructions of one inference.

The library is one that TVM's ``export_library`` wrote for AArch64, ``model.so`` of a package.
"""

from __future__ import annotations

import argparse
import json
import sys

from tvm_shufflenet.emulator.counting import Counts, count_instructions
from tvm_shufflenet.emulator.cycles import estimated_cycles
from tvm_shufflenet.emulator.instructions import CLASSES, VECTOR_FMA
from tvm_shufflenet.errors import TvmShufflenetError

_SHORT = ("fma", "v.other", "v.load", "v.store", "float", "load", "store", "prefetch", "int", "br")


def main(arguments: list[str] | None = None) -> int:
    """Count and print; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tvm_shufflenet.emulator.count")
    parser.add_argument("library", help="model.so for AArch64")
    parser.add_argument(
        "--shape", default="1,3,224,224", help="of the input (default: %(default)s)"
    )
    parser.add_argument("--cpu", default="cortex-a72", help="or cortex-a53")
    parser.add_argument("--cache", action="store_true", help="model the L1 and L2 data caches")
    parser.add_argument("--cycles", action="store_true", help="add llvm-mca's estimate of cycles")
    parser.add_argument("--per-kernel", action="store_true", help="one line a function")
    parser.add_argument("--json", action="store_true", help="everything as JSON")
    options = parser.parse_args(arguments)
    shape = [int(part) for part in options.shape.split(",")]
    try:
        counts = count_instructions(options.library, shape, options.cpu, options.cache)
        cycles = estimated_cycles(counts) if options.cycles else None
    except TvmShufflenetError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    if options.json:
        text = _as_json(counts, cycles)
    else:
        text = _as_text(counts, cycles, per_kernel=options.per_kernel)
    sys.stdout.write(text + "\n")
    return 0


def _as_text(counts: Counts, cycles: float | None, *, per_kernel: bool) -> str:
    lines = [f"executed instructions of one inference on an emulated {counts.cpu}: {counts.total}"]
    for kind in CLASSES:
        number = counts.classes.get(kind, 0)
        lines.append(f"  {kind:<20}{number:>12}  {number / counts.total:6.1%}")
    if counts.l1_misses is not None:
        lines.append(f"  {'L1 misses':<20}{counts.l1_misses:>12}")
        lines.append(f"  {'L2 misses':<20}{counts.l2_misses:>12}")
    if cycles is not None:
        lines.append(f"  {'estimated cycles':<20}{cycles:>12.0f}  (llvm-mca, a coarse ranking)")
    if per_kernel:
        header = "".join(f"{name:>9}" for name in _SHORT)
        lines += ["", f"thousands{'/fma':>10}{header}  kernel"]
        for kernel in counts.kernels:
            fma = kernel.classes.get(VECTOR_FMA, 0)
            ratio = f"{kernel.total / fma:.2f}" if fma else "-"
            cells = "".join(f"{kernel.classes.get(kind, 0) / 1e3:>9.0f}" for kind in CLASSES)
            lines.append(f"{kernel.total / 1e3:>9.0f}{ratio:>10}{cells}  {kernel.name}")
    return "\n".join(lines)


def _as_json(counts: Counts, cycles: float | None) -> str:
    return json.dumps(
        {
            "cpu": counts.cpu,
            "unit": "instructions",
            "total": counts.total,
            "classes": dict(counts.classes),
            "l1_misses": counts.l1_misses,
            "l2_misses": counts.l2_misses,
            "estimated_cycles": cycles,
            "kernels": [
                {"name": kernel.name, "total": kernel.total, "classes": dict(kernel.classes)}
                for kernel in counts.kernels
            ],
        },
        indent=1,
    )


if __name__ == "__main__":
    sys.exit(main())
