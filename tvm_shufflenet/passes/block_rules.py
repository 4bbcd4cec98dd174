"""The rules of `ToChannelBlocks`: how each Relay operator is said in channel blocks.

A rule gets the typed call, its lowered arguments (`Blocked` for activation maps) and returns the
lowered result, or None if it does not apply.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tvm_shufflenet import ops
from tvm_shufflenet.boards import Machine
from tvm_shufflenet.passes.block_conversions import from_nchw
from tvm_shufflenet.passes.block_weights import (
    convolution_weight,
    dense_weight,
    image_weight,
    winograd_weight,
)
from tvm_shufflenet.passes.channel_blocks import Blocked, Flat, block_stride, spread
from tvm_shufflenet.passes.constants import constant, is_call, static_shape, value_of
from tvm_shufflenet.schedules.channels import Source
from tvm_shufflenet.schedules.window import Window

_MANY_CHANNELS = 64  # of each input group and of the output, for Winograd's transforms to pay
_IMAGE_CHANNELS = 4  # up to so many channels, NCHW maps are read as they are


@dataclass(frozen=True)
class Lowering:
    """What the rules need to know besides the call."""

    machine: Machine
    users: dict[Any, int]
    shuffled: dict[Any, int]  # convolutions whose result is shuffled -> groups of the shuffle

    def sole(self, expression: Any) -> bool:
        """Tell whether `expression` has one user, so that it may be changed for that one."""
        return self.users[expression] == 1


def shuffled_convolutions(function: Any) -> dict[Any, int]:
    """Find the convolutions whose result, with bias and ReLU, goes through a shuffle."""
    from tvm import relay

    found: dict[Any, int] = {}

    def look(node: Any) -> None:
        if not is_call(node, ops.PREFIX + "marked_shuffle"):
            return
        before = node.args[0]
        while is_call(before, "nn.relu") or is_call(before, "nn.bias_add"):
            before = before.args[0]
        if is_call(before, "nn.conv2d"):
            found[before] = int(ops.attributes_of(node)["groups"])

    relay.analysis.post_order_visit(function, look)
    return found


def _geometry(attrs: Any, shape: tuple[int, ...], window: tuple[int, int]) -> Window | None:
    """Return the sliding window of a convolution or pooling, if ours can express it."""
    strides = {int(stride) for stride in attrs.strides}
    borders = {int(border) for border in attrs.padding}
    dilated = any(int(step) != 1 for step in attrs.dilation)
    if len(strides) != 1 or len(borders) != 1 or dilated:
        return None
    return Window(shape[0], shape[2], shape[3], *window, strides.pop(), borders.pop())


def _as_tuple(value: Any) -> tuple[int, ...]:
    return tuple(dataclasses.astuple(value))


def _like(window: Window, matrix: Any, channels: int, size: int, stride: int) -> Blocked:
    return Blocked(
        matrix, window.images, window.out_height, window.out_width, channels, size, stride
    )


def conv2d(call: Any, arguments: list[Any], lowering: Lowering) -> Blocked | None:
    """Depthwise, pointwise or general convolution, by the shape of its weight."""
    weight, shape, after = value_of(arguments[1]), static_shape(call.args[0]), static_shape(call)
    attrs = call.attrs
    if weight is None or shape is None or after is None or attrs.data_layout != "NCHW":
        return None
    window = _geometry(attrs, shape, (weight.shape[2], weight.shape[3]))
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
    blocks = groups if groups > 1 else lowering.shuffled.get(call, 1)
    one = (window.kh, window.kw, window.stride, window.border) == (1, 1, 1, 0)
    return (
        _pointwise(data, weight, groups, blocks, lowering)
        if one
        else _general(data, weight, groups, window, lowering)
    )


def _depthwise(data: Blocked, weight: np.ndarray, window: Window) -> Blocked:
    taps = spread(weight[:, 0].transpose(1, 2, 0), data.size, data.stride)
    bias = np.zeros(data.lanes, "float32")
    matrix = ops.call(
        "depthwise",
        [data.matrix, constant(taps), constant(bias)],
        geometry=_as_tuple(window),
        relu=0,
    )
    return _like(window, matrix, *data.layout)


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
        source=_as_tuple(source),
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
        geometry=_as_tuple(window),
        relu=0,
    )
    return _like(window, matrix, outputs, outputs, stride)


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
        geometry = _as_tuple(window)
        matrix = ops.call("winograd", [data.matrix, blocks, bias], geometry=geometry, relu=0)
        return _like(window, matrix, weight.shape[0], size, stride)
    rows, source = convolution_weight(weight, groups, size, stride, data)
    matrix = ops.call(
        "convolution",
        [data.matrix, constant(rows), constant(np.zeros(groups * stride, "float32"))],
        geometry=_as_tuple(window),
        source=_as_tuple(source),
        relu=0,
    )
    return _like(window, matrix, weight.shape[0], size, stride)


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
            geometry=_as_tuple(window),
            source=_as_tuple(source),
            relu=0,
        )
    else:
        maps = data.maps if isinstance(data, Flat) else data
        if not isinstance(maps, Blocked):
            maps = Blocked(maps, shape[0], 1, 1, *(weight.shape[1],) * 3)
        source = Source(1, maps.lanes, maps.lanes, maps.lanes)
        blocks = constant(dense_weight(weight, stride, maps))
        matrix = ops.call(
            "pointwise", [maps.matrix, blocks, bias], source=_as_tuple(source), relu=0
        )
    return Flat(Blocked(matrix, shape[0], 1, 1, outputs, outputs, stride))


def _maps(value: Any) -> Blocked | None:
    """Return the map behind a blocked or flat value whose lanes are plain channels."""
    if isinstance(value, Flat):
        return value.maps
    return value if isinstance(value, Blocked) else None


def _alike(left: Any, right: Any) -> bool:
    """Tell whether two values agree in all but content: no broadcasting, the same lanes."""
    return type(left) is type(right) and _again(left, None) == _again(right, None)


def _again(like: Any, matrix: Any) -> Any:
    """Return a value of the same kind as `like` with another matrix."""
    maps = dataclasses.replace(_maps(like), matrix=matrix)  # type: ignore[type-var]
    return Flat(maps) if isinstance(like, Flat) else maps


def _reopened(
    value: Any,
    bias: np.ndarray | None = None,
    residual: Any = None,
    relu: bool = False,
) -> Any | None:
    """Put a bias, residual or ReLU into the call that made `value`, if it can take it."""
    maps = _maps(value)
    operator = ops.ours(maps.matrix) if maps is not None else None
    if operator is None or maps is None or "relu" not in operator.attributes:
        return None
    call = maps.matrix
    attributes = ops.attributes_of(call)
    count = len(operator.arguments)
    arguments, added = list(call.args[:count]), (list(call.args[count:]) or [None])[0]
    if attributes["relu"]:
        return value if relu else None
    if bias is not None:
        if added is not None or operator.arguments[-1] != "bias":
            return None
        arguments[-1] = constant(value_of(arguments[-1]) + spread(bias, maps.size, maps.stride))
    if residual is not None:
        if added is not None or operator.name not in ops.WITH_RESIDUAL:
            return None
        added = residual
    attributes["relu"] = int(relu)
    return _again(value, ops.call(operator.name, arguments, added, **attributes))


def bias_add(call: Any, arguments: list[Any], lowering: Lowering) -> Any | None:
    """Into the convolution before it."""
    bias, maps = value_of(arguments[1]), _maps(arguments[0])
    if bias is None or maps is None or call.attrs.axis != 1 or not lowering.sole(call.args[0]):
        return None
    if bias.size != maps.channels:
        return None  # one value for each pixel of a flattened map
    return _reopened(arguments[0], bias=bias)


def add(call: Any, arguments: list[Any], lowering: Lowering) -> Any | None:
    """Into one of the two convolutions; else lane by lane."""
    left, right = (_maps(argument) for argument in arguments)
    if left is None or right is None or not _alike(*arguments):
        return None
    for position, other in ((1, left), (0, right)):
        if lowering.sole(call.args[position]):
            result = _reopened(arguments[position], residual=other.matrix)
            if result is not None:
                return result
    return _elementwise(call, arguments, lowering)


def relu(call: Any, arguments: list[Any], lowering: Lowering) -> Any | None:
    """Into the operator before it, through a concatenation too; else lane by lane."""
    if lowering.sole(call.args[0]):
        result = _reopened(arguments[0], relu=True) or _relu_parts(arguments[0])
        if result is not None:
            return result
    return _elementwise(call, arguments, lowering)


def _relu_parts(value: Any) -> Any | None:
    """Move a ReLU from behind a concatenation into the two operators before it."""
    operator = ops.ours(value.matrix) if isinstance(value, Blocked) else None
    if operator is None or operator.name != "concatenation":
        return None
    parts = []
    for part in value.matrix.args:
        lone = Blocked(part, 1, 1, 1, 1, 1, 1)
        opened = _reopened(lone, relu=True)
        if opened is None:
            return None
        parts.append(opened.matrix)
    attributes = ops.attributes_of(value.matrix)
    return _again(value, ops.call("concatenation", parts, **attributes))


def _elementwise(call: Any, arguments: list[Any], lowering: Lowering) -> Any | None:
    """Relay's own operator on the matrices: it does not mind where a channel lies."""
    from tvm import relay

    maps = [_maps(argument) for argument in arguments]
    if any(part is None for part in maps) or not _alike(arguments[0], arguments[-1]):
        return None
    matrices = [part.matrix for part in maps if part is not None]
    return _again(arguments[0], relay.Call(call.op, matrices, call.attrs))


