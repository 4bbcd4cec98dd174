"""Pack weights for the tile that was chosen, so that a kernel reads them front to back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tvm_shufflenet import ops
from tvm_shufflenet.ops import Operator
from tvm_shufflenet.passes.constants import constant, value_of

_PACKED = ("pointwise", "convolution", "depthwise_pointwise")


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
    from tvm import autotvm, te

    from tvm_shufflenet import schedules

    which = operator.arguments.index("weight")
    weight = value_of(arguments[which])
    if weight is None or weight.ndim != 3:
        return arguments
    tensors = [
        te.placeholder(tuple(int(e) for e in argument.checked_type.shape), name=f"input_{index}")
        for index, argument in enumerate(call.args)
    ]
    count = len(operator.arguments)
    attributes = ops.attributes_of(call)
    values = [attributes[name] for name in operator.attributes]

    def workload() -> tuple[Any, ...]:
        residual = tensors[count] if len(tensors) > count else None
        return (*tensors[:count], residual, *values)

    compute, _ = schedules.register()[operator.name]
    context = autotvm.DispatchContext.current
    task = f"{operator.name}.tvm_shufflenet"
    with target:
        compute(*workload())  # gives a configuration without a record its default values
        config = context.query(target, autotvm.task.args_to_workload(workload(), task))
        tile = int(config["tile_channels"].val)
        packed = pack(weight, tile)
        tensors[which] = te.placeholder(packed.shape, name="packed")
        context.update(target, autotvm.task.args_to_workload(workload(), task), config)
    return [*arguments[:which], constant(packed), *arguments[which + 1 :]]


def pack(weight: np.ndarray, tile: int) -> np.ndarray:
    """Return (groups, depth, block) as (groups, block / tile, depth, tile)."""
    groups, depth, block = weight.shape
    tiles = weight.reshape(groups, depth, block // tile, tile)
    return np.ascontiguousarray(tiles.transpose(0, 2, 1, 3))
