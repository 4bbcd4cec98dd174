"""Max and average pooling over a window, and the mean of whole maps."""

from __future__ import annotations

import operator
from functools import reduce
from typing import Any

from tvm import autotvm, te, tir

from tvm_shufflenet.schedules.depthwise import (
    define_rows,
    define_run,
    schedule_runs,
)
from tvm_shufflenet.schedules.tiles import current_machine, vector_width
from tvm_shufflenet.schedules.window import Window, nearest, unless_border

TASK = "pooling.tvm_shufflenet"


@autotvm.register_topi_compute(TASK)
def pooling(cfg: Any, data: Any, geometry: tuple[int, ...], kind: str, relu: int) -> Any:
    """Pool (pixels, channels) -> (output pixels, channels).

    Args:
        cfg: the configuration.
        data: (pixels, channels).
        geometry: the fields of a `Window`.
        kind: "max" (the border never wins) or "average" (the border counts as zeros).
        relu: 1 to clamp at zero.
    """
    window = Window(*geometry)
    define_run(cfg, window)
    define_rows(cfg, window, int(data.shape[1]))
    run = cfg["run"].val
    combine = te.max if kind == "max" else operator.add
    channels = int(data.shape[1])

    def tap(n: Any, row: Any, column: Any, c: Any) -> Any:
        value = nearest(data, window, n, row, column, c)
        if kind == "max":
            return value  # of a border, one that stands in the window already
        return value * unless_border(tir.const(1, "float32"), window, row, column)

    def down(r: Any, x: Any, c: Any) -> Any:
        n, h, w = window.place(r * run, run)
        row, column = h * window.stride, w * window.stride + x
        return reduce(combine, [tap(n, row + kh, column, c) for kh in range(window.kh)])

    # Neighboring windows overlap: each column is reduced once, then met by up to kw windows.
    # Written as expressions: a TE reduction would begin with a comparison against its identity.
    columns = te.compute(
        (window.pixels // run, (run - 1) * window.stride + window.kw, channels),
        down,
        name="columns",
    )

    def across(p: Any, c: Any) -> Any:
        x = p % run * window.stride
        return reduce(combine, [columns[p // run, x + kw, c] for kw in range(window.kw)])

    taps = te.compute((window.pixels, channels), across, name="taps")

    def finish(p: Any, c: Any) -> Any:
        value = taps[p, c]
        if kind == "average":
            value = value * tir.const(1 / (window.kh * window.kw), "float32")
        return te.max(value, tir.const(0, "float32")) if relu else value

    return te.compute((window.pixels, channels), finish, name="output")


@autotvm.register_topi_schedule(TASK)
def schedule_pooling(cfg: Any, outs: list[Any]) -> Any:
    """Schedule blocks of rows in parallel, and in them runs of pixels in registers."""
    output = outs[0]
    window = Window(*autotvm.task.get_workload(outs)[2])
    width = vector_width(current_machine(), int(output.shape[1]))
    taps = next(t for t in output.op.input_tensors if t.op.name == "taps")
    columns = taps.op.input_tensors[0]
    s = te.create_schedule(output.op)
    at = schedule_runs(s, output, cfg["rows"].val, cfg["run"].val, width, window)
    for stage in (columns, taps):
        s[stage].compute_at(s[output], at)
        *outer, c = s[stage].op.axis
        for axis in outer:
            s[stage].unroll(axis)
        s[stage].vectorize(c)
    return s
