"""Replaces TVM's time evaluator in the emulated board's RPC server: it counts instead.

The server is started with ``--init tvm_shufflenet.emulator.guest.evaluator:install``. Clients see
"seconds" that are instructions; see ``emulator.cost`` for the scale and the weights.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

from tvm_shufflenet.emulator.cost import SECONDS_PER_INSTRUCTION, estimated_instructions
from tvm_shufflenet.emulator.guest import marker

COUNTS = "TVM_SHUFFLENET_COUNTS"  # environment: the plugin's ``out``
_NAME = "runtime.RPCTimeEvaluator"
_ONCE, _TWICE = 1, 2


def install() -> None:
    """Register the evaluator in this process and those it forks."""
    import tvm

    timed = tvm.get_global_func(_NAME)

    def evaluator(module: Any, name: str, *options: Any) -> Any:
        # options: device type and id, number, repeat, min_repeat_ms, limit_zero_time_iterations,
        # cooldown_interval_ms, repeats_to_cooldown, cache_flush_bytes, f_preproc_name
        device, repeat = options[:2], int(options[3])
        rest = (1, 0, 0, 0, 1, 0, "")
        once = timed(module, name, *device, _ONCE, *rest)
        twice = timed(module, name, *device, _TWICE, *rest)

        def run(*arguments: Any) -> bytearray:
            cost = _difference(lambda: once(*arguments), lambda: twice(*arguments))
            return bytearray(struct.pack("<d", cost * SECONDS_PER_INSTRUCTION) * repeat)

        return run

    tvm.register_func(_NAME, evaluator, override=True)


def _difference(once: Any, twice: Any) -> int:
    """Return the cost of one run alone: what surrounds the runs is in both counts."""
    once()  # binds symbols and warms the cache model
    first, second = _count(once), _count(twice)
    run = (more - less for more, less in zip(second, first, strict=True))
    return max(1, estimated_instructions(*run))


def _count(function: Any) -> tuple[int, int, int]:
    tag = os.getpid()
    marker.start()
    function()
    marker.stop_with_totals(tag)
    file = Path(f"{os.environ[COUNTS]}.{tag}.blocks")
    _, instructions, l1_misses, l2_misses = file.read_text(encoding="ascii").split()
    file.unlink()
    return int(instructions), int(l1_misses), int(l2_misses)
