"""The grouped matrix product at the heart of pointwise convolutions, convolutions and dense layers.

Its space and what it computes. The accumulators start as the bias, or as the residual: that is
loaded anyway, and the bias is added in the end, so that neither is copied first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tvm_shufflenet.boards import Machine
from tvm_shufflenet.schedules.channels import Source
from tvm_shufflenet.schedules.tiles import (
    Tile,
    best_tile,
    channel_tiles,
    current_machine,
    fits,
    knob,
    pixel_tiles,
)

AT_BIAS = 2  # a `relu` attribute: see `passes/carry_bias.py`
_SHORT = 32  # steps
_LONGEST = 16  # turns of a shuffle unrolled, in steps


def inputs_of_step(machine: Machine, pixels: int) -> int:
    """Return the registers for inputs: one a pixel, or one that all pass through."""
    return 1 if machine.fma_from_memory else pixels


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A grouped matrix product: for each group, (pixels × depth) times (depth × block)."""

    pixels: int  # rows: the images' output pixels
    row: int  # what a tile must divide: an output row, or all pixels if rows are no matter
    groups: int
    depth: int  # reduction: input channels of a group, times the window for a convolution
    block: int  # output channels of a group, padded to whole vectors
    unrolls: tuple[int, ...]  # reduction steps that may be unrolled
    inputs: Callable[[Machine, int], int] = inputs_of_step  # registers for a tile's inputs


def define_space(
    cfg: Any,
    shape: Shape,
    weight: Any,
    orders: Sequence[int] = (0, 1),
    outer: bool | None = None,
    together: Callable[[Any], int] | None = None,
) -> None:
    """Define the work and the knobs of a product: only tiles that fit the registers are there.

    A weight that is packed already leaves one channel tile. `together(cfg)` tells how many pixels
    are computed in one block, which pixel tiles must divide too; a tile that does not divide all
    pixels needs them all in one loop. `outer` is the default order of the loops; without, it is
    by the size of the weights.
    """
    # AutoTVM would count what reading a border or through a shuffle takes as well.
    cfg.add_flop(2 * shape.pixels * shape.groups * shape.depth * shape.block)
    machine = current_machine()
    pixels = pixel_tiles(shape.row, machine, cut=shape.row == shape.pixels)
    channels = channel_tiles(machine, shape.block)
    if len(weight.shape) == 4:
        channels = [int(weight.shape[3])]
    pairs = [
        (p, c) for p in pixels for c in channels if fits(machine, shape.inputs(machine, p), p, c)
    ]
    if outer is None:
        weights_bytes = 4 * shape.groups * shape.depth * shape.block
        outer = weights_bytes > 1024 * machine.l1d_kib

    def suits(config: Any, tile: int) -> bool:
        if together is None:
            return shape.row % tile == 0 or bool(config["channels_outer"].val)
        count = together(config)
        return count > 0 and (count % tile == 0 or count == shape.pixels)

    knob(cfg, "channels_outer", list(orders), int(outer) if len(orders) > 1 else orders[0])
    default = [pair for pair in pairs if suits(cfg, pair[0])]
    best = best_tile(machine, default, shape.depth, shape.row)
    knob(cfg, "tile_pixels", pixels, best[0])
    knob(cfg, "tile_channels", channels, best[1])
    knob(cfg, "unroll", list(shape.unrolls), shape.unrolls[0 if machine.fma_from_memory else -1])
    if not cfg.is_fallback:

        def valid(entity: Any) -> bool:
            pair = entity["tile_pixels"].val, entity["tile_channels"].val
            return pair in pairs and suits(entity, pair[0])

        cfg.multi_filter(valid)


def unrolls(steps: int) -> tuple[int, ...]:
    """Return how many of `steps` reduction steps, whose inputs lie side by side, to unroll."""
    return tuple(count for count in (1, 2, 4, 8) if steps % count == 0)


def unrolls_through(source: Source, depth: int) -> tuple[int, ...]:
    """Return how many reduction steps to unroll whose inputs are read through `source`.

    Whole turns of the shuffle: the block an input lies in is then the same in every turn, and its
    address advances by a constant, where it would otherwise be divided out for each step.
    """
    if source.shuffle == 1:
        return unrolls(depth)
    turns = tuple(source.shuffle * count for count in (1, 2, 4))
    return tuple(steps for steps in turns if steps <= min(depth, _LONGEST)) or (1,)


def unrolls_of_vectors(machine: Machine, depth: int) -> tuple[int, ...]:
    """Return the same where a stage loads whole vectors of inputs.

    A short reduction of an awkward length is unrolled whole, so that its last vector needs no
    condition.
    """
    if depth % machine.lanes and depth <= _SHORT:
        return (depth,)
    return unrolls(depth)


def chosen_tile(cfg: Any) -> Tile:
    """Return the tile a configuration stands for."""
    return Tile(
        pixels=cfg["tile_pixels"].val,
        channels=cfg["tile_channels"].val,
        unroll=cfg["unroll"].val,
        channels_outer=bool(cfg["channels_outer"].val),
    )


def weight_reader(weight: Any, tile_channels: int) -> Callable[[Any, Any, Any, Any], Any]:
    """Return w(group, channel tile, k, channel in tile) for packed and unpacked weights.

    Unpacked: (groups, depth, block). Packed for a tile: (groups, block / tile, depth, tile).
    """
    if len(weight.shape) == 4:
        return lambda g, tile, k, c: weight[g, tile, k, c]
    return lambda g, tile, k, c: weight[g, k, tile * tile_channels + c]


