"""One spelling for each idea, whether it came from PyTorch or from ONNX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tvm_shufflenet.passes.constants import constant, is_call, static_shape, value_of

# typed call, its new arguments, the rewriting visitor -> replacement
_Visit = Callable[[Any], Any]
_Rule = Callable[[Any, list[Any], _Visit], Any | None]


@dataclass(frozen=True)
class Canonicalize:
    """Pooling to 1×1, flattening and bias addition each in a single form.

    - adaptive pooling to 1×1 and the mean over both spatial axes: ``nn.global_avg_pool2d``;
      adaptive pooling to the size that is there already, and pooling of single pixels: nothing
    - any reshape or squeeze of (N, C, H, W) to (N, C·H·W): ``nn.batch_flatten``
    - addition of a constant that varies along the channels only: ``nn.bias_add``
    - the logarithm of ``nn.softmax``: ``nn.log_softmax``, which does not underflow
    - ``concatenate`` along the channels: axis 1, however it was counted

    Not handled: adaptive pooling to other sizes, and dynamic shapes, which stay as they are.
    """

    name: str = "canonicalize"

    def __call__(self, mod: Any) -> Any:
        """Return the module in canonical form."""
        from tvm import relay

        mod = relay.transform.InferType()(mod)

        class Rewriter(relay.ExprMutator):
            def visit_call(self, call: Any) -> Any:
                arguments = [self.visit(argument) for argument in call.args]
                rule = _RULES.get(getattr(call.op, "name", ""))
                replaced = rule(call, arguments, self.visit) if rule is not None else None
                if replaced is not None:
                    return replaced
                return relay.Call(call.op, arguments, call.attrs, call.type_args, call.span)

        mod["main"] = Rewriter().visit(mod["main"])
        return relay.transform.InferType()(mod)


def _adaptive_pool(call: Any, arguments: list[Any], visit: _Visit) -> Any | None:
    from tvm import relay

    before, after = static_shape(call.args[0]), static_shape(call)
    if before is None or after is None or call.attrs.layout != "NCHW":
        return None
    if before == after:
        return arguments[0]
    return relay.nn.global_avg_pool2d(arguments[0]) if after[2:] == (1, 1) else None


def _pool(call: Any, arguments: list[Any], visit: _Visit) -> Any | None:
    size = {int(extent) for extent in call.attrs.pool_size}
    same = size == {1} and static_shape(call) == static_shape(call.args[0]) is not None
    return arguments[0] if same else None


def _mean(call: Any, arguments: list[Any], visit: _Visit) -> Any | None:
    from tvm import relay

    before = static_shape(call.args[0])
    if before is None or len(before) != 4 or call.attrs.exclude or call.attrs.axis is None:
        return None
    if sorted(int(axis) % 4 for axis in call.attrs.axis) != [2, 3]:
        return None
    pooled = relay.nn.global_avg_pool2d(arguments[0])
    return pooled if call.attrs.keepdims else relay.nn.batch_flatten(pooled)


def _flatten(call: Any, arguments: list[Any], visit: _Visit) -> Any | None:
    from tvm import relay

    base = call.args[0]
    while any(is_call(base, operator) for operator in _RESHAPING):
        base = base.args[0]
    before, after = static_shape(base), static_shape(call)
    if before is None or after is None:
        return None
    if before == after:
        return visit(base)
    if len(before) == 4 and after == (before[0], int(np.prod(before[1:]))):
        return relay.nn.batch_flatten(visit(base))
    return None


def _add(call: Any, arguments: list[Any], visit: _Visit) -> Any | None:
    from tvm import relay

    for position in (0, 1):
        value = value_of(call.args[position])
        other = static_shape(call.args[1 - position])
        if value is None or other is None or len(other) not in (2, 4):
            continue
        channels = other[1]
        along_channels = (1,) * (len(other) - 2)
        wanted = {(channels, *along_channels), (1, channels, *along_channels)}
        if value.shape in wanted:
            return relay.nn.bias_add(arguments[1 - position], constant(value.reshape(-1)), axis=1)
    return None


def _bias_add(call: Any, arguments: list[Any], visit: _Visit) -> Any | None:
    from tvm import relay

    shape = static_shape(call)
    if shape is None or int(call.attrs.axis) % len(shape) != 1:
        return None
    return relay.nn.bias_add(*arguments, axis=1)


def _log(call: Any, arguments: list[Any], visit: _Visit) -> Any | None:
    from tvm import relay

    softmax = arguments[0]
    if not is_call(softmax, "nn.softmax"):
        return None
    return relay.nn.log_softmax(softmax.args[0], softmax.attrs.axis)


def _concatenate(call: Any, arguments: list[Any], visit: _Visit) -> Any | None:
    from tvm import relay

    shape = static_shape(call)
    if shape is None or int(call.attrs.axis) >= 0:
        return None
    return relay.concatenate(arguments[0], axis=int(call.attrs.axis) + len(shape))


_RESHAPING = ("reshape", "squeeze", "nn.batch_flatten")
_RULES: dict[str, _Rule] = {
    "nn.adaptive_avg_pool2d": _adaptive_pool,
    "nn.avg_pool2d": _pool,
    "nn.max_pool2d": _pool,
    "mean": _mean,
    "reshape": _flatten,
    "squeeze": _flatten,
    "nn.batch_flatten": _flatten,
    "add": _add,
    "nn.bias_add": _bias_add,
    "log": _log,
    "concatenate": _concatenate,
}
