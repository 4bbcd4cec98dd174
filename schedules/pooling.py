"""Max and average pooling over a window, and the mean of whole maps."""

from __future__ import annotations

from typing import Any

from tvm import autotvm, te, tir
from tvm_shufflenet.schedules.depthwise import define_rows, define_run, schedule_windowed
from tvm_shufflenet.schedules.window import Window, padded

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
    define_rows(cfg, window)
    lowest = tir.min_value("float32") if kind == "max" else tir.const(0, "float32")
    source = padded(data, window, lowest)
    kh = te.reduce_axis((0, window.kh), "kh")
    kw = te.reduce_axis((0, window.kw), "kw")
    reduce = te.max if kind == "max" else te.sum

    def taken(p: Any, c: Any) -> Any:
        n, h, w = window.place(p, cfg["run"].val)
        value = source[n, h * window.stride + kh, w * window.stride + kw, c]
        return reduce(value, axis=[kh, kw])

    channels = int(data.shape[1])
    taps = te.compute((window.pixels, channels), taken, name="taps")

    def finish(p: Any, c: Any) -> Any:
        value = taps[p, c]
        if kind == "average":
            value = value * tir.const(1 / (window.kh * window.kw), "float32")
        return te.max(value, tir.const(0, "float32")) if relu else value

    return te.compute((window.pixels, channels), finish, name="output")


@autotvm.register_topi_schedule(TASK)
def schedule_pooling(cfg: Any, outs: list[Any]) -> Any:
    """Schedule as a depthwise convolution without weights."""
    return schedule_windowed(cfg, outs[0], Window(*autotvm.task.get_workload(outs)[2]))
