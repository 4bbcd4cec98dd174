"""Joins of two maps along the channels, as the units with stride 2 end.

Their loops are written out: what comes from where is known for every channel, so that none needs
a condition.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import te, tir

from tvm_shufflenet.schedules.tiles import current_machine
from tvm_shufflenet.schedules.window import Window, nearest, unless_border

_Copies = tuple[tuple[int, int, int, int], ...]
_Read = Callable[[Any, Any], Any]  # pixel, channel -> value


def concatenation(first: Any, second: Any, copies: _Copies) -> Any:
    """Join (pixels, channels) of two tensors into (pixels, channels) by a list of copies.

    Args:
        first: (pixels, channels).
        second: (pixels, channels).
        copies: (0 or 1 for the source, its first channel, the output's first channel, count),
            in the order of the output, without gaps; source 2 fills with zeros.
    """

    def reads(left: Any, right: Any) -> list[_Read]:
        return [lambda p, c: left[p, c], lambda p, c: right[p, c]]

    return _joined(first, second, copies, reads)


def pooled_concatenation(
    pooled: Any, second: Any, geometry: tuple[int, ...], copies: _Copies, relu: int
) -> Any:
    """Join the average pooling of one tensor with another, which it is never stored for.

    Args:
        pooled: (pixels before, channels), of which averages are taken; the border counts as zeros.
        second: (pixels, channels).
        geometry: the fields of the pooling's `Window`.
        copies: as for `concatenation`; the averages are source 0.
        relu: 1 to clamp the averages at zero.
    """
    window = Window(*geometry)
    share = tir.const(1 / (window.kh * window.kw), "float32")
    taps = [(kh, kw) for kh in range(window.kh) for kw in range(window.kw)]

    def reads(left: Any, right: Any) -> list[_Read]:
        def average(p: Any, c: Any) -> Any:
            n, h, w = window.place(p, 1)
            total = tir.const(0, "float32")
            for kh, kw in taps:
                row, column = h * window.stride + kh, w * window.stride + kw
                factor = unless_border(share, window, row, column)
                total = total + nearest(left, window, n, row, column, c) * factor
            return tir.max(total, tir.const(0, "float32")) if relu else total

        return [average, lambda p, c: right[p, c]]

    return _joined(pooled, second, copies, reads)


def _joined(
    first: Any, second: Any, copies: _Copies, reads: Callable[[Any, Any], list[_Read]]
) -> Any:
    """Write each copy's channels, which `reads` of both buffers gives by source."""
    pixels = int(second.shape[0])
    channels = sum(count for *_, count in copies)

    def body(ins: list[Any], outs: list[Any]) -> Any:
        builder = tir.ir_builder.create()
        sources = reads(*(builder.buffer_ptr(tensor) for tensor in ins))
        target = builder.buffer_ptr(outs[0])
        lanes = current_machine().lanes
        with builder.for_range(0, pixels, "p", kind="parallel") as p:
            for source, start, to, count in copies:
                for done, vectors, width in _pieces(count, lanes):
                    inner = "vectorize" if width > 1 else "serial"
                    with (
                        builder.for_range(0, vectors, "vector") as vector,
                        builder.for_range(0, width, "lane", kind=inner) as lane,
                    ):
                        c = done + vector * width + lane
                        filled = source < len(sources)
                        zero = tir.const(0, "float32")
                        target[p, to + c] = sources[source](p, start + c) if filled else zero
        return builder.get()

    return te.extern((pixels, channels), [first, second], body, name="output", dtype="float32")


def _pieces(count: int, lanes: int) -> list[tuple[int, int, int]]:
    """Cut channels into (first, vectors, lanes of each): whole vectors, then shorter ones."""
    pieces, done, width = [], 0, lanes
    while done < count:
        if vectors := (count - done) // width:
            pieces.append((done, vectors, width))
            done += vectors * width
        width //= 2
    return pieces


def schedule_concatenation(outs: list[Any]) -> Any:
    """The loops are part of the kernel."""
    return te.create_schedule(outs[0].op)
