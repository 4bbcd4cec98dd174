"""Depthwise convolution, channel shuffle and grouped 1×1 convolution in one kernel.

A block of output rows goes through the depthwise convolution into a buffer that stays in the
first-level cache; the matrix product reads it from there. The shuffle costs nothing: either the
product reads through it (multiply-adds that broadcast from memory take any address), or the
buffer is written in the order in which the product reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import autotvm, te

from tvm_shufflenet.schedules import interleave, matmul, matmul_loops
from tvm_shufflenet.schedules.channels import Source, written_in_order
from tvm_shufflenet.schedules.depthwise import (
    define_rows,
    define_run,
    schedule_taps,
    split_pixels,
    taps,
)
from tvm_shufflenet.schedules.tiles import current_machine, vector_width
from tvm_shufflenet.schedules.window import Window

TASK = "depthwise_pointwise.tvm_shufflenet"


@autotvm.register_topi_compute(TASK)
def depthwise_pointwise(
    cfg: Any,
    data: Any,
    taps_weight: Any,
    weight: Any,
    bias: Any,
    residual: Any | None,
    geometry: tuple[int, ...],
    source: tuple[int, int, int, int],
    relu: int,
) -> Any:
    """Pointwise(shuffle(depthwise(data))) + bias, [+ residual], [ReLU].

    Args:
        cfg: the configuration.
        data: (pixels, channels), channels in blocks as `source` says.
        taps_weight: (kh, kw, channels) of the depthwise convolution; its bias is in `bias`.
        weight: (groups, depth, block) or packed (groups, block / tile, depth, tile).
        bias: (groups·block,).
        residual: (output pixels, groups·block) or None.
        geometry: the fields of the depthwise `Window`.
        source: how the channels lie, and the shuffle between the two convolutions.
        relu: 1 to clamp at zero; with a residual, 2 to clamp at the bias, then not added.
    """
    window, where = Window(*geometry), Source(*source)
    groups, depth, block = matmul.extents(weight)
    machine = current_machine()
    in_order = written_in_order(machine, where, depth)
    shape = matmul.Shape(
        pixels=window.pixels,
        row=window.pixels,
        groups=groups,
        depth=depth,
        block=block,
        unrolls=(
            matmul.unrolls_of_vectors(machine, depth)
            if in_order
            else matmul.unrolls_through(where, depth)
        ),
    )
    channels = int(data.shape[1])
    # With more weights than depthwise results, it is the weights that are read once.
    outer = groups * depth * block > window.pixels * channels
    cfg.add_flop(2 * window.kh * window.kw * window.pixels * channels)
    define_run(cfg, window)
    define_rows(cfg, window, channels, matter=not outer)
    matmul.define_space(
        cfg,
        shape,
        weight,
        outer=outer,
        together=lambda config: _pixels_together(config, window),
    )
    weight = matmul.packed_for(weight, cfg)
    tile = matmul.chosen_tile(cfg)
    run = cfg["run"].val
    if in_order:
        sums = taps(data, taps_weight, window, run, where.shuffle)
        read = _in_order(sums, where, depth)
    else:
        # Vectors are an axis of their own: whole ones are computed, though few lanes may be read.
        width = vector_width(machine, channels)
        sums = taps(data, taps_weight, window, run, channels // width)

        def read(p: Any, g: Any, k: Any) -> Any:
            position = where.position(g, k, depth)
            return sums[p, position // width, position % width]

    return matmul.finished_product(shape, tile, read, weight, bias, residual, relu)


def _pixels_together(cfg: Any, window: Window) -> int:
    """Return how many pixels a block has: some rows, or all where channels are outermost.

    Rows do not matter then, and only one count of them is let into the space.
    """
    rows = int(cfg["rows"].val)
    if not cfg["channels_outer"].val:
        return rows * window.out_width
    return window.pixels if rows == 1 else 0


def _in_order(sums: Any, where: Source, depth: int) -> Callable[[Any, Any, Any], Any]:
    """Return how to read the depthwise results, put in the order behind the shuffle.

    The stage "ordered", (pixels, vectors, lanes, shuffle), keeps its axes apart so that TVM sees
    which results a block of it needs. The stage "inputs", (pixels, groups, vectors, lanes), is
    what the product loads: whole vectors, though the last one of an awkward depth reaches into
    the next group.
    """
    lanes = current_machine().lanes
    ordered = te.compute(
        (int(sums.shape[0]), where.stride // lanes, lanes, where.shuffle),
        lambda p, vector, lane, i: sums[p, i, vector * lanes + lane],
        name="ordered",
    )

    def read(p: Any, g: Any, vector: Any, lane: Any) -> Any:
        position = g * depth + vector * lanes + lane
        row = position // where.shuffle
        return ordered[p, row // lanes, row % lanes, position % where.shuffle]

    inputs = te.compute(
        (int(sums.shape[0]), where.channels // depth, -(-depth // lanes), lanes),
        read,
        name="inputs",
    )
    return lambda p, g, k: inputs[p, g, k // lanes, k % lanes]


@autotvm.register_topi_schedule(TASK)
def schedule_depthwise_pointwise(cfg: Any, outs: list[Any]) -> Any:
    """Schedule both convolutions over blocks of output rows."""
    output = outs[0]
    *_, geometry, source, _relu = autotvm.task.get_workload(outs)
    window, where = Window(*geometry), Source(*source)
    s = te.create_schedule(output.op)
    accumulators, shape, tile = matmul_loops.shape_and_tile(cfg, output)
    blocks = () if tile.channels_outer else (cfg["rows"].val * window.out_width,)
    loops = matmul_loops.schedule_product(s, output, accumulators, shape, tile, blocks)
    block = loops.pixels if blocks else None
    source_of = {t.op.name: t for t in accumulators.op.input_tensors}
    if "inputs" in source_of:
        inputs = source_of["inputs"]
        ordered = inputs.op.input_tensors[0]
        sums = ordered.op.input_tensors[0]
        matmul_loops.load_stage(s, inputs, accumulators, loops.reduction, tile)
        width = vector_width(current_machine(), where.stride)
        vectors = _schedule_ordered(s, ordered, sums, cfg["run"].val, width, window)
        _place(s, ordered, vectors, output, block)
    else:
        buffer = source_of["taps"]
        # Accumulated in registers: in the buffer itself, LLVM must expect the input.
        sums = s.cache_write(buffer, "global")
        if where.contiguous(shape.depth):
            matmul_loops.load_together(s, buffer, accumulators, loops.reduction, tile)
        vectors = _schedule_buffer(s, buffer, sums, cfg["run"].val, window)
        _place(s, buffer, vectors, output, block)
    return s


def _place(s: Any, buffer: Any, vectors: Any, output: Any, block: Any | None) -> None:
    """Compute the buffer for each block of the output's rows, or whole before the output."""
    if block is None:
        s[buffer].parallel(vectors)
    else:
        s[buffer].compute_at(s[output], block)


