"""Depthwise convolution, channel shuffle and grouped 1×1 convolution in one kernel.

A block of output rows goes through the depthwise convolution into a buffer that stays in the
first-level cache; the matrix product reads it from there. The shuffle costs nothing: either the
product reads through it (multiply-adds that broadcast from memory take any address), or the
buffer is written in the order in which the product reads it.
"""

from __future__ import annotations

from typing import Any

from tvm import autotvm, te
from tvm_shufflenet.schedules import matmul
from tvm_shufflenet.schedules.channels import Source
from tvm_shufflenet.schedules.depthwise import define_rows, define_run, schedule_taps, taps
from tvm_shufflenet.schedules.tiles import current_machine, vector_width
from tvm_shufflenet.schedules.window import Window, schedule_padding

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
        relu: 1 to clamp at zero.
    """
    window, where = Window(*geometry), Source(*source)
    groups, depth, block = matmul.extents(weight)
    in_order = not (current_machine().fma_from_memory or where.contiguous(depth))
    shape = matmul.Shape(
        pixels=window.pixels,
        row=window.out_width,
        groups=groups,
        depth=depth,
        block=block,
        contiguous=depth,
    )
    matmul.define_space(cfg, shape, weight, orders=(0,))
    define_run(cfg, window)
    define_rows(cfg, window)
    weight = matmul.packed_for(weight, cfg)
    tile = matmul.chosen_tile(cfg)
    _, sums = taps(data, taps_weight, window)
    if in_order:
        ordered = te.compute(
            (window.pixels, where.shuffle * where.stride),
            lambda p, q: sums[p, where.shuffled(q)],
            name="ordered",
        )
        accumulators = matmul.product(
            shape, tile, lambda p, g, k: ordered[p, g * depth + k], weight, bias
        )
    else:
        accumulators = matmul.product(
            shape, tile, lambda p, g, k: sums[p, where.position(g, k, depth)], weight, bias
        )
    return matmul.epilogue(shape, tile, accumulators, residual, bool(relu))


@autotvm.register_topi_schedule(TASK)
def schedule_depthwise_pointwise(cfg: Any, outs: list[Any]) -> Any:
    """Schedule both convolutions over blocks of output rows."""
    output = outs[0]
    *_, geometry, source, _relu = autotvm.task.get_workload(outs)
    window, where = Window(*geometry), Source(*source)
    s = te.create_schedule(output.op)
    accumulators, shape, tile = matmul.shape_and_tile(cfg, output)
    rows = cfg["rows"].val * window.out_width
    loops = matmul.schedule_product(s, output, accumulators, shape, tile, rows)
    by_name = {t.op.name: t for t in accumulators.op.input_tensors}
    ordered = by_name.get("ordered")
    sums = by_name["taps"] if ordered is None else ordered.op.input_tensors[0]
    width = vector_width(current_machine(), where.stride)
    if ordered is not None:
        matmul.load_together(s, ordered, accumulators, loops.reduction, tile)
        s[ordered].compute_at(s[output], loops.pixels)
        _schedule_ordered(s, ordered, sums, where, cfg["run"].val, width)
    else:
        if where.contiguous(shape.depth):
            matmul.load_together(s, sums, accumulators, loops.reduction, tile)
        s[sums].compute_at(s[output], loops.pixels)
        schedule_taps(s, sums, cfg["run"].val, width)
    border = next(t for t in sums.op.input_tensors if t.op.name == "padded")
    s[border].compute_at(s[output], loops.pixels)
    schedule_padding(s, border, width)
    return s


def _schedule_ordered(s: Any, ordered: Any, sums: Any, where: Source, run: int, width: int) -> None:
    """Write depthwise results, vectors along source channels, to where the product reads them."""
    output = s[ordered]
    p, q = output.op.axis
    j, i = output.split(q, factor=where.shuffle)
    j_outer, j_inner = output.split(j, factor=width)
    p_outer, p_inner = output.split(p, factor=run)
    output.reorder(i, j_outer, p_outer, p_inner, j_inner)
    output.unroll(p_inner)
    output.vectorize(j_inner)
    s[sums].compute_at(output, p_outer)
    schedule_taps(s, sums, run, width)
