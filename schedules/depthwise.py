"""Depthwise convolution over pixels × channels: channel vectors, runs of pixels in registers."""

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
from tvm_shufflenet.schedules.window import (
    Window,
    in_nearest_row,
    unless_border_row,
)

TASK = "depthwise.tvm_shufflenet"


def taps(data: Any, weight: Any, window: Window, run: int, blocks: int | None = None) -> Any:
    """Return Σ over the window, (pixels, channels), without bias.

    `weight` is (kh, kw, channels); `run` pixels of a row are accumulated side by side. With
    `blocks`, the sums are (pixels, blocks, channels of a block).
    """
    kh = te.reduce_axis((0, window.kh), "kh")
    kw = te.reduce_axis((0, window.kw), "kw")

    def value(p: Any, *within: Any) -> Any:
        n, h, w = window.place(p, run)
        c = within[-1] if blocks is None else within[0] * (channels // blocks) + within[1]
        row, column = h * window.stride + kh, w * window.stride + kw
        tap = in_nearest_row(data, window, run, n, row, column, c)
        return te.sum(tap * unless_border_row(weight[kh, kw, c], window, row), axis=[kh, kw])

    channels = int(data.shape[1])
    layout = (channels,) if blocks is None else (blocks, channels // blocks)
    return te.compute((window.pixels, *layout), value, name="taps")


def define_run(cfg: Any, window: Window) -> None:
    """Define how many pixels of a row are accumulated side by side."""
    machine = current_machine()
    weights = 1 if machine.fma_from_memory else window.kh * window.kw
    spare = machine.vector_registers - weights - 2
    runs = [run for run in divisors(window.out_width) if run <= max(1, spare)]
    knob(cfg, "run", runs, max(run for run in runs if run <= 8))


def split_pixels(s: Any, tensor: Any, pixels: Any, run: int, window: Window) -> tuple[Any, ...]:
    """Split the loop over whole rows of pixels into rows, runs of a row, and pixels of a run.

    From loop to loop, addresses advance by a constant; of runs alone they would be divided out.
    """
    row, within = s[tensor].split(pixels, factor=window.out_width)
    return (row, *s[tensor].split(within, factor=run))


def schedule_taps(s: Any, tensor: Any, run: int, width: int, window: Window | None = None) -> None:
    """Keep the window's weights and a run of pixels in registers.

    Without `window`, no more than one run is computed at a time.
    """
    p, *blocks, c = s[tensor].op.axis
    kh, kw = s[tensor].op.reduce_axis
    if window is None:
        *p_outer, p_inner = s[tensor].split(p, factor=run)
    else:
        *p_outer, p_inner = split_pixels(s, tensor, p, run, window)
    c_outer, c_inner = s[tensor].split(c, factor=width)
    s[tensor].reorder(*blocks, c_outer, *p_outer, kh, kw, p_inner, c_inner)
    for axis in (kh, kw, p_inner):
        s[tensor].unroll(axis)
    s[tensor].vectorize(c_inner)


def define_rows(cfg: Any, window: Window, channels: int, *, matter: bool = True) -> None:
    """Define how many output rows are computed together; by default one, if they do not `matter`.

    Blocks of many rows share few rows of input; but every core wants a block, and a block's input
    and results should stay near the core. Small cores mostly share their second-level cache.
    """
    machine, cores = current_machine(), current_cores()
    part = 3 if machine.fma_from_memory else 12
    most = max(1, window.images * window.out_height // cores)
    rows = [count for count in divisors(window.out_height) if count <= min(16, most)]

    def suits(count: int) -> bool:
        inputs = ((count - 1) * window.stride + window.kh) * (window.width + 2 * window.border)
        block_bytes = 4 * channels * (inputs + count * window.out_width)
        return block_bytes <= 1024 * machine.l2_kib // part

    largest = max([count for count in rows if suits(count)] or rows[:1])
    knob(cfg, "rows", rows, largest if matter else 1)


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
    cfg.add_flop(2 * window.kh * window.kw * window.pixels * int(data.shape[1]))
    define_run(cfg, window)
    define_rows(cfg, window, int(data.shape[1]))
    sums = taps(data, weight, window, cfg["run"].val)

    def finish(p: Any, c: Any) -> Any:
        value = sums[p, c] + bias[c]
        return te.max(value, tir.const(0, "float32")) if relu else value

    return te.compute(sums.shape, finish, name="output")


@autotvm.register_topi_schedule(TASK)
def schedule_depthwise(cfg: Any, outs: list[Any]) -> Any:
    """Schedule blocks of rows in parallel, and in them runs of pixels in registers."""
    output = outs[0]
    *_, geometry, _relu = autotvm.task.get_workload(outs)
    window = Window(*geometry)
    width = vector_width(current_machine(), int(output.shape[1]))
    sums = next(t for t in output.op.input_tensors if t.op.name == "taps")
    s = te.create_schedule(output.op)
    run = cfg["run"].val
    at = schedule_runs(s, output, cfg["rows"].val, run, width, window)
    s[sums].compute_at(s[output], at)
    schedule_taps(s, sums, run, width)
    return s


def schedule_runs(s: Any, output: Any, rows: int, run: int, width: int, window: Window) -> Any:
    """Schedule an output in parallel blocks of `rows` rows, cut into runs and vectors.

    Returns the loop over runs.
    """
    p, c = s[output].op.axis
    block, p = s[output].split(p, factor=rows * window.out_width)
    row, p_outer, p_inner = split_pixels(s, output, p, run, window)
    c_outer, c_inner = s[output].split(c, factor=width)
    s[output].reorder(block, c_outer, row, p_outer, p_inner, c_inner)
    s[output].parallel(block)
    s[output].unroll(p_inner)
    s[output].vectorize(c_inner)
    return p_outer
