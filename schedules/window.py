"""Zero padding and the geometry of sliding windows over pixels × channels matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


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


def nearest(data: Any, window: Window, n: Any, row: Any, column: Any, c: Any) -> Any:
    """Read a pixel, its place counted from the border's corner; for the border, the nearest.

    What was read for the border must then be made not to matter; see `unless_border`.
    """
    h = _clamped(row - window.border, window.height)
    w = _clamped(column - window.border, window.width)
    return data[(n * window.height + h) * window.width + w, c]


def in_nearest_row(
    data: Any, window: Window, run: int, n: Any, row: Any, column: Any, c: Any
) -> Any:
    """Read a pixel as `nearest` does, but zero left and right of the map; see `inside_row`."""
    from tvm import tir

    h, w = _clamped(row - window.border, window.height), column - window.border
    value = data[(n * window.height + h) * window.width + w, c]
    inside = inside_row(window, run, w, 1, window.border)
    return tir.if_then_else(inside, value, tir.const(0, "float32"))


def inside_row(window: Window, run: int, first: Any, count: int, before: int) -> Any:
    """Tell whether `count` columns from `first` on are in the map.

    What is marked as likely, TVM cuts loops over runs of `run` pixels by: the first and the last
    run of a row are then written out, and those between have no conditions. It must not mark what
    more than one run on a side can see, or bounds of the loops within would depend on the run.
    `before` is how many columns left of the map the first run reads.
    """
    from tvm import tir

    runs, step = window.out_width // run, run * window.stride
    beyond = (window.out_width - 1) * window.stride + window.kw - window.border - window.width
    left, right = first >= 0, first + count <= window.width
    if runs > 1 and before <= step:
        left = tir.likely(left)
    if runs > 2 and beyond + count - 1 <= step:  # of two runs, the first cut makes both single
        right = tir.likely(right)
    return tir.all(left, right)


def _clamped(position: Any, extent: int) -> Any:
    from tvm import te

    return te.min(te.max(position, 0), extent - 1)


def unless_border(factor: Any, window: Window, row: Any, column: Any) -> Any:
    """Return `factor`, or zero for the border, to multiply what `nearest` read by.

    It must not choose between the pixel and zero itself: TVM would then see that the place is
    within the map wherever it counts, drop the clamps, and read beyond the map.
    """
    return _where(unless_border_row(factor, window, row), column, window.width, window)


def unless_border_row(factor: Any, window: Window, row: Any) -> Any:
    """Return `factor`, or zero for the border's rows; see `unless_border`."""
    return _where(factor, row, window.height, window)


def _where(factor: Any, place: Any, extent: int, window: Window) -> Any:
    from tvm import tir

    inside = tir.all(place >= window.border, place < extent + window.border)
    return tir.Select(inside, factor, tir.const(0, "float32"))


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


def row_exists(window: Window, h: Any) -> Any:
    """Tell whether row h is in the map.

    Marked as likely: a loop over rows is cut where the border begins.
    """
    from tvm import tir

    return tir.all(tir.likely(h >= 0), tir.likely(h < window.height))


def schedule_padding(s: Any, tensor: Any, width: int) -> None:
    """Copy whole channel vectors."""
    *_, channels = s[tensor].op.axis
    _, inner = s[tensor].split(channels, factor=width)
    s[tensor].vectorize(inner)