def product(
    shape: Shape,
    tile: Tile,
    read: Callable[[Any, Any, Any], Any],
    weight: Any,
    start: Callable[[Any, Any], Any] | None,
) -> Any:
    """Return the accumulators (pixels, groups, channel tiles, channels): [start +] Σ_k x·w.

    `read(p, g, k)` gives the k-th input of group g at pixel p, `start(p, c)` what the sum of
    output channel c begins with. Steps at the end that are not a whole `tile.unroll` are left.
    """
    from tvm import te

    weights = weight_reader(weight, tile.channels)
    k = te.reduce_axis((0, shape.depth - shape.depth % tile.unroll), "k")

    def total(p: Any, g: Any, t: Any, c: Any) -> Any:
        terms = read(p, g, k) * weights(g, t, k, c)
        if start is None:
            return te.sum(terms, axis=k)
        return te.sum(terms, axis=k, init=start(p, g * shape.block + t * tile.channels + c))

    return te.compute(
        (shape.pixels, shape.groups, shape.block // tile.channels, tile.channels),
        total,
        name="accumulators",
    )


def finished_product(
    shape: Shape,
    tile: Tile,
    read: Callable[[Any, Any, Any], Any],
    weight: Any,
    bias: Any,
    residual: Any | None,
    relu: int,
) -> Any:
    """Return the output (pixels, groups·block) of a product: Σ_k x·w + bias [+ residual] [ReLU].

    `read` as for `product`. Steps that are not a whole `tile.unroll` are left to the epilogue.
    """
    weights = weight_reader(weight, tile.channels)
    accumulators = product(shape, tile, read, weight, beginning(bias, residual))
    last = None if residual is None else bias

    def term(p: Any, g: Any, t: Any, c: Any, k: int) -> Any:
        return read(p, g, k) * weights(g, t, k, c)

    return epilogue(shape, tile, accumulators, last, relu, term)


def windowed_product(
    shape: Shape,
    tile: Tile,
    window: tuple[int, int, int],
    read: Callable[[Any, Any, Any, Any, Any], Any],
    weight: Any,
    start: Callable[[Any, Any], Any],
) -> Any:
    """Return the accumulators of a product whose reduction runs over kh, kw and channels.

    `read(p, g, kh, kw, k)` gives channel k of group g below the window's tap (kh, kw) at pixel p.
    """
    from tvm import te

    _, width, depth = window
    weights = weight_reader(weight, tile.channels)
    kh, kw, k = (te.reduce_axis((0, extent)) for extent in window)
    return te.compute(
        (shape.pixels, shape.groups, shape.block // tile.channels, tile.channels),
        lambda p, g, t, c: te.sum(
            read(p, g, kh, kw, k) * weights(g, t, (kh * width + kw) * depth + k, c),
            axis=[kh, kw, k],
            init=start(p, g * shape.block + t * tile.channels + c),
        ),
        name="accumulators",
    )


def beginning(bias: Any, residual: Any | None) -> Callable[[Any, Any], Any]:
    """Return what the sum of output channel c at pixel p begins with."""
    return lambda p, c: bias[c] if residual is None else residual[p, c]


def epilogue(
    shape: Shape,
    tile: Tile,
    accumulators: Any,
    bias: Any | None,
    relu: int,
    term: Callable[[Any, Any, Any, Any, int], Any] | None = None,
) -> Any:
    """Return the output (pixels, groups·block): accumulators [+ bias] [then ReLU].

    `bias` is None where the accumulators began with it. With `relu` `AT_BIAS` it is the least
    that an output may be, and is not added. `term(p, g, t, c, k)` gives the products of the steps
    that were left to the epilogue.
    """
    from tvm import te, tir

    left = range(shape.depth - shape.depth % tile.unroll, shape.depth)

    def finish(p: Any, c: Any) -> Any:
        g, within = c // shape.block, c % shape.block
        t, lane = within // tile.channels, within % tile.channels
        value = accumulators[p, g, t, lane]
        for k in left:
            assert term is not None
            value = value + term(p, g, t, lane, k)
        if bias is not None and relu == AT_BIAS:
            return te.max(value, bias[c])
        if bias is not None:
            value = value + bias[c]
        return te.max(value, tir.const(0, "float32")) if relu else value

    return te.compute((shape.pixels, shape.groups * shape.block), finish, name="output")


def extents(weight: Any) -> tuple[int, int, int]:
    """Return (groups, depth, block) of a weight, packed or not."""
    groups, *middle, last = (int(extent) for extent in weight.shape)
    if len(middle) == 1:
        return groups, middle[0], last
    return groups, middle[1], middle[0] * last


def packed_for(weight: Any, cfg: Any) -> Any:
    """Return the weight as the kernel will get it: while tuning, packed for the tile on trial."""
    from tvm import autotvm, te

    if len(weight.shape) == 4 or not autotvm.GLOBAL_SCOPE.in_tuning:
        return weight
    groups, depth, block = extents(weight)
    tile = cfg["tile_channels"].val
    return te.placeholder((groups, block // tile, depth, tile), weight.dtype, name="weight")
