"""The first convolution: reads the NCHW image, writes pixels × channels.

Three input channels are too few to lie side by side, but the pixels of a row do. Where a
multiply-add takes its operands from registers only, a row's stretch below a tile is loaded as
whole vectors, each element then met by every tap and output channel that needs it.
"""

from __future__ import annotations

from typing import Any

from tvm import autotvm, te, tir

from tvm_shufflenet.boards import Machine
from tvm_shufflenet.schedules import matmul, matmul_loops
from tvm_shufflenet.schedules.tiles import FEW_REGISTERS, current_machine
from tvm_shufflenet.schedules.window import Window, inside_row, row_exists

TASK = "image_convolution.tvm_shufflenet"


def stretch(machine: Machine, window: Window, pixels: int) -> int:
    """Return how many vectors hold the inputs of a row below `pixels` outputs.

    They start a whole number of vectors left of the image, so that none is half in the border.
    """
    before = -window.border % machine.lanes
    return -(-(before + (pixels - 1) * window.stride + window.kw) // machine.lanes)


def _inputs(machine: Machine, window: Window, pixels: int) -> int:
    """Return the registers for a tile's inputs.

    Neighboring taps share inputs. LLVM keeps those that it broadcast, and spills if it cannot.
    """
    if not machine.fma_from_memory:
        return stretch(machine, window, pixels)
    return pixels if machine.vector_registers > FEW_REGISTERS else 1


@autotvm.register_topi_compute(TASK)
def image_convolution(
    cfg: Any, data: Any, weight: Any, bias: Any, geometry: tuple[int, ...], relu: int
) -> Any:
    """bias + Σ over window and channels, [ReLU]: NCHW -> (output pixels, block).

    Args:
        cfg: the configuration.
        data: (images, channels, height, width).
        weight: (1, kh·channels·kw, block) or packed (1, block / tile, kh·channels·kw, tile).
        bias: (block,).
        geometry: the fields of a `Window`.
        relu: 1 to clamp at zero.
    """
    window, machine = Window(*geometry), current_machine()
    _, reduction, block = matmul.extents(weight)
    channels = int(data.shape[1])
    shape = matmul.Shape(
        pixels=window.pixels,
        row=window.out_width,
        groups=1,
        depth=reduction,
        block=block,
        unrolls=(1, window.kw) if machine.fma_from_memory else (window.kw,),
        inputs=lambda machine, pixels: _inputs(machine, window, pixels),
    )
    matmul.define_space(cfg, shape, weight, orders=(0,))
    weight = matmul.packed_for(weight, cfg)
    tile = matmul.chosen_tile(cfg)
    read = _reader(data, window, tile.pixels, machine)
    weights = matmul.weight_reader(weight, tile.channels)
    kh, k, kw = (te.reduce_axis((0, extent)) for extent in (window.kh, channels, window.kw))
    accumulators = te.compute(
        (shape.pixels, 1, block // tile.channels, tile.channels),
        lambda p, g, t, c: te.sum(
            read(p, k, kh, kw) * weights(g, t, (kh * channels + k) * window.kw + kw, c),
            axis=[kh, k, kw],
            init=bias[t * tile.channels + c],
        ),
        name="accumulators",
    )
    return matmul.epilogue(shape, tile, accumulators, None, relu)


def _reader(data: Any, window: Window, pixels: int, machine: Machine) -> Any:
    """Return x(pixel, channel, kh, kw), out of vectors of a row where those are worth loading."""
    zero = tir.const(0, "float32")

    def direct(p: Any, k: Any, kh: Any, kw: Any) -> Any:
        n, h, w = window.place(p, pixels)
        h, w = h * window.stride + kh - window.border, w * window.stride + kw - window.border
        inside = inside_row(window, pixels, w, 1, window.border)
        return tir.if_then_else(tir.all(row_exists(window, h), inside), data[n, k, h, w], zero)

    if machine.fma_from_memory:
        return direct
    lanes = machine.lanes
    vectors, before = stretch(machine, window, pixels), -window.border % lanes

    def segment(n: Any, k: Any, row: Any, tile: Any, vector: Any, lane: Any) -> Any:
        h = row - window.border
        start = tile * (pixels * window.stride) + vector * lanes - before - window.border
        w = start + lane
        whole = inside_row(window, pixels, start, lanes, before + window.border)
        exists, value = row_exists(window, h), data[n, k, h, w]
        partly = tir.if_then_else(tir.all(exists, w >= 0, w < window.width), value, zero)
        return tir.if_then_else(tir.all(exists, whole), value, partly)

    height = (window.out_height - 1) * window.stride + window.kh
    tiles = window.out_width // pixels
    segments = te.compute(
        (window.images, int(data.shape[1]), height, tiles, vectors, lanes),
        segment,
        name="segments",
    )

    def segmented(p: Any, k: Any, kh: Any, kw: Any) -> Any:
        n, h, w = window.place(p, pixels)
        x = before + w % pixels * window.stride + kw
        row = h * window.stride + kh
        return segments[n, k, row, w // pixels, x // lanes, x % lanes]

    return segmented


@autotvm.register_topi_schedule(TASK)
def schedule_image_convolution(cfg: Any, outs: list[Any]) -> Any:
    """Schedule the product, a row of pixels at a time."""
    output = outs[0]
    s = te.create_schedule(output.op)
    accumulators, shape, tile = matmul_loops.shape_and_tile(cfg, output)
    *_, geometry, _relu = autotvm.task.get_workload(outs)
    window = Window(*geometry)
    # An image by itself: its first and last rows are then the first and last of their loop.
    blocks = (window.out_height * window.out_width, window.out_width)
    loops = matmul_loops.schedule_product(s, output, accumulators, shape, tile, blocks)
    for source in accumulators.op.input_tensors:
        if source.op.name != "segments":
            continue
        s[source].compute_at(s[accumulators], loops.reduction)
        *outer, lane = s[source].op.axis
        for axis in outer:
            s[source].unroll(axis)
        s[source].vectorize(lane)
    return s
