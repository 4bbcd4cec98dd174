"""Depthwise convolution over pixels × channels: vectors of channels, a run of pixels in registers."""

from __future__ import annotations

from typing import Any

from tvm import autotvm, te, tir
from tvm_shufflenet.schedules.tiles import (
    current_cores,
    current_machine,
    divisors,
    knob,
    vector_width,
)
from tvm_shufflenet.schedules.window import Window, padded, schedule_padding

TASK = "depthwise.tvm_shufflenet"


def taps(data: Any, weight: Any, window: Window, run: int) -> tuple[Any, Any]:
    """Return the padded input and Σ over the window, (pixels, channels), without bias.

    `weight` is (kh, kw, channels); `run` pixels of a row are accumulated side by side.
    """
    source = padded(data, window)
    kh = te.reduce_axis((0, window.kh), "kh")
    kw = te.reduce_axis((0, window.kw), "kw")

    def value(p: Any, c: Any) -> Any:
        n, h, w = window.place(p, run)
        return te.sum(
            source[n, h * window.stride + kh, w * window.stride + kw, c] * weight[kh, kw, c],
            axis=[kh, kw],
        )

    channels = int(data.shape[1])
    return source, te.compute((window.pixels, channels), value, name="taps")


def define_run(cfg: Any, window: Window) -> None:
    """Define how many pixels of a row are accumulated side by side."""
    machine = current_machine()
    spare = machine.vector_registers - window.kh * window.kw - 2
    runs = [run for run in divisors(window.out_width) if run <= max(1, spare)]
    knob(cfg, "run", runs, max(run for run in runs if run <= 8))


def schedule_taps(s: Any, tensor: Any, run: int, width: int) -> None:
    """Keep the window's weights and a run of pixels in registers."""
    p, c = s[tensor].op.axis
    kh, kw = s[tensor].op.reduce_axis
    p_outer, p_inner = s[tensor].split(p, factor=run)
    c_outer, c_inner = s[tensor].split(c, factor=width)
    s[tensor].reorder(c_outer, p_outer, kh, kw, p_inner, c_inner)
    for axis in (kh, kw, p_inner):
        s[tensor].unroll(axis)
    s[tensor].vectorize(c_inner)


def define_rows(cfg: Any, window: Window) -> None:
    """Define how many output rows are computed together: few copies of borders, enough tiles."""
    rows = [count for count in divisors(window.out_height) if count <= 16]
    cores = current_cores()
    enough = [count for count in rows if window.images * window.out_height // count >= cores]
    knob(cfg, "rows", rows, max(count for count in enough or rows[:1] if count <= 8))


@autotvm.register_topi_compute(TASK)
def depthwise(
    cfg: Any, data: Any, weight: Any, bias: Any, geometry: tuple[int, ...], relu: int
) -> Any:
    """bias + Σ over the window, [ReLU]: (pixels, channels) -> (output pixels, channels).

    Args:
        cfg: the configuration.
        data: (pixels, channels).
        weight: (kh, kw, channels).
        bias: (channels,).
        geometry: the fields of a `Window`.
        relu: 1 to clamp at zero.
    """
    window = Window(*geometry)
    define_run(cfg, window)
    define_rows(cfg, window)
    _, sums = taps(data, weight, window, cfg["run"].val)

    def finish(p: Any, c: Any) -> Any:
        value = sums[p, c] + bias[c]
        return te.max(value, tir.const(0, "float32")) if relu else value

    return te.compute(sums.shape, finish, name="output")


@autotvm.register_topi_schedule(TASK)
def schedule_depthwise(cfg: Any, outs: list[Any]) -> Any:
    """Schedule a depthwise convolution with its epilogue."""
    *_, geometry, _relu = autotvm.task.get_workload(outs)
    return schedule_windowed(cfg, outs[0], Window(*geometry))


def schedule_windowed(cfg: Any, output: Any, window: Window) -> Any:
    """Schedule padding, taps and output: blocks of rows in parallel, borders copied per block."""
    taps = next(t for t in output.op.input_tensors if t.op.name == "taps")
    source = next(t for t in taps.op.input_tensors if t.op.name == "padded")
    s = te.create_schedule(output.op)
    width = vector_width(current_machine(), int(output.shape[1]))
    run = cfg["run"].val
    p, c = s[output].op.axis
    block, p = s[output].split(p, factor=cfg["rows"].val * window.out_width)
    p_outer, p_inner = s[output].split(p, factor=run)
    c_outer, c_inner = s[output].split(c, factor=width)
    s[output].reorder(block, c_outer, p_outer, p_inner, c_inner)
    s[output].parallel(block)
    s[output].unroll(p_inner)
    s[output].vectorize(c_inner)
    s[taps].compute_at(s[output], p_outer)
    schedule_taps(s, taps, run, width)
    if window.border:
        s[source].compute_at(s[output], block)
        schedule_padding(s, source, width)
    else:
        s[source].compute_inline()
    return s