def _schedule_buffer(s: Any, buffer: Any, sums: Any, run: int, window: Window) -> Any:
    """Write depthwise results, a run of pixels at a time, as they lie in the source.

    Returns the loop over vectors, the outermost.
    """
    p, vector, lane = s[buffer].op.axis
    row, p_outer, p_inner = split_pixels(s, buffer, p, run, window)
    s[buffer].reorder(vector, row, p_outer, p_inner, lane)
    s[buffer].unroll(p_inner)
    s[buffer].vectorize(lane)
    s[sums].compute_at(s[buffer], p_outer)
    schedule_taps(s, sums, run, int(buffer.shape[2]))
    return vector


def _schedule_ordered(s: Any, ordered: Any, sums: Any, run: int, width: int, window: Window) -> Any:
    """Write depthwise results, vectors along source channels, to where the product reads them.

    One vector of every block at a time: their sums for all pixels, and then they are interleaved.
    Returns the outermost loop.
    """
    p, vector, lane, i = s[ordered].op.axis
    row, p_outer, p_inner = split_pixels(s, ordered, p, run, window)
    if interleave.can_store(int(i.dom.extent)):
        s[ordered].reorder(vector, row, p_outer, p_inner, lane, i)
        s[ordered].tensorize(lane, interleave.stores(int(i.dom.extent), width))
        s[sums].compute_at(s[ordered], vector)
        schedule_taps(s, sums, run, width, window)
        outermost = vector
    else:
        s[ordered].reorder(i, vector, row, p_outer, p_inner, lane)
        s[ordered].vectorize(lane)
        s[sums].compute_at(s[ordered], p_outer)
        schedule_taps(s, sums, run, width)
        outermost = i
    s[ordered].unroll(p_inner)
    return outermost