def pool(kind: str) -> Callable[..., Blocked | None]:
    """Return the rule of max or average pooling."""

    def rule(call: Any, arguments: list[Any], lowering: Lowering) -> Blocked | None:
        data, shape, attrs = arguments[0], static_shape(call.args[0]), call.attrs
        if not isinstance(data, Blocked) or shape is None or attrs.layout != "NCHW":
            return None
        window = _geometry(attrs, shape, tuple(int(e) for e in attrs.pool_size))  # type: ignore[arg-type]
        if window is None or (window.out_height, window.out_width) != static_shape(call)[2:]:  # type: ignore[index]
            return None  # ceil_mode reaches beyond the border
        if kind == "average" and window.border and not attrs.count_include_pad:
            return None
        matrix = ops.call("pooling", [data.matrix], geometry=_as_tuple(window), kind=kind, relu=0)
        return _like(window, matrix, *data.layout)

    return rule


def global_pool(call: Any, arguments: list[Any], lowering: Lowering) -> Blocked | None:
    """The mean of each map."""
    data = arguments[0]
    if not isinstance(data, Blocked):
        return None
    matrix = ops.call("global_mean", [data.matrix], images=data.images)
    return dataclasses.replace(data, matrix=matrix, height=1, width=1)


def adaptive_pool(call: Any, arguments: list[Any], lowering: Lowering) -> Blocked | None:
    """Means over windows of nearly equal size, as PyTorch cuts them."""
    data, after = arguments[0], static_shape(call)
    if not isinstance(data, Blocked) or after is None:
        return None
    geometry = (data.images, data.height, data.width, after[2], after[3])
    matrix = ops.call("adaptive_mean", [data.matrix], geometry=geometry)
    return dataclasses.replace(data, matrix=matrix, height=after[2], width=after[3])


