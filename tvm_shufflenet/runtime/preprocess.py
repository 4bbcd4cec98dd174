"""From a picture to the network's input, bit for bit as PIL and PyTorch transforms do it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from tvm_shufflenet.errors import ImageError
from tvm_shufflenet.manifest import Input
from tvm_shufflenet.runtime.library import Tensor

Frame = npt.NDArray[np.uint8]

_RESIZED_LIMIT = 1 << 26  # pixels; beyond it lie only absurdly long pictures
_ROW_STEP = 8  # one row of so many is looked at for values out of range
_SLACK = 16  # a float input this many times beyond what pictures give was not prepared for us


class Preprocessor:
    """Fills network inputs from uint8 RGB pictures of shape (h, w, 3), as the manifest says.

    With a crop: the shorter side is resized to `resize`, the longer in proportion (rounded
    down), and the middle is cut out. Without: the whole picture is resized to the input's size.
    Both bilinear with Pillow's antialiasing. Then (x * scale - mean) / std in float32, unless the
    compiled graph does that itself.
    """

    def __init__(self, spec: Input) -> None:
        self._height, self._width = spec.shape[2:]
        how = spec.preprocessing
        self._resize, self._crop, self._reverse = how.resize, how.crop, how.channel_order == "BGR"
        # PyTorch divides by 255; to multiply by 1/255 rounds differently.
        divisor = round(1 / how.scale)
        divides = divisor >= 1 and 1 / divisor == how.scale
        scaling = (np.divide, divisor) if divides else (np.multiply, how.scale)
        mean, std = (np.array(v, np.float32)[:, None, None] for v in (how.mean, how.std))
        steps = ((*scaling, 1), (np.subtract, mean, 0), (np.divide, std, 1))
        self._steps = [
            (operation, np.float32(value))
            for operation, value, neutral in steps
            if not how.folded and not np.all(value == neutral)
        ]
        extremes = np.empty((3, 1, 2), np.float32)
        extremes[...] = (0, 255)
        self._normalize(extremes)
        self.low, self.high = float(extremes.min()), float(extremes.max())
        self._bound = _SLACK * max(abs(self.low), abs(self.high))

    def fill(self, tensor: Tensor, frames: Iterable[Frame]) -> None:
        """Write the prepared `frames` into the float32 NCHW `tensor`, one an image.

        Raises:
            ImageError: if a frame is so long that it cannot be resized.
        """
        for plane, frame in zip(tensor, frames, strict=True):
            fitted = self._fit(frame)
            planes = fitted.transpose(2, 0, 1)
            plane[...] = planes[::-1] if self._reverse else planes
            self._normalize(plane)

    def _normalize(self, planes: Tensor) -> None:
        for operation, value in self._steps:
            operation(planes, value, out=planes)

    def _fit(self, frame: Frame) -> Frame:
        height, width = frame.shape[:2]
        if self._resize is None:
            return _resized(frame, self._height, self._width)
        shorter, longer = min(height, width), max(height, width)
        long_side = int(self._resize * longer / shorter)
        if long_side * self._resize > _RESIZED_LIMIT:
            raise ImageError(
                f"a picture of {width}x{height} is too long to crop its middle; cut it first"
            )
        tall, wide = (self._resize, long_side) if height <= width else (long_side, self._resize)
        top, left = round((tall - self._height) / 2), round((wide - self._width) / 2)
        middle = _resized(frame, tall, wide)
        return middle[top : top + self._height, left : left + self._width]

    def check_range(self, tensor: Tensor) -> None:
        """Refuse a prepared input that is NaN, infinite or far outside what pictures give.

        Looks at every eighth row: enough for a tensor that was scaled in another way or never
        filled, at little cost beside an inference.

        Raises:
            ImageError: with the values expected and found.
        """
        rows = tensor[:, :, ::_ROW_STEP]
        low, high = rows.min(), rows.max()  # NaN if any element is
        if not (-self._bound <= low and high <= self._bound):
            raise ImageError(
                f"the float32 input has values from {low:.4g} to {high:.4g} where prepared "
                f"pictures have {self.low:.4g} to {self.high:.4g}; pass uint8 pictures, or "
                "prepare them as manifest.input.preprocessing says"
            )


def _resized(frame: Frame, height: int, width: int) -> Frame:
    if frame.shape[:2] == (height, width):
        return frame
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(frame))
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
