"""A Relay interpreter of the operators that compiled networks consist of, in NumPy.

Kernels are tested against `schedules.references` one by one; with it for the operators, the
passes are tested on whole networks without building them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tvm_shufflenet import ops
from tvm_shufflenet.schedules.references import OPERATORS

Array = np.ndarray


def _strided_slice(call: Any, data: Array) -> Array:
    begin, end = call.attrs.begin, call.attrs.end
    assert call.attrs.strides is None or all(int(step) == 1 for step in call.attrs.strides)
    axes = range(len(begin)) if call.attrs.axes is None else [int(a) for a in call.attrs.axes]
    cut = [slice(None)] * data.ndim
    for axis, first, last in zip(axes, begin, end, strict=True):
        cut[axis] = slice(int(first), int(last))
    return data[tuple(cut)]


def _log_softmax(call: Any, data: Array) -> Array:
    shifted = data - data.max(axis=int(call.attrs.axis), keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=int(call.attrs.axis), keepdims=True))


def _reshape(call: Any, data: Array) -> Array:
    return data.reshape([int(extent) for extent in call.checked_type.shape])


def _pad(call: Any, data: Array, value: Array) -> Array:
    sides = [[int(count) for count in pair] for pair in call.attrs.pad_width]
    return np.pad(data, sides, constant_values=float(value))


_RELAY: dict[str, Callable[..., Array]] = {
    "strided_slice": _strided_slice,
    "nn.log_softmax": _log_softmax,
    "reshape": _reshape,
    "nn.batch_flatten": _reshape,
    "transpose": lambda call, data: data.transpose([int(axis) for axis in call.attrs.axes]),
    "nn.pad": _pad,
    "nn.relu": lambda call, data: np.maximum(data, 0),
    "add": lambda call, left, right: left + right,
}


def evaluate(mod: Any, x: Array) -> Array:
    """Return what a lowered network computes for `x`.

    Raises:
        KeyError: for an operator that is neither ours nor one of the few around ours.
    """
    from tvm import relay

    done: dict[Any, Any] = {mod["main"].params[0]: x}

    def look(node: Any) -> None:
        if isinstance(node, relay.Constant):
            done[node] = node.data.numpy()
        elif isinstance(node, relay.Call):
            arguments = [done[argument] for argument in node.args]
            done[node] = _called(node, arguments)

    relay.analysis.post_order_visit(mod["main"].body, look)
    result: Array = done[mod["main"].body]
    return result


def _called(call: Any, arguments: list[Array]) -> Array:
    operator = ops.ours(call)
    if operator is None:
        return _RELAY[call.op.name](call, *arguments)
    if operator.name in ops.WITH_RESIDUAL and len(arguments) == len(operator.arguments):
        arguments.append(None)  # type: ignore[arg-type]
    attributes = ops.attributes_of(call)
    values = [attributes[name] for name in operator.attributes]
    result = OPERATORS[operator.name](*arguments, *values)
    assert result.shape == tuple(int(extent) for extent in call.checked_type.shape)
    return result
