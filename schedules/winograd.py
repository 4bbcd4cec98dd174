"""Dense 3×3 convolution by Winograd's F(2×2, 3×3): 16 products in place of 36 a tile.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015). The weights are
transformed at compile time. The two transforms are written out loop by loop; the 16 products are
one grouped matrix product.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import autotvm, te, tir

from tvm_shufflenet.schedules import matmul, matmul_loops
from tvm_shufflenet.schedules.tiles import current_machine, vector_width
from tvm_shufflenet.schedules.window import Window, padded, schedule_padding

TASK = "winograd.tvm_shufflenet"
POINTS = 16  # products of a tile: 4 × 4
_IN = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
_OUT = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])


def tiles_of(window: Window) -> tuple[int, int, int]:
    """Return images, rows and columns of the 2×2 output tiles."""
    return window.images, -(-window.out_height // 2), -(-window.out_width // 2)


@autotvm.register_topi_compute(TASK)
def winograd(
    cfg: Any,
    data: Any,
    weight: Any,
    bias: Any,
    geometry: tuple[int, ...],
    relu: int,
) -> Any:
    """bias + Σ over a 3×3 window and a group's channels, [ReLU].

    Args:
        cfg: the configuration.
        data: (pixels, channels), channels without padding.
        weight: transformed, (16·groups, depth, block) or packed for a tile.
        bias: (groups·block,).
        geometry: the fields of a `Window`, 3×3 with stride 1.
        relu: 1 to clamp at zero.
    """
    window = Window(*geometry)
    products, depth, block = matmul.extents(weight)
    groups = products // POINTS
    images, rows, columns = tiles_of(window)
    tiles = images * rows * columns
    shape = matmul.Shape(
        pixels=tiles,
        row=tiles,
        groups=products,
        depth=depth,
        block=block,
        unrolls=matmul.unrolls(depth),
    )
    matmul.define_space(cfg, shape, weight)
    weight = matmul.packed_for(weight, cfg)
    tile = matmul.chosen_tile(cfg)
    border = padded(data, window, size=(2 * rows + 2, 2 * columns + 2))
    inputs = _transform_inputs(border, (images, rows, columns), int(data.shape[1]))
    accumulators = matmul.product(
        shape, tile, lambda p, g, k: inputs[g // groups, p, g % groups * depth + k], weight, None
    )
    summed = matmul.epilogue(shape, tile, accumulators, None, False)
    return _transform_outputs(summed, bias, window, bool(relu))


def _combination(terms: list[tuple[int, Any]]) -> Any:
    """Return Σ sign·value for signs of ±1, without multiplications."""
    (sign, total), *others = sorted(terms, key=lambda term: -term[0])
    assert sign == 1
    for sign, value in others:
        total = total + value if sign > 0 else total - value
    return total


def _sandwich(matrix: np.ndarray, at: Any, put: Any, middle: Any) -> None:
    """Emit matrix · X · matrixᵀ: X by `at`, results to `put`, by way of a buffer."""
    count, size = matrix.shape
    for i in range(count):
        for b in range(size):
            terms = [(int(matrix[i, a]), at(a, b)) for a in range(size) if matrix[i, a]]
            middle(i, b, _combination(terms))
    for i in range(count):
        for j in range(count):
            terms = [(int(matrix[j, b]), middle(i, b)) for b in range(size) if matrix[j, b]]
            put(i, j, _combination(terms))


def _transform_inputs(border: Any, tiles: tuple[int, int, int], channels: int) -> Any:
    """Return (16, tiles, channels)."""
    images, rows, columns = tiles
    count = images * rows * columns
    width = vector_width(current_machine(), channels)

    def body(ins: list[Any], outs: list[Any]) -> Any:
        builder = tir.ir_builder.create()
        source, target = builder.buffer_ptr(ins[0]), builder.buffer_ptr(outs[0])
        with builder.for_range(0, count, "tile", kind="parallel") as tile:
            half = builder.allocate("float32", POINTS * width, "half")
            n, row, column = tile // (rows * columns), tile // columns % rows, tile % columns
            with (
                builder.for_range(0, channels // width, "vector") as vector,
                builder.for_range(0, width, "lane", kind="vectorize") as lane,
            ):
                c = vector * width + lane

                def middle(i: int, b: int, value: Any = None) -> Any:
                    at = (i * 4 + b) * width + lane
                    if value is None:
                        return half[at]
                    half[at] = value
                    return None

                def put(i: int, j: int, value: Any) -> None:
                    target[i * 4 + j, tile, c] = value

                _sandwich(_IN, lambda a, b: source[n, row * 2 + a, column * 2 + b, c], put, middle)
        return builder.get()

    return te.extern((POINTS, count, channels), [border], body, name="inputs", dtype="float32")


def _transform_outputs(summed: Any, bias: Any, window: Window, relu: bool) -> Any:
    """Return (output pixels, channels) from the products, (tiles, 16·channels)."""
    images, rows, columns = tiles_of(window)
    channels = int(bias.shape[0])
    width = vector_width(current_machine(), channels)

    def body(ins: list[Any], outs: list[Any]) -> Any:
        builder = tir.ir_builder.create()
        source, offset = builder.buffer_ptr(ins[0]), builder.buffer_ptr(ins[1])
        target = builder.buffer_ptr(outs[0])
        with builder.for_range(0, images * rows * columns, "tile", kind="parallel") as tile:
            half = builder.allocate("float32", 8 * width, "half")
            pixels = builder.allocate("float32", 4 * width, "pixels")
            n, row, column = tile // (rows * columns), tile // columns % rows, tile % columns
            with builder.for_range(0, channels // width, "vector") as vector:
                with builder.for_range(0, width, "lane", kind="vectorize") as lane:
                    c = vector * width + lane

                    def middle(i: int, b: int, value: Any = None) -> Any:
                        at = (i * 4 + b) * width + lane
                        if value is None:
                            return half[at]
                        half[at] = value
                        return None

                    def put(i: int, j: int, value: Any) -> None:
                        value = value + offset[c]
                        zero = tir.const(0, "float32")
                        pixels[(i * 2 + j) * width + lane] = tir.max(value, zero) if relu else value

                    _sandwich(
                        _OUT,
                        lambda a, b: source[tile, (a * 4 + b) * channels + c],
                        put,
                        middle,
                    )
                for i in range(2):
                    for j in range(2):
                        h, w = row * 2 + i, column * 2 + j
                        p = (n * window.out_height + h) * window.out_width + w
                        inside = tir.all(h < window.out_height, w < window.out_width)
                        with (
                            builder.if_scope(inside),
                            builder.for_range(0, width, "lane", kind="vectorize") as lane,
                        ):
                            target[p, vector * width + lane] = pixels[(i * 2 + j) * width + lane]
        return builder.get()

    return te.extern(
        (window.pixels, channels), [summed, bias], body, name="output", dtype="float32"
    )


@autotvm.register_topi_schedule(TASK)
def schedule_winograd(cfg: Any, outs: list[Any]) -> Any:
    """Schedule border and products; the transforms' loops are part of them."""
    output = outs[0]
    s = te.create_schedule(output.op)
    summed = output.op.input_tensors[0]
    accumulators, shape, tile = matmul_loops.shape_and_tile(cfg, summed)
    loops = matmul_loops.schedule_product(s, summed, accumulators, shape, tile)
    inputs = next(t for t in accumulators.op.input_tensors if t.op.name == "inputs")
    matmul_loops.load_together(s, inputs, accumulators, loops.reduction, tile)
    border = inputs.op.input_tensors[0]
    schedule_padding(s, border, vector_width(current_machine(), int(border.shape[-1])))
    s[border].parallel(s[border].fuse(*s[border].op.axis[:2]))
    return s
