"""Zero padding and the geometry of sliding windows over pixels × channels matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Window:
    """A window of kh × kw that slides over images of `height` × `width`, square stride and border."""

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

    def place(self, pixel: Any) -> tuple[Any, Any, Any]:
        """Return image, row and column of an output pixel."""
        row = pixel // self.out_width
        return row // self.out_height, row % self.out_height, pixel % self.out_width


def padded(data: Any, window: Window, fill: Any = None) -> Any:
    """Return `data` as (images, rows, columns, channels) with its border, zeros or `fill`.

    Rows and columns that no window reaches are left out.
    """
    from tvm import te, tir

    height = (window.out_height - 1) * window.stride + window.kh
    width = (window.out_width - 1) * window.stride + window.kw
    border = window.border

    def value(n: Any, h: Any, w: Any, c: Any) -> Any:
        row, column = h - border, w - border
        source = data[(n * window.height + row) * window.width + column, c]
        if border == 0:
            return source
        inside = tir.all(row >= 0, row < window.height, column >= 0, column < window.width)
        return tir.if_then_else(inside, source, tir.const(0, "float32") if fill is None else fill)

    return te.compute((window.images, height, width, int(data.shape[1])), value, name="padded")


def padded_image(data: Any, window: Window) -> Any:
    """Return the NCHW image `data` with its border of zeros, still NCHW."""
    from tvm import te, tir

    height = (window.out_height - 1) * window.stride + window.kh
    width = (window.out_width - 1) * window.stride + window.kw

    def value(n: Any, c: Any, h: Any, w: Any) -> Any:
        row, column = h - window.border, w - window.border
        if window.border == 0:
            return data[n, c, row, column]
        inside = tir.all(row >= 0, row < window.height, column >= 0, column < window.width)
        return tir.if_then_else(inside, data[n, c, row, column], tir.const(0, "float32"))

    return te.compute(
        (window.images, int(data.shape[1]), height, width), value, name="padded_image"
    )


def schedule_padding(s: Any, tensor: Any, width: int) -> None:
    """Copy whole channel vectors."""
    *_, channels = s[tensor].op.axis
    _, inner = s[tensor].split(channels, factor=width)
    s[tensor].vectorize(inner)
