"""Kernels with nothing to tune: copies between channel blocks, means of maps, normalization."""

from __future__ import annotations

from typing import Any

from tvm import te, tir

from tvm_shufflenet.schedules.channels import Source
from tvm_shufflenet.schedules.tiles import current_machine, divisors, vector_width


def channel_shuffle(data: Any, source: tuple[int, ...]) -> Any:
    """Shuffle the channels of (pixels, channels); blocks stay as they are, their padding zero."""
    where = Source(*source)

    def value(p: Any, m: Any) -> Any:
        block, within = m // where.stride, m % where.stride
        shuffled = data[p, where.shuffled(block * where.size + within)]
        if where.size == where.stride:
            return shuffled
        inside = tir.likely(within < where.size)
        return tir.if_then_else(inside, shuffled, tir.const(0, "float32"))

    return te.compute(data.shape, value, name="output", attrs={"source": list(source)})


def schedule_channel_shuffle(outs: list[Any]) -> Any:
    """One pixel after the other, in whole turns of the shuffle: no address is divided out."""
    output = outs[0]
    where = Source(*(int(value) for value in output.op.attrs["source"]))
    s = te.create_schedule(output.op)
    p, m = output.op.axis
    _, within = s[output].split(m, factor=where.stride)
    _, step = s[output].split(within, factor=where.shuffle)
    s[output].unroll(step)
    s[output].parallel(p)
    return s


def global_mean(data: Any, images: int) -> Any:
    """Average each map: (images·pixels, channels) -> (images, channels)."""
    pixels = int(data.shape[0]) // images
    p = te.reduce_axis((0, pixels), "p")
    sums = te.compute(
        (images, int(data.shape[1])),
        lambda n, c: te.sum(data[n * pixels + p, c], axis=p),
        name="sums",
    )
    scale = tir.const(1 / pixels, "float32")
    return te.compute(sums.shape, lambda n, c: sums[n, c] * scale, name="output")


def schedule_global_mean(outs: list[Any]) -> Any:
    """Several vectors of channels at a time, so that additions overlap."""
    output = outs[0]
    s = te.create_schedule(output.op)
    sums = output.op.input_tensors[0]
    width = vector_width(current_machine(), int(output.shape[1]))
    vectors = int(output.shape[1]) // width
    several = max(count for count in divisors(vectors) if count <= 8)
    n, c = s[output].op.axis
    c_outer, c_inner = s[output].split(c, factor=width * several)
    c_vector, c_lane = s[output].split(c_inner, factor=width)
    s[output].unroll(c_vector)
    s[output].vectorize(c_lane)
    block = s[output].fuse(n, c_outer)
    s[output].parallel(block)
    s[sums].compute_at(s[output], block)
    n, c = s[sums].op.axis
    c_vector, c_lane = s[sums].split(c, factor=width)
    s[sums].reorder(n, s[sums].op.reduce_axis[0], c_vector, c_lane)
    s[sums].unroll(c_vector)
    s[sums].vectorize(c_lane)
    return s


def adaptive_mean(data: Any, geometry: tuple[int, int, int, int, int]) -> Any:
    """Average over height × width windows of nearly equal size, cut as PyTorch does.

    Args:
        data: (images·rows·columns, channels).
        geometry: images, rows, columns, output rows, output columns.
    """
    images, rows, columns, height, width = geometry
    kh = te.reduce_axis((0, -(-rows // height) + 1), "kh")
    kw = te.reduce_axis((0, -(-columns // width) + 1), "kw")

    def bounds(position: Any, source: int, target: int) -> tuple[Any, Any]:
        start = position * source // target
        return start, ((position + 1) * source + target - 1) // target

    def total(p: Any, c: Any) -> Any:
        n, h, w = p // (height * width), p // width % height, p % width
        top, bottom = bounds(h, rows, height)
        left, right = bounds(w, columns, width)
        inside = tir.all(top + kh < bottom, left + kw < right)
        value = data[(n * rows + top + kh) * columns + left + kw, c]
        return te.sum(tir.if_then_else(inside, value, tir.const(0, "float32")), axis=[kh, kw])

    sums = te.compute((images * height * width, int(data.shape[1])), total, name="sums")

    def mean(p: Any, c: Any) -> Any:
        top, bottom = bounds(p // width % height, rows, height)
        left, right = bounds(p % width, columns, width)
        return sums[p, c] / ((bottom - top) * (right - left)).astype("float32")

    return te.compute(sums.shape, mean, name="output")


def schedule_adaptive_mean(outs: list[Any]) -> Any:
    """Whole vectors of channels; the conditions are the same for all of them."""
    output = outs[0]
    s = te.create_schedule(output.op)
    sums = output.op.input_tensors[0]
    width = vector_width(current_machine(), int(output.shape[1]))
    p, c = s[output].op.axis
    c_outer, c_inner = s[output].split(c, factor=width)
    s[output].vectorize(c_inner)
    s[output].parallel(p)
    s[sums].compute_at(s[output], c_outer)
    _, c = s[sums].op.axis
    s[sums].reorder(*s[sums].op.reduce_axis, c)
    s[sums].vectorize(c)
    return s


def local_response_norm(data: Any, size: int, alpha: float, bias: float) -> Any:
    """x · (bias + alpha/size · Σ x² over `size` neighboring channels) ** -0.75.

    The exponent is AlexNet's; as roots it vectorizes, where a power is a call per element. The
    loops are written out, so that the margin of zeros around the squares costs no conditions.
    (pixels, channels) -> (pixels, channels), channels in one block without padding.
    """
    pixels, channels = (int(extent) for extent in data.shape)
    half = size // 2
    width = vector_width(current_machine(), channels)

    def body(ins: list[Any], outs: list[Any]) -> Any:
        builder = tir.ir_builder.create()
        source, target = builder.buffer_ptr(ins[0]), builder.buffer_ptr(outs[0])
        with builder.for_range(0, pixels, "p", kind="parallel") as p:
            squares = builder.allocate("float32", channels + 2 * half, "squares")
            for margin in range(half):
                squares[margin] = tir.const(0, "float32")
                squares[half + channels + margin] = tir.const(0, "float32")
            with (
                builder.for_range(0, channels // width, "vector") as vector,
                builder.for_range(0, width, "lane", kind="vectorize") as lane,
            ):
                x = source[p * channels + vector * width + lane]
                squares[half + vector * width + lane] = x * x
            with (
                builder.for_range(0, channels // width, "vector") as vector,
                builder.for_range(0, width, "lane", kind="vectorize") as lane,
            ):
                c = vector * width + lane
                total = squares[c]
                for offset in range(1, size):
                    total = total + squares[c + offset]
                scaled = tir.const(alpha / size, "float32") * total
                root = tir.sqrt(tir.const(bias, "float32") + scaled)
                target[p * channels + c] = source[p * channels + c] / (root * tir.sqrt(root))
        return builder.get()

    return te.extern((pixels, channels), [data], body, name="output", dtype="float32")


def schedule_local_response_norm(outs: list[Any]) -> Any:
    """The loops are part of the kernel."""
    return te.create_schedule(outs[0].op)
