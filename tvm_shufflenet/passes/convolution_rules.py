"""Rules of `ToChannelBlocks` for convolutions and dense layers."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tvm_shufflenet import ops
from tvm_shufflenet.passes.block_conversions import from_nchw
from tvm_shufflenet.passes.block_weights import (
    convolution_weight,
    dense_weight,
    image_weight,
    winograd_weight,
)
from tvm_shufflenet.passes.channel_blocks import Blocked, Flat, block_stride, spread
from tvm_shufflenet.passes.constants import constant, static_shape, value_of
from tvm_shufflenet.passes.lowering import Lowering, as_tuple, geometry, like
from tvm_shufflenet.schedules.channels import Source
from tvm_shufflenet.schedules.window import Window

_MANY_CHANNELS = 64  # of each input group and of the output, for Winograd's transforms to pay
_IMAGE_CHANNELS = 4  # up to so many channels, NCHW maps are read as they are


def conv2d(call: Any, arguments: list[Any], lowering: Lowering) -> Blocked | None:
    """Depthwise, pointwise or general convolution, by the shape of its weight."""
    weight, shape, after = value_of(arguments[1]), static_shape(call.args[0]), static_shape(call)
    attrs = call.attrs
    if weight is None or shape is None or after is None or attrs.data_layout != "NCHW":
        return None
    window = geometry(attrs, shape, (weight.shape[2], weight.shape[3]))
    if window is None or attrs.kernel_layout != "OIHW":
        return None
    # PyTorch's depthwise weights arrive as (groups, outputs per group, kh, kw).
    weight = weight.reshape(after[1], -1, window.kh, window.kw)
    data, groups = arguments[0], int(attrs.groups)
    if not isinstance(data, Blocked):
        if groups == 1 and shape[1] <= _IMAGE_CHANNELS:
            return _image(data, weight, window, lowering)
        data = from_nchw(data, call.args[0].checked_type, lowering.machine)
    if groups == shape[1] == weight.shape[0]:
        return _depthwise(data, weight, window)
    blocks = groups if groups > 1 else _blocks_of_dense(call, lowering)
    one = (window.kh, window.kw, window.stride, window.border) == (1, 1, 1, 0)
    return (
        _pointwise(data, weight, groups, blocks, lowering)
        if one
        else _general(data, weight, groups, window, lowering)
    )


def _blocks_of_dense(call: Any, lowering: Lowering) -> int:
    """Return the blocks in which a dense convolution writes: one, with the least padding.

    Where the shuffle behind it is made by interleaved stores, these want a block for each group.
    """
    return 1 if lowering.machine.fma_from_memory else lowering.shuffled.get(call, 1)


def _depthwise(data: Blocked, weight: np.ndarray, window: Window) -> Blocked:
    taps = spread(weight[:, 0].transpose(1, 2, 0), data.size, data.stride)
    bias = np.zeros(data.lanes, "float32")
    matrix = ops.call(
        "depthwise",
        [data.matrix, constant(taps), constant(bias)],
        geometry=as_tuple(window),
        relu=0,
    )
    return like(window, matrix, *data.layout)


def _pointwise(
    data: Blocked, weight: np.ndarray, groups: int, blocks: int, lowering: Lowering
) -> Blocked:
    """Lower a 1×1 convolution; a dense one may write several blocks, for the shuffle behind it."""
    size = weight.shape[0] // blocks
    stride = block_stride(size, lowering.machine)
    rows, source = convolution_weight(weight, groups, size, stride, data)
    matrix = ops.call(
        "pointwise",
        [data.matrix, constant(rows), constant(np.zeros(blocks * stride, "float32"))],
        source=as_tuple(source),
        relu=0,
    )
    return dataclasses.replace(
        data, matrix=matrix, channels=weight.shape[0], size=size, stride=stride
    )


def _image(data: Any, weight: np.ndarray, window: Window, lowering: Lowering) -> Blocked:
    outputs = weight.shape[0]
    stride = block_stride(outputs, lowering.machine)
    matrix = ops.call(
        "image_convolution",
        [data, constant(image_weight(weight, stride)), constant(np.zeros(stride, "float32"))],
        geometry=as_tuple(window),
        relu=0,
    )
    return like(window, matrix, outputs, outputs, stride)


def _suits_winograd(data: Blocked, weight: np.ndarray, window: Window) -> bool:
    """Tell whether the products saved are worth the transforms: many channels on both sides."""
    square = (window.kh, window.kw, window.stride) == (3, 3, 1)
    many = weight.shape[1] >= _MANY_CHANNELS and weight.shape[0] >= _MANY_CHANNELS
    return square and many and data.size == data.stride


def _general(
    data: Blocked, weight: np.ndarray, groups: int, window: Window, lowering: Lowering
) -> Blocked:
    size = weight.shape[0] // groups
    stride = block_stride(size, lowering.machine)
    if _suits_winograd(data, weight, window) and stride == size:
        blocks = constant(winograd_weight(weight, groups))
        bias = constant(np.zeros(weight.shape[0], "float32"))
        geometry = as_tuple(window)
        matrix = ops.call("winograd", [data.matrix, blocks, bias], geometry=geometry, relu=0)
        return like(window, matrix, weight.shape[0], size, stride)
    rows, source = convolution_weight(weight, groups, size, stride, data)
    matrix = ops.call(
        "convolution",
        [data.matrix, constant(rows), constant(np.zeros(groups * stride, "float32"))],
        geometry=as_tuple(window),
        source=as_tuple(source),
        relu=0,
    )
    return like(window, matrix, weight.shape[0], size, stride)


def dense(call: Any, arguments: list[Any], lowering: Lowering) -> Any | None:
    """A dense layer is a pointwise convolution of one pixel, or a window over a whole map."""
    weight, shape = value_of(arguments[1]), static_shape(call)
    if weight is None or shape is None or len(shape) != 2:
        return None
    data = arguments[0]
    outputs = weight.shape[0]
    # Logits are what the network returns: no padding, narrower vectors instead.
    stride = outputs if outputs % 4 == 0 else block_stride(outputs, lowering.machine)
    bias = constant(np.zeros(stride, "float32"))
    if isinstance(data, Flat) and (data.maps.height, data.maps.width) != (1, 1):
        maps = data.maps
        window = Window(maps.images, maps.height, maps.width, maps.height, maps.width, 1, 0)
        blocks = constant(dense_weight(weight, stride, maps))
        source = Source(1, maps.lanes, maps.lanes, maps.lanes)
        matrix = ops.call(
            "convolution",
            [maps.matrix, blocks, bias],
            geometry=as_tuple(window),
            source=as_tuple(source),
            relu=0,
        )
    else:
        maps = data.maps if isinstance(data, Flat) else data
        if not isinstance(maps, Blocked):
            maps = Blocked(maps, shape[0], 1, 1, *(weight.shape[1],) * 3)
        source = Source(1, maps.lanes, maps.lanes, maps.lanes)
        blocks = constant(dense_weight(weight, stride, maps))
        matrix = ops.call("pointwise", [maps.matrix, blocks, bias], source=as_tuple(source), relu=0)
    return Flat(Blocked(matrix, shape[0], 1, 1, outputs, outputs, stride))
