"""What each operator computes, in plain NumPy and double precision, to check any kernel against.

A reference takes the operator's inputs, in order, and its attributes; weights may be packed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tvm_shufflenet.schedules.channels import Source
from tvm_shufflenet.schedules.matmul import AT_BIAS
from tvm_shufflenet.schedules.window import Window

Array = npt.NDArray[Any]

# Lavin and Gray's transforms of F(2×2, 3×3).
_TO_POINTS = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]], "float64")
_TO_PIXELS = np.array([[1, 1, 1, 0], [0, 1, -1, -1]], "float64")


def unpacked(weight: Array) -> Array:
    """Return (groups, block / tile, depth, tile) as (groups, depth, block); others as they are."""
    if weight.ndim == 3:
        return weight
    groups, tiles, depth, tile = weight.shape
    return weight.transpose(0, 2, 1, 3).reshape(groups, depth, tiles * tile)


def _finished(value: Array, bias: Array, residual: Array | None, relu: int) -> Array:
    if residual is not None:
        value = value + residual
    if relu == AT_BIAS:
        return np.maximum(value, bias)
    value = value + bias
    return np.maximum(value, 0) if relu else value


def _lanes(source: Sequence[int], groups: int, depth: int) -> Array:
    """Return the column of the k-th input of each group, (groups, depth)."""
    where = Source(*source)
    return np.array([[where.position(g, k, depth) for k in range(depth)] for g in range(groups)])


def _windows(images: Array, window: Window, fill: float = 0.0) -> Array:
    """Return (images, rows, columns, channels) as (pixels, kh, kw, channels), by tap."""
    side = (window.border, window.border)
    padded = np.pad(images, ((0, 0), side, side, (0, 0)), constant_values=fill)
    views = np.lib.stride_tricks.sliding_window_view(padded, (window.kh, window.kw), axis=(1, 2))
    taken = views[:, :: window.stride, :: window.stride].transpose(0, 1, 2, 4, 5, 3)
    return taken.reshape(window.pixels, window.kh, window.kw, images.shape[3])


def _maps(data: Array, window: Window) -> Array:
    return data.astype(np.float64).reshape(window.images, window.height, window.width, -1)


def _product(inputs: Array, weight: Array) -> Array:
    """Multiply (pixels, groups, depth) by (groups, depth, block) into (pixels, groups·block)."""
    product = np.matmul(inputs.transpose(1, 0, 2), weight.astype(np.float64))
    return product.transpose(1, 0, 2).reshape(inputs.shape[0], -1)


def pointwise(
    data: Array, weight: Array, bias: Array, residual: Array | None, source: Any, relu: int
) -> Array:
    """Grouped 1×1 convolution; see ``pointwise.pointwise``."""
    rows = unpacked(weight)
    groups, depth, _ = rows.shape
    inputs = data.astype(np.float64)[:, _lanes(source, groups, depth)]
    return _finished(_product(inputs, rows), bias, residual, relu)


def convolution(
    data: Array,
    weight: Array,
    bias: Array,
    residual: Array | None,
    geometry: Any,
    source: Any,
    relu: int,
) -> Array:
    """Grouped convolution; see ``convolution.convolution``."""
    window, rows = Window(*geometry), unpacked(weight)
    groups, reduction, _ = rows.shape
    depth = reduction // (window.kh * window.kw)
    taps = _windows(_maps(data, window), window)[..., _lanes(source, groups, depth)]
    inputs = taps.transpose(0, 3, 1, 2, 4).reshape(window.pixels, groups, reduction)
    return _finished(_product(inputs, rows), bias, residual, relu)


def image_convolution(data: Array, weight: Array, bias: Array, geometry: Any, relu: int) -> Array:
    """The first convolution; see ``image_convolution.image_convolution``."""
    window = Window(*geometry)
    taps = _windows(data.astype(np.float64).transpose(0, 2, 3, 1), window)
    inputs = taps.transpose(0, 1, 3, 2).reshape(window.pixels, 1, -1)
    return _finished(_product(inputs, unpacked(weight)), bias, None, relu)


def winograd(data: Array, weight: Array, bias: Array, geometry: Any, relu: int) -> Array:
    """Convolution of 2×2 tiles by transformed weights; see ``winograd.winograd``."""
    window, rows = Window(*geometry), unpacked(weight).astype(np.float64)
    down, across = -(-window.out_height // 2), -(-window.out_width // 2)
    maps = _maps(data, window)
    beyond = [(window.border, 2 * count + 2 - size - window.border)
              for count, size in ((down, window.height), (across, window.width))]  # fmt: skip
    padded = np.pad(maps, ((0, 0), *beyond, (0, 0)))
    tiles = np.lib.stride_tricks.sliding_window_view(padded, (4, 4), axis=(1, 2))[:, ::2, ::2]
    turned = np.einsum("ia,nrcdab,jb->ijnrcd", _TO_POINTS, tiles, _TO_POINTS, optimize=True)
    groups, depth = rows.shape[0] // 16, rows.shape[1]
    inputs = turned.reshape(16, -1, groups, depth).transpose(0, 2, 1, 3)
    products = inputs.reshape(16 * groups, -1, depth) @ rows
    points = products.reshape(4, 4, groups, window.images, down, across, -1)
    back = np.einsum("xi,ijgnrcb,yj->nrxcygb", _TO_PIXELS, points, _TO_PIXELS, optimize=True)
    maps = back.reshape(window.images, 2 * down, 2 * across, -1)
    maps = maps[:, : window.out_height, : window.out_width]
    return _finished(maps.reshape(window.pixels, -1), bias, None, relu)


def depthwise(data: Array, weight: Array, bias: Array, geometry: Any, relu: int) -> Array:
    """Depthwise convolution; see ``depthwise.depthwise``."""
    window = Window(*geometry)
    taps = _windows(_maps(data, window), window)
    return _finished(np.einsum("pyxc,yxc->pc", taps, weight), bias, None, relu)


def depthwise_pointwise(
    data: Array,
    taps_weight: Array,
    weight: Array,
    bias: Array,
    residual: Array | None,
    geometry: Any,
    source: Any,
    relu: int,
) -> Array:
    """Both convolutions of a unit; see ``depthwise_pointwise.depthwise_pointwise``."""
    between = depthwise(data, taps_weight, np.zeros(data.shape[1]), geometry, 0)
    return pointwise(between, weight, bias, residual, source, relu)


def pooling(data: Array, geometry: Any, kind: str, relu: int) -> Array:
    """Max or average pooling; see ``pooling.pooling``."""
    window = Window(*geometry)
    taps = _windows(_maps(data, window), window, -np.inf if kind == "max" else 0.0)
    pooled = taps.max(axis=(1, 2)) if kind == "max" else taps.mean(axis=(1, 2))
    return np.maximum(pooled, 0) if relu else pooled


def channel_shuffle(data: Array, source: Any) -> Array:
    """Shuffle of channels in blocks; see ``elementary.channel_shuffle``."""
    where = Source(*source)
    plain = Source(1, where.channels, where.size, where.stride)
    order = range(where.channels)
    result = np.zeros(data.shape)
    to = [plain.position(0, q, where.channels) for q in order]
    result[:, to] = data[:, [where.shuffled(q) for q in order]]
    return result


def concatenation(first: Array, second: Array, copies: Any) -> Array:
    """Join of two tensors by copies; see ``concatenation.concatenation``."""
    zeros = np.zeros(first.shape)
    sources = (first, second)
    parts = [
        sources[source][:, start : start + count] if source < 2 else zeros[:, :1].repeat(count, 1)
        for source, start, _, count in copies
    ]
    return np.concatenate(parts, axis=1)


def pooled_concatenation(
    pooled: Array, second: Array, geometry: Any, copies: Any, relu: int
) -> Array:
    """Join of averages and a tensor; see ``concatenation.pooled_concatenation``."""
    return concatenation(pooling(pooled, geometry, "average", relu), second, copies)


def global_mean(data: Array, images: int) -> Array:
    """Mean of whole maps; see ``elementary.global_mean``."""
    return data.astype(np.float64).reshape(images, -1, data.shape[1]).mean(axis=1)


def adaptive_mean(data: Array, geometry: Any) -> Array:
    """Mean over windows of nearly equal size; see ``elementary.adaptive_mean``."""
    images, rows, columns, height, width = geometry
    maps = data.astype(np.float64).reshape(images, rows, columns, -1)

    def cut(position: int, source: int, target: int) -> slice:
        return slice(position * source // target, -(-(position + 1) * source // target))

    means = [
        maps[:, cut(h, rows, height), cut(w, columns, width)].mean(axis=(1, 2))
        for h in range(height)
        for w in range(width)
    ]
    return np.stack(means, axis=1).reshape(images * height * width, -1)


def local_response_norm(data: Array, size: int, alpha: float, bias: float) -> Array:
    """Normalization by neighboring channels; see ``elementary.local_response_norm``."""
    x = data.astype(np.float64)
    half = size // 2
    squares = np.pad(x * x, ((0, 0), (half, size - 1 - half)))
    total = np.lib.stride_tricks.sliding_window_view(squares, size, axis=1).sum(axis=-1)
    return x * (bias + alpha / size * total) ** -0.75


OPERATORS: dict[str, Callable[..., Array]] = {
    "pointwise": pointwise,
    "convolution": convolution,
    "image_convolution": image_convolution,
    "winograd": winograd,
    "depthwise": depthwise,
    "depthwise_pointwise": depthwise_pointwise,
    "pooling": pooling,
    "channel_shuffle": channel_shuffle,
    "concatenation": concatenation,
    "pooled_concatenation": pooled_concatenation,
    "global_mean": global_mean,
    "adaptive_mean": adaptive_mean,
    "local_response_norm": local_response_norm,
}


def _of_task(operator: Callable[..., Array]) -> Callable[[tuple[Any, ...], list[Array]], Array]:
    """Return a reference by an AutoTVM task's arguments: tensors stand in for the inputs."""

    def reference(arguments: tuple[Any, ...], inputs: list[Array]) -> Array:
        given = iter(inputs)
        values = [next(given) if _is_tensor(value) else value for value in arguments]
        return operator(*values)

    return reference


def _is_tensor(value: Any) -> bool:
    return isinstance(value, tuple | list) and tuple(value[:1]) == ("TENSOR",)


_TUNED = (
    "pointwise",
    "convolution",
    "image_convolution",
    "winograd",
    "depthwise",
    "depthwise_pointwise",
    "pooling",
)
REFERENCES = {f"{name}.tvm_shufflenet": _of_task(OPERATORS[name]) for name in _TUNED}
