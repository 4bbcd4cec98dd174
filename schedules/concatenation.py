"""Joins of two maps along the channels, as the units with stride 2 end.

Their loops are written out: what comes from where is known for every channel, so that no channel
needs a condition.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import reduce
from typing import Any

from tvm import te, tir

from tvm_shufflenet.schedules.tiles import current_machine
from tvm_shufflenet.schedules.window import Window, nearest, unless_border

_Copies = tuple[tuple[int, int, int, int], ...]
_Read = Callable[[Any, Any, Any], Any]  # buffer, pixel, channel -> value


def concatenation(first: Any, second: Any, copies: _Copies) -> Any:
    """Join (pixels, channels) of two tensors into (pixels, channels) by a list of copies.

    Args:
        first: (pixels, channels).
        second: (pixels, channels).
        copies: (0 or 1 for the source, its first channel, the output's first channel, count),
            in the order of the output, without gaps; source 2 fills with zeros.
    """
    return _joined(first, second, copies)


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
    taps = [(kh, kw) for kh in range(window.kh) for kw in range(window.kw)]
    share = tir.const(1 / len(taps), "float32")

    def finished(average: Any) -> Any:
        return tir.max(average, tir.const(0, "float32")) if relu else average

    def inside(left: Any, p: Any, c: Any) -> Any:
        n, h, w = window.place(p, 1)
        row, column = h * window.stride - window.border, w * window.stride - window.border
        first = (n * window.height + row) * window.width + column
        read = (left[first + kh * window.width + kw, c] for kh, kw in taps)
        return finished(reduce(operator.add, read) * share)

    def at_border(left: Any, p: Any, c: Any) -> Any:
        n, h, w = window.place(p, 1)
        places = [(h * window.stride + kh, w * window.stride + kw) for kh, kw in taps]
        weighed = (
            nearest(left, window, n, *place, c) * unless_border(share, window, *place)
            for place in places
        )
        return finished(reduce(operator.add, weighed))

    def whole(p: Any) -> Any:
        _, h, w = window.place(p, 1)
        row, column = h * window.stride, w * window.stride
        last = (window.height + window.border, window.width + window.border)
        return tir.all(
            row >= window.border,
            row + window.kh <= last[0],
            column >= window.border,
            column + window.kw <= last[1],
        )

    return _joined(pooled, second, copies, (whole, inside, at_border))


def _copied(source: Any, p: Any, c: Any) -> Any:
    return source[p, c]


def _joined(
    first: Any,
    second: Any,
    copies: _Copies,
    choice: tuple[Callable[[Any], Any], _Read, _Read] | None = None,
) -> Any:
    """Write each copy's channels.

    With `choice` (which pixels, how those read the first source, how others do) it is not copied.
    """
    pixels = int(second.shape[0])
    channels = sum(count for *_, count in copies)
    lanes = current_machine().lanes

    def body(ins: list[Any], outs: list[Any]) -> Any:
        builder = tir.ir_builder.create()
        sources = [builder.buffer_ptr(tensor) for tensor in ins]
        target = builder.buffer_ptr(outs[0])

        def row(p: Any, of_first: _Read) -> None:
            reads = (of_first, _copied)
            for source, start, to, count in copies:
                for done, vectors, width in _pieces(count, lanes):
                    inner = "vectorize" if width > 1 else "serial"
                    with (
                        builder.for_range(0, vectors, "vector") as vector,
                        builder.for_range(0, width, "lane", kind=inner) as lane,
                    ):
                        c = done + vector * width + lane
                        target[p, to + c] = (
                            reads[source](sources[source], p, start + c)
                            if source < len(sources)
                            else tir.const(0, "float32")
                        )

        with builder.for_range(0, pixels, "p", kind="parallel") as p:
            if choice is None:
                row(p, _copied)
            else:
                which, then, otherwise = choice
                with builder.if_scope(which(p)):
                    row(p, then)
                with builder.else_scope():
                    row(p, otherwise)
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
