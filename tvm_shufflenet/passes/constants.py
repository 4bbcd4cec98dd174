"""Constants in Relay graphs as NumPy arrays, and the smallest of matchers."""

from __future__ import annotations

from typing import Any

import numpy as np


def constant(value: np.ndarray) -> Any:
    """Return a Relay constant that holds `value`."""
    from tvm import relay

    return relay.const(np.ascontiguousarray(value))


def value_of(expression: Any) -> np.ndarray | None:
    """Return the array of a constant or of a typed reshape of one, else None.

    PyTorch's depthwise weights arrive reshaped.
    """
    from tvm import relay

    if is_call(expression, "reshape"):
        inner, shape = value_of(expression.args[0]), static_shape(expression)
        return None if inner is None or shape is None else inner.reshape(shape)
    return expression.data.numpy() if isinstance(expression, relay.Constant) else None


def is_call(expression: Any, operator: str) -> bool:
    """Tell whether `expression` calls the Relay operator of that name."""
    from tvm import relay

    return (
        isinstance(expression, relay.Call)
        and hasattr(expression.op, "name")
        and expression.op.name == operator
    )


def static_shape(expression: Any) -> tuple[int, ...] | None:
    """Return the shape of a typed tensor expression, or None if part of it is dynamic."""
    from tvm import tir

    shape = expression.checked_type.shape
    if not all(isinstance(dimension, tir.IntImm) for dimension in shape):
        return None
    return tuple(int(dimension) for dimension in shape)
