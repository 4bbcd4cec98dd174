"""What each operator takes and gives, and its registration with Relay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from tvm_shufflenet.compiler import load_tvm
from tvm_shufflenet.schedules.window import Window

PREFIX = "tvm_shufflenet."
_Shape = tuple[int, ...]


class _Attributes:
    """A call's attributes, read only when asked for: a build infers types thousands of times."""

    def __init__(self, attrs: Any) -> None:
        self._attrs = attrs

    def __getitem__(self, name: str) -> Any:
        return plain(self._attrs[name])


_Result = Callable[[list[_Shape], _Attributes], _Shape]  # input shapes, attributes -> shape


@dataclass(frozen=True)
class Operator:
    """One operator: argument names, attribute names in the order kernels take them, its type."""

    name: str
    arguments: tuple[str, ...]
    attributes: tuple[str, ...]
    result: _Result
    tuned: bool  # whether an AutoTVM template of that name exists


def _blocks(weight: _Shape) -> int:
    """Output channels of a weight, packed or not."""
    return weight[0] * weight[-1] * (weight[1] if len(weight) == 4 else 1)


def _pointwise(shapes: list[_Shape], attrs: _Attributes) -> _Shape:
    return shapes[0][0], _blocks(shapes[1])


def _convolution(shapes: list[_Shape], attrs: _Attributes) -> _Shape:
    return Window(*attrs["geometry"]).pixels, _blocks(shapes[1])


def _depthwise_pointwise(shapes: list[_Shape], attrs: _Attributes) -> _Shape:
    return Window(*attrs["geometry"]).pixels, _blocks(shapes[2])


def _windowed(shapes: list[_Shape], attrs: _Attributes) -> _Shape:
    return Window(*attrs["geometry"]).pixels, shapes[0][1]


def _same(shapes: list[_Shape], attrs: _Attributes) -> _Shape:
    return shapes[0]


def _concatenation(shapes: list[_Shape], attrs: _Attributes) -> _Shape:
    return shapes[1][0], sum(copy[3] for copy in attrs["copies"])


def _global_mean(shapes: list[_Shape], attrs: _Attributes) -> _Shape:
    return attrs["images"], shapes[0][1]


def _winograd(shapes: list[_Shape], attrs: _Attributes) -> _Shape:
    return Window(*attrs["geometry"]).pixels, shapes[2][0]


def _adaptive_mean(shapes: list[_Shape], attrs: _Attributes) -> _Shape:
    images, _, _, height, width = attrs["geometry"]
    return images * height * width, shapes[0][1]


_WEIGHTED = ("weight", "bias")

OPERATORS: dict[str, Operator] = {
    operator.name: operator
    for operator in (
        Operator("pointwise", ("data", *_WEIGHTED), ("source", "relu"), _pointwise, True),
        Operator(
            "image_convolution", ("data", *_WEIGHTED), ("geometry", "relu"), _convolution, True
        ),
        Operator(
            "convolution",
            ("data", *_WEIGHTED),
            ("geometry", "source", "relu"),
            _convolution,
            True,
        ),
        Operator(
            "depthwise_pointwise",
            ("data", "taps_weight", *_WEIGHTED),
            ("geometry", "source", "relu"),
            _depthwise_pointwise,
            True,
        ),
        Operator("winograd", ("data", *_WEIGHTED), ("geometry", "relu"), _winograd, True),
        Operator("depthwise", ("data", *_WEIGHTED), ("geometry", "relu"), _windowed, True),
        Operator("pooling", ("data",), ("geometry", "kind", "relu"), _windowed, True),
        # On NCHW images: what `RecognizeChannelShuffle` leaves for the layout pass.
        Operator("marked_shuffle", ("data",), ("groups",), _same, False),
        Operator("channel_shuffle", ("data",), ("source",), _same, False),
        Operator("concatenation", ("first", "second"), ("copies",), _concatenation, False),
        Operator(
            "pooled_concatenation",
            ("pooled", "second"),
            ("geometry", "copies", "relu"),
            _concatenation,
            False,
        ),
        Operator("global_mean", ("data",), ("images",), _global_mean, False),
        Operator("adaptive_mean", ("data",), ("geometry",), _adaptive_mean, False),
        Operator("local_response_norm", ("data",), ("size", "alpha", "bias"), _same, False),
    )
}
# Operators that can add a residual have a second form; Relay counts its inputs strictly.
WITH_RESIDUAL = ("pointwise", "convolution", "depthwise_pointwise")


def call(name: str, arguments: list[Any], residual: Any | None = None, **attributes: Any) -> Any:
    """Return a Relay call of one of our operators."""
    import tvm
    from tvm import relay

    register()
    full = PREFIX + name + ("" if residual is None else "_add")
    inputs = arguments if residual is None else [*arguments, residual]
    return relay.Call(relay.op.op.get(full), inputs, tvm.ir.make_node("DictAttrs", **attributes))


def plain(value: Any) -> Any:
    """Return an attribute as Python ints, strings and tuples."""
    import tvm

    if isinstance(value, str):
        return str(value)
    if isinstance(value, int | float):
        return value
    if isinstance(value, tvm.ir.Array | tuple | list):
        return tuple(plain(item) for item in value)
    return value.value if hasattr(value, "value") else int(value)


def attributes_of(call: Any) -> dict[str, Any]:
    """Return the attributes of a call of one of our operators as plain Python."""
    return {key: plain(call.attrs[key]) for key in call.attrs.keys()}  # noqa: SIM118


def ours(call: Any) -> Operator | None:
    """Return our operator that a Relay expression calls, or None."""
    name = getattr(getattr(call, "op", None), "name", "")
    if not name.startswith(PREFIX):
        return None
    return OPERATORS[name.removeprefix(PREFIX).removesuffix("_add")]


@cache
def register() -> None:
    """Make the operators known to Relay, once."""
    load_tvm()
    from tvm import relay

    from tvm_shufflenet import schedules
    from tvm_shufflenet.ops.strategies import strategy

    schedules.register()
    for operator in OPERATORS.values():
        forms = (False, True) if operator.name in WITH_RESIDUAL else (False,)
        for residual in forms:
            name = PREFIX + operator.name + ("_add" if residual else "")
            arguments = (*operator.arguments, "residual") if residual else operator.arguments
            relay.op.op.register(name)
            registered = relay.op.get(name)
            registered.set_num_inputs(len(arguments))
            for argument in arguments:
                registered.add_argument(argument, "Tensor", argument)
            registered.set_attrs_type_key("DictAttrs")
            registered.set_support_level(10)
            registered.add_type_rel(name.replace(".", "_"), _relation(operator))
            # Opaque: what belongs into the kernel is in the call already.
            relay.op.op.register_pattern(name, relay.op.OpPattern.OPAQUE)
            relay.op.op.register_stateful(name, False)
            if operator.name in schedules.register():
                relay.op.op.register_strategy(name, strategy(operator, residual))


def _relation(operator: Operator) -> Callable[[list[Any], Any], Any]:
    from tvm import relay

    def relation(types: list[Any], attrs: Any) -> Any:
        shapes = [tuple(int(extent) for extent in kind.shape) for kind in types]
        return relay.TensorType(operator.result(shapes, _Attributes(attrs)), "float32")

    return relation
