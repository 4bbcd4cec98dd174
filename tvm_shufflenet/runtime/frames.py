"""What callers may hand to a model, and pictures read from files."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tvm_shufflenet.errors import ImageError
from tvm_shufflenet.runtime.library import Tensor
from tvm_shufflenet.runtime.preprocess import Frame

_SIDE_LIMIT = 1 << 15
_EXPECTED = (
    "expected a uint8 RGB picture (h, w, 3), a batch of them (n, h, w, 3) or a list, "
    "or a prepared float32 tensor"
)


def read_picture(path: str | Path) -> Frame:
    """Return the picture in a file as uint8 RGB of shape (h, w, 3), turned as its EXIF says.

    Raises:
        ImageError: if it is missing, damaged, no picture, or absurdly large.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                upright = ImageOps.exif_transpose(picture)
                return np.asarray(upright.convert("RGB"))
    except UnidentifiedImageError:
        raise ImageError(f"{path} is not a picture that Pillow can read") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(f"{path} has too many pixels; make it smaller") from None
    # Damaged files surface as any of these, deep in Pillow's decoders.
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"cannot read the picture {path}: {reason}") from None


def as_frames(images: Any) -> Sequence[Frame]:
    """Return the pictures in `images` one by one, without copying them.

    Raises:
        ImageError: saying what was expected and what came.
    """
    if isinstance(images, np.ndarray):
        frames: Sequence[Any] = list(images) if images.ndim == 4 else [images]
    elif isinstance(images, list | tuple):
        frames = images
    else:
        raise ImageError(f"{_EXPECTED}; not {type(images).__name__}: pass numpy.asarray(it)")
    for frame in frames:
        _check_frame(frame)
    return frames


def _check_frame(frame: Any) -> None:
    if not isinstance(frame, np.ndarray):
        raise ImageError(f"{_EXPECTED}; a list of {type(frame).__name__} came")
    what = f"{frame.dtype} of shape {frame.shape}"
    if frame.dtype != np.uint8:
        hint = "" if frame.dtype.kind != "f" else "; float pictures: (x * 255).astype(numpy.uint8)"
        raise ImageError(f"{_EXPECTED}; {what} came{hint}")
    if frame.ndim != 3 or frame.shape[2] != 3:
        raise ImageError(f"{_EXPECTED}; {what} came; convert gray or RGBA pictures to RGB")
    if min(frame.shape) < 1 or max(frame.shape) > _SIDE_LIMIT:
        raise ImageError(f"{_EXPECTED} of at most {_SIDE_LIMIT} pixels a side; {what} came")


def check_tensor(tensor: Tensor, shape: tuple[int, ...], batches: Sequence[int]) -> None:
    """Check a prepared float32 tensor's shape (n, 3, h, w) against the package's.

    Raises:
        ImageError: saying what was expected and what came.
    """
    if tensor.ndim != 4 or tensor.shape[1:] != shape[1:]:
        wanted = ", ".join(map(str, shape[1:]))
        raise ImageError(
            f"expected a float32 tensor of shape (n, {wanted}) with n in {list(batches)}; "
            f"shape {tensor.shape} came"
        )


def check_out(out: Any, shape: tuple[int, ...]) -> Tensor:
    """Check a caller's output buffer.

    Raises:
        ImageError: if it is no writable float32 array of `shape`.
    """
    if not isinstance(out, np.ndarray):
        raise ImageError(f"out= must be a numpy array; {type(out).__name__} came")
    if out.dtype != np.float32 or out.shape != shape or not out.flags.writeable:
        state = "writable" if out.flags.writeable else "read-only"
        raise ImageError(
            f"out= must be a writable float32 array of shape {shape}; "
            f"a {state} {out.dtype} of shape {out.shape} came"
        )
    return out
