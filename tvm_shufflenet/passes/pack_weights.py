"""Pack weights for the tile that was chosen, so that a kernel reads them front to back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tvm_shufflenet import ops
from tvm_shufflenet.ops import Operator
from tvm_shufflenet.passes.constants import constant, value_of

_PACKED = ("pointwise", "convolution", "image_convolution", "winograd", "depthwise_pointwise")


@dataclass(frozen=True)
class PackWeights:
    """(groups, depth, block) weights become (groups, block / tile, depth, tile).

    The tile is that of the configuration which AutoTVM's current dispatch context has for the
    kernel, so this runs last, in the context that `relay.build` will run in.
    """

    target: Any
    name: str = "pack_weights"

    def __call__(self, mod: Any) -> Any:
        """Return the module with packed weights."""
        from tvm import relay

        mod = relay.transform.InferType()(mod)
        target = self.target

        class Packer(relay.ExprMutator):
            def visit_call(self, call: Any) -> Any:
                operator = ops.ours(call)
                arguments = [self.visit(argument) for argument in call.args]
                if operator is not None and operator.name in _PACKED:
                    arguments = _packed(call, arguments, operator, target)
                return relay.Call(call.op, arguments, call.attrs, call.type_args, call.span)

        mod["main"] = Packer().visit(mod["main"])
        return relay.transform.InferType()(mod)


def _packed(call: Any, arguments: list[Any], operator: Operator, target: Any) -> list[Any]:
    from tvm import autotvm

    from tvm_shufflenet import schedules

    which = operator.arguments.index("weight")
    weight = value_of(arguments[which])
    if weight is None or weight.ndim != 3:
        return arguments
    compute, _ = schedules.register()[operator.name]
    context = autotvm.DispatchContext.current
    before = [tuple(int(e) for e in argument.checked_type.shape) for argument in call.args]
    with target:
        compute(*_kernel_arguments(call, before))  # gives default values where no record is
        config = context.query(target, _workload(call, before))
        packed = pack(weight, int(config["tile_channels"].val))
        after = [*before[:which], packed.shape, *before[which + 1 :]]
        context.update(target, _workload(call, after), config)
    return [*arguments[:which], constant(packed), *arguments[which + 1 :]]


def _kernel_arguments(call: Any, shapes: list[tuple[int, ...]]) -> tuple[Any, ...]:
    """Return what the kernel of `call` is called with, for inputs of `shapes`."""
    from tvm import te

    operator = ops.ours(call)
    assert operator is not None
    tensors = [te.placeholder(shape, name=f"input_{i}") for i, shape in enumerate(shapes)]
    attributes = ops.attributes_of(call)
    values = [attributes[name] for name in operator.attributes]
    count = len(operator.arguments)
    if operator.name not in ops.WITH_RESIDUAL:
        return (*tensors, *values)
    residual = tensors[count] if len(tensors) > count else None
    return (*tensors[:count], residual, *values)


def _workload(call: Any, shapes: list[tuple[int, ...]]) -> Any:
    from tvm import autotvm

    operator = ops.ours(call)
    assert operator is not None
    task = f"{operator.name}.tvm_shufflenet"
    return autotvm.task.args_to_workload(_kernel_arguments(call, shapes), task)


def workload_of(call: Any) -> Any:
    """Return the workload under which a call of ours was tuned: that with unpacked weights."""
    operator = ops.ours(call)
    assert operator is not None
    shapes = [tuple(int(e) for e in argument.checked_type.shape) for argument in call.args]
    if operator.name in _PACKED:
        which = operator.arguments.index("weight")
        if len(shapes[which]) == 4:
            groups, tiles, depth, tile = shapes[which]
            shapes[which] = (groups, depth, tiles * tile)
    return _workload(call, shapes)


def pack(weight: np.ndarray, tile: int) -> np.ndarray:
    """Return (groups, depth, block) as (groups, block / tile, depth, tile)."""
    groups, depth, block = weight.shape
    tiles = weight.reshape(groups, depth, block // tile, tile)
    return np.ascontiguousarray(tiles.transpose(0, 2, 1, 3))
