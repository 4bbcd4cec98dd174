"""The loops of the grouped matrix product.

Outermost first: tiles of pixels and channels (parallel), the reduction, and inside it a register
tile of `pixels` × `channels` accumulators.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm_shufflenet.schedules.matmul import Shape, chosen_tile
from tvm_shufflenet.schedules.tiles import Tile, current_machine, row_width, vector_width


@dataclass(frozen=True)
class Loops:
    """The loops of a scheduled product that producers may be computed at."""

    pixels: Any  # over pixel tiles
    reduction: Any  # over unrolled steps


def schedule_product(
    s: Any, output: Any, accumulators: Any, shape: Shape, tile: Tile, blocks: Sequence[int] = ()
) -> Loops:
    """Schedule `output` and its accumulators.

    `blocks` are cut from the pixels first: blocks of so many pixels, and in them smaller ones. A
    producer of the inputs can be computed once for each of the smallest, which cores share.
    """
    width = row_width(current_machine(), tile.channels)
    p, c = s[output].op.axis
    g, c = s[output].split(c, factor=shape.block)
    t, c = s[output].split(c, factor=tile.channels)
    outermost = []
    for size in blocks:
        block, p = s[output].split(p, factor=size)
        outermost.append(block)
    p, p_inner = s[output].split(p, factor=tile.pixels)
    c_outer, c_inner = s[output].split(c, factor=vector_width(current_machine(), tile.channels))
    if outermost:
        s[output].reorder(*outermost, g, t, p, p_inner, c_outer, c_inner)
        s[output].parallel(outermost[-1])
        at, outer = p, outermost[-1]
    elif tile.channels_outer:
        s[output].reorder(g, t, p, p_inner, c_outer, c_inner)
        s[output].parallel(s[output].fuse(g, t))  # a tile's weights are read by one core only
        at, outer = p, p
    else:
        s[output].reorder(p, g, t, p_inner, c_outer, c_inner)
        s[output].parallel(p)
        at, outer = t, p
    s[output].unroll(p_inner)
    s[output].unroll(c_outer)
    s[output].vectorize(c_inner)
    s[accumulators].compute_at(s[output], at)
    return Loops(outer, _schedule_tile(s, accumulators, tile, width))


def _schedule_tile(s: Any, accumulators: Any, tile: Tile, width: int) -> Any:
    p, g, t, c = s[accumulators].op.axis
    *taps, k = s[accumulators].op.reduce_axis
    k_outer, k_inner = s[accumulators].split(k, factor=tile.unroll)
    c_outer, c_inner = s[accumulators].split(c, factor=width)
    # Weights of one step are loaded once and meet every pixel of the tile.
    s[accumulators].reorder(g, t, *taps, k_outer, k_inner, p, c_outer, c_inner)
    for axis in (k_inner, p, c_outer):
        s[accumulators].unroll(axis)
    s[accumulators].vectorize(c_inner)
    return k_outer


def load_together(s: Any, source: Any, accumulators: Any, loop: Any, tile: Tile) -> None:
    """Load the inputs of one unrolled step as vectors, for multiply-adds by element.

    Only where the multiply-add cannot read memory itself. The scope must be "global": TVM puts
    small buffers of other scopes on the heap, where LLVM cannot keep them in registers.
    """
    if current_machine().fma_from_memory or tile.unroll == 1:
        return
    load_stage(s, s.cache_read(source, "global", [accumulators]), accumulators, loop, tile)


def load_stage(s: Any, inputs: Any, accumulators: Any, loop: Any, tile: Tile) -> None:
    """Compute the stage `inputs` for one unrolled step, as vectors along the reduction."""
    s[inputs].compute_at(s[accumulators], loop)
    *outer, k = s[inputs].op.axis
    lanes = current_machine().lanes
    if int(k.dom.extent) > lanes:
        k_outer, k = s[inputs].split(k, factor=min(tile.unroll, lanes))
        outer.append(k_outer)
    for axis in outer:
        s[inputs].unroll(axis)
    s[inputs].vectorize(k)


def shape_and_tile(cfg: Any, output: Any) -> tuple[Any, Shape, Tile]:
    """Recover the accumulators, shape and tile from a product's output."""
    accumulators = next(t for t in output.op.input_tensors if t.op.name == "accumulators")
    pixels, groups, tiles, channels = (int(extent) for extent in accumulators.shape)
    depth = 1
    for axis in accumulators.op.reduce_axis:
        depth *= int(axis.dom.extent)
    shape = Shape(
        pixels=pixels,
        row=pixels,
        groups=groups,
        depth=depth,
        block=tiles * channels,
        unrolls=(),
    )
    return accumulators, shape, dataclasses.replace(chosen_tile(cfg), channels=channels)
