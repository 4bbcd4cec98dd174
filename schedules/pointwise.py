"""Grouped 1×1 convolution that reads its input through a channel shuffle; dense is one group."""

from __future__ import annotations

from typing import Any

from tvm import autotvm, te

from tvm_shufflenet.schedules import matmul, matmul_loops
from tvm_shufflenet.schedules.channels import Source

TASK = "pointwise.tvm_shufflenet"


@autotvm.register_topi_compute(TASK)
def pointwise(
    cfg: Any,
    data: Any,
    weight: Any,
    bias: Any,
    residual: Any | None,
    source: tuple[int, int, int, int],
    relu: int,
) -> Any:
    """bias + Σ over a group's channels, [+ residual], [ReLU].

    Args:
        cfg: the configuration.
        data: (pixels, channels), channels in blocks as `source` says.
        weight: (groups, depth, block) or packed (groups, block / tile, depth, tile).
        bias: (groups·block,).
        residual: (pixels, groups·block) or None.
        source: how the input's channels lie, and the shuffle to read through.
        relu: 1 to clamp at zero; with a residual, 2 to clamp at the bias, then not added.
    """
    where = Source(*source)
    groups, depth, block = matmul.extents(weight)
    shape = matmul.Shape(
        pixels=int(data.shape[0]),
        row=int(data.shape[0]),
        groups=groups,
        depth=depth,
        block=block,
        unrolls=matmul.unrolls_through(where, depth),
    )
    matmul.define_space(cfg, shape, weight)
    weight = matmul.packed_for(weight, cfg)

    def read(p: Any, g: Any, k: Any) -> Any:
        return data[p, where.position(g, k, depth)]

    tile = matmul.chosen_tile(cfg)
    return matmul.finished_product(shape, tile, read, weight, bias, residual, relu)


@autotvm.register_topi_schedule(TASK)
def schedule_pointwise(cfg: Any, outs: list[Any]) -> Any:
    """Schedule a pointwise convolution with its epilogue."""
    output = outs[0]
    s = te.create_schedule(output.op)
    accumulators, shape, tile = matmul_loops.shape_and_tile(cfg, output)
    loops = matmul_loops.schedule_product(s, output, accumulators, shape, tile)
    data = next(t for t in accumulators.op.input_tensors if len(t.shape) == 2)
    *_, source, _relu = autotvm.task.get_workload(outs)
    if Source(*source).contiguous(shape.depth):
        matmul_loops.load_together(s, data, accumulators, loops.reduction, tile)
    return s