def flatten(call: Any, arguments: list[Any], lowering: Lowering) -> Flat | None:
    """Nothing moves: the dense layer behind has its weights put in order instead."""
    data = arguments[0]
    if isinstance(data, Flat):
        return data
    return Flat(data) if isinstance(data, Blocked) else None


def concatenate(call: Any, arguments: list[Any], lowering: Lowering) -> Blocked | None:
    """Along the channels, two maps at a time."""
    parts = arguments[0]
    if int(call.attrs.axis) != 1 or not all(isinstance(part, Blocked) for part in parts):
        return None
    joined = parts[0]
    for part in parts[1:]:
        joined = _joined(joined, part, lowering.machine)
    return joined  # type: ignore[no-any-return]


def _joined(first: Blocked, second: Blocked, machine: Machine) -> Blocked:
    channels = first.channels + second.channels
    blocks = second.blocks if channels % second.blocks == 0 else 1
    size = channels // blocks
    stride = block_stride(size, machine)
    columns = [(0, int(c)) for c in first.positions()]
    columns += [(1, int(c)) for c in second.positions()]
    copies: list[list[int]] = []
    for lane in range(blocks * stride):
        block, within = divmod(lane, stride)
        source, start = columns[block * size + within] if within < size else (2, 0)
        last = copies[-1] if copies else None
        follows = last is not None and last[0] == source
        if last is not None and follows and (source == 2 or last[1] + last[3] == start):
            last[3] += 1
        else:
            copies.append([source, start, lane, 1])
    matrix = ops.call(
        "concatenation",
        [first.matrix, second.matrix],
        copies=tuple(tuple(copy) for copy in copies),
    )
    return dataclasses.replace(second, matrix=matrix, channels=channels, size=size, stride=stride)


def lrn(call: Any, arguments: list[Any], lowering: Lowering) -> Blocked | None:
    """Only with AlexNet's exponent, and where neighbors lie side by side."""
    data, attrs = arguments[0], call.attrs
    side_by_side = isinstance(data, Blocked) and data.size == data.stride
    if not side_by_side or attrs.axis != 1 or abs(attrs.beta - 0.75) > 1e-6:
        return None
    matrix = ops.call(
        "local_response_norm",
        [data.matrix],
        size=int(attrs.size),
        alpha=float(attrs.alpha),
        bias=float(attrs.bias),
    )
    return dataclasses.replace(data, matrix=matrix)


def shuffle(call: Any, arguments: list[Any], lowering: Lowering) -> Blocked:
    """A kernel of its own, until `MergeChannelShuffle` takes it away."""
    data, groups = arguments[0], int(ops.attributes_of(call)["groups"])
    if not isinstance(data, Blocked):
        data = from_nchw(data, call.checked_type, lowering.machine)
    source = _as_tuple(data.source(groups))
    matrix = ops.call("channel_shuffle", [data.matrix], source=source)
    return dataclasses.replace(data, matrix=matrix)


RULES: dict[str, Callable[..., Any]] = {
    "nn.conv2d": conv2d,
    "nn.dense": dense,
    "nn.bias_add": bias_add,
    "add": add,
    "nn.relu": relu,
    "clip": _elementwise,
    "sigmoid": _elementwise,
    "nn.max_pool2d": pool("max"),
    "nn.avg_pool2d": pool("average"),
    "nn.global_avg_pool2d": global_pool,
    "nn.adaptive_avg_pool2d": adaptive_pool,
    "nn.batch_flatten": flatten,
    "concatenate": concatenate,
    "nn.lrn": lrn,
    ops.PREFIX + "marked_shuffle": shuffle,
}
