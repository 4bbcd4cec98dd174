"""Rules of `ToChannelBlocks` for what goes into the operator before it: bias, residual, ReLU."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tvm_shufflenet import ops
from tvm_shufflenet.passes.channel_blocks import Blocked, Flat, spread
from tvm_shufflenet.passes.constants import constant, value_of
from tvm_shufflenet.passes.lowering import Lowering


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
    maps: Any = dataclasses.replace(_maps(like), matrix=matrix)  # type: ignore[type-var]
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
    return elementwise(call, arguments, lowering)


def relu(call: Any, arguments: list[Any], lowering: Lowering) -> Any | None:
    """Into the operator before it, through a concatenation too; else lane by lane."""
    if lowering.sole(call.args[0]):
        result = _reopened(arguments[0], relu=True) or _relu_parts(arguments[0])
        if result is not None:
            return result
    return elementwise(call, arguments, lowering)


def without_relu(value: Any) -> Any | None:
    """Take the ReLU out of the call that made `value`, if there is one."""
    operator = ops.ours(value.matrix)
    if operator is None or ops.attributes_of(value.matrix).get("relu") != 1:
        return None
    call, count = value.matrix, len(operator.arguments)
    attributes = {**ops.attributes_of(call), "relu": 0}
    matrix = ops.call(operator.name, list(call.args[:count]), *call.args[count:], **attributes)
    return dataclasses.replace(value, matrix=matrix)


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


def elementwise(call: Any, arguments: list[Any], lowering: Lowering) -> Any | None:
    """Relay's own operator on the matrices: it does not mind where a channel lies."""
    from tvm import relay

    maps = [_maps(argument) for argument in arguments]
    if any(part is None for part in maps) or not _alike(arguments[0], arguments[-1]):
        return None
    matrices = [part.matrix for part in maps if part is not None]
    return _again(arguments[0], relay.Call(call.op, matrices, call.attrs))
