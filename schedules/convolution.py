"""Convolution with any window, grouped or dense: a matrix product over window and channels."""

from __future__ import annotations

from typing import Any

from tvm import autotvm, te

from tvm_shufflenet.schedules import matmul, matmul_loops
from tvm_shufflenet.schedules.channels import Source
from tvm_shufflenet.schedules.tiles import current_machine, vector_width
from tvm_shufflenet.schedules.window import Window, padded, schedule_padding

TASK = "convolution.tvm_shufflenet"


@autotvm.register_topi_compute(TASK)
def convolution(
    cfg: Any,
    data: Any,
    weight: Any,
    bias: Any,
    residual: Any | None,
    geometry: tuple[int, ...],
    source: tuple[int, int, int, int],
    relu: int,
) -> Any:
    """bias + Σ over window and a group's channels, [+ residual], [ReLU].

    Args:
        cfg: the configuration.
        data: (pixels, channels) in blocks as `source` says.
        weight: (groups, kh·kw·depth, block) or packed (groups, block / tile, kh·kw·depth, tile).
        bias: (groups·block,).
        residual: (output pixels, groups·block) or None.
        geometry: the fields of a `Window`.
        source: how the input's channels lie.
        relu: 1 to clamp at zero; with a residual, 2 to clamp at the bias, then not added.
    """
    window, where = Window(*geometry), Source(*source)
    groups, reduction, block = matmul.extents(weight)
    depth = reduction // (window.kh * window.kw)
    shape = matmul.Shape(
        pixels=window.pixels,
        row=window.out_width,
        groups=groups,
        depth=reduction,
        block=block,
        unrolls=matmul.unrolls(depth),
    )
    matmul.define_space(cfg, shape, weight)
    weight = matmul.packed_for(weight, cfg)
    tile, start = matmul.chosen_tile(cfg), matmul.beginning(bias, residual)
    inputs = _inputs(padded(data, window), window, where, (groups, depth), tile.pixels)

    def read(p: Any, g: Any, kh: Any, kw: Any, k: Any) -> Any:
        return inputs[p // tile.pixels, p % tile.pixels, g, kh, kw, k]

    accumulators = matmul.windowed_product(
        shape, tile, (window.kh, window.kw, depth), read, weight, start
    )
    return matmul.epilogue(shape, tile, accumulators, None if residual is None else bias, relu)


def _inputs(border: Any, window: Window, where: Source, groups: tuple[int, int], run: int) -> Any:
    """Return (tiles, pixels of a tile, groups, kh, kw, channels of a group): what taps meet.

    Never computed as a whole: by the register tile where inputs are loaded as vectors, else
    inlined. In these axes TVM sees without conditions what a tile needs.
    """
    count, depth = groups

    def value(tile: Any, pixel: Any, g: Any, kh: Any, kw: Any, k: Any) -> Any:
        n, h, w = window.place(tile * run + pixel, run)
        row, column = h * window.stride + kh, w * window.stride + kw
        return border[n, row, column, where.position(g, k, depth)]

    extents = (window.pixels // run, run, count, window.kh, window.kw, depth)
    return te.compute(extents, value, name="inputs")


@autotvm.register_topi_schedule(TASK)
def schedule_convolution(cfg: Any, outs: list[Any]) -> Any:
    """Schedule a convolution: the border is added in a pass of its own, then the product."""
    output = outs[0]
    *_, geometry, source, _relu = autotvm.task.get_workload(outs)
    window, where = Window(*geometry), Source(*source)
    s = te.create_schedule(output.op)
    accumulators, shape, tile = matmul_loops.shape_and_tile(cfg, output)
    loops = matmul_loops.schedule_product(s, output, accumulators, shape, tile)
    inputs = next(t for t in accumulators.op.input_tensors if t.op.name == "inputs")
    border = inputs.op.input_tensors[0]
    together = where.contiguous(int(inputs.shape[-1])) and tile.unroll > 1
    if together and not current_machine().fma_from_memory:
        matmul_loops.load_stage(s, inputs, accumulators, loops.reduction, tile)
    else:
        s[inputs].compute_inline()
    if window.border:
        schedule_padding(s, border, vector_width(current_machine(), int(border.shape[-1])))
        s[border].parallel(s[border].fuse(*s[border].op.axis[:2]))
    else:
        s[border].compute_inline()
    return s
