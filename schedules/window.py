"""Zero padding and the geometry of sliding windows over pixels × channels matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm_shufflenet.boards import Machine


@dataclass(frozen=True)
class Window:
    """A window of kh × kw sliding over images of `height` × `width`; square stride and border."""

    images: int
    height: int
    width: int
    kh: int
    kw: int
    stride: int
    border: int  # zeros on each side

    @property
    def out_height(self) -> int:
        """Rows of the output."""
        return (self.height + 2 * self.border - self.kh) // self.stride + 1

    @property
    def out_width(self) -> int:
        """Pixels of an output row."""
        return (self.width + 2 * self.border - self.kw) // self.stride + 1

    @property
    def pixels(self) -> int:
        """Output pixels of all images."""
        return self.images * self.out_height * self.out_width

    def place(self, pixel: Any, run: int) -> tuple[Any, Any, Any]:
        """Return image, row and column of an output pixel.

        Written for loops over runs of `run` pixels, which must divide a row: TVM then sees that
        the pixels of a run lie side by side in one row.
        """
        first, within = pixel // run, pixel % run
        runs = self.out_width // run
        row = first // runs
        return row // self.out_height, row % self.out_height, first % runs * run + within


def border_is_copied(machine: Machine, window: Window) -> bool:
    """Tell whether windows slide over a copy with the border, or over the map itself.

    A copy costs each pixel a load and a store; going without costs each run of output pixels some
    conditions. They are cheaper where a run reads many pixels, or where vectors have masks or the
    registers to spare for them: every core whose multiply-adds read memory.
    """
    return window.border > 0 and window.stride == 1 and not machine.fma_from_memory


def nearest(data: Any, window: Window, n: Any, row: Any, column: Any, c: Any) -> Any:
    """Read a pixel, its place counted from the border's corner; for the border, the nearest.

    What was read for the border must then be made not to matter; see `unless_border`.
    """
    h = _clamped(row - window.border, window.height)
    w = _clamped(column - window.border, window.width)
    return data[(n * window.height + h) * window.width + w, c]


def _clamped(position: Any, extent: int) -> Any:
    from tvm import te

    return te.min(te.max(position, 0), extent - 1)


def unless_border(factor: Any, window: Window, row: Any, column: Any) -> Any:
    """Return `factor`, or zero for the border, to multiply what `nearest` read by.

    It must not choose between the pixel and zero itself: TVM would then see that the place is
    within the map wherever it counts, drop the clamps, and read beyond the map.
    """
    from tvm import tir

    for place, extent in ((row, window.height), (column, window.width)):
        inside = tir.all(place >= window.border, place < extent + window.border)
        factor = tir.Select(inside, factor, tir.const(0, "float32"))
    return factor


def padded(data: Any, window: Window, size: tuple[int, int] | None = None) -> Any:
    """Return `data` as (images, rows, columns, channels) with its border of zeros.

    Rows and columns that no window reaches are left out, unless `size` asks for so many.
    """
    from tvm import te, tir

    height = (window.out_height - 1) * window.stride + window.kh
    width = (window.out_width - 1) * window.stride + window.kw
    height, width = size or (height, width)
    border = window.border

    def value(n: Any, h: Any, w: Any, c: Any) -> Any:
        row, column = h - border, w - border
        source = data[(n * window.height + row) * window.width + column, c]
        if border == 0 and size is None:
            return source
        inside = tir.all(row >= 0, row < window.height, column >= 0, column < window.width)
        return tir.if_then_else(inside, source, tir.const(0, "float32"))

    return te.compute((window.images, height, width, int(data.shape[1])), value, name="padded")


def padded_image(data: Any, window: Window, beyond: int, lanes: int) -> Any:
    """Return the NCHW image `data` with its border of zeros, still NCHW.

    Rows are long enough that `beyond` pixels can be read from where any window starts. The loops
    are written out: rows are copied in vectors of `lanes`, without a condition for each pixel.
    """
    from tvm import te, tir

    height = (window.out_height - 1) * window.stride + window.kh
    width = (window.out_width - 1) * window.stride + max(window.kw, beyond)
    maps = window.images * int(data.shape[1])
    inside = min(window.width, width - window.border)  # pixels of a row that are read

    def body(ins: list[Any], outs: list[Any]) -> Any:
        builder = tir.ir_builder.create()
        source, target = builder.buffer_ptr(ins[0]), builder.buffer_ptr(outs[0])
        zero = tir.const(0, "float32")

        def fill(start: Any, count: int, value: Any) -> None:
            vectors, rest = divmod(count, lanes)
            if vectors:
                with (
                    builder.for_range(0, vectors, "vector") as vector,
                    builder.for_range(0, lanes, "lane", kind="vectorize") as lane,
                ):
                    target[start + vector * lanes + lane] = value(vector * lanes + lane)
            for last in range(rest):
                target[start + vectors * lanes + last] = value(vectors * lanes + last)

        with builder.for_range(0, maps * height, "row", kind="parallel") as row:
            h = row % height - window.border
            start = row * width
            with builder.if_scope(tir.all(h >= 0, h < window.height)):
                origin = (row // height * window.height + h) * window.width
                fill(start, window.border, lambda _: zero)
                fill(start + window.border, inside, lambda w: source[origin + w])
                end = window.border + inside
                fill(start + end, width - end, lambda _: zero)
            with builder.else_scope():
                fill(start, width, lambda _: zero)
        return builder.get()

    shape = (window.images, int(data.shape[1]), height, width)
    return te.extern(shape, [data], body, name="padded_image", dtype="float32")


def schedule_padding(s: Any, tensor: Any, width: int) -> None:
    """Copy whole channel vectors."""
    *_, channels = s[tensor].op.axis
    _, inner = s[tensor].split(channels, factor=width)
    s[tensor].vectorize(inner)
