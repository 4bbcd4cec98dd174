"""Carry the biases of residual units along, and add them once, where a chain of units ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tvm_shufflenet import ops
from tvm_shufflenet.passes.block_weights import through
from tvm_shufflenet.passes.constants import constant, value_of
from tvm_shufflenet.passes.users import users_of
from tvm_shufflenet.schedules.channels import Source
from tvm_shufflenet.schedules.matmul import AT_BIAS


@dataclass(frozen=True)
class CarryBias:
    """max(y' + product + b, 0) becomes max(u' + product, -d), where u = y - d and d = d' + b.

    A map inside a chain of residual units is kept less a constant d for each channel. Its unit
    then adds no bias, and clamps at -d what it clamped at zero; the next one starts from the map
    as it is; a pointwise convolution that reads it has W·d added to its own bias, here. The
    last unit of a chain adds what was carried. Only rounding changes.

    Left alone: a map with any other user, of which a pooling is one, for its border is zeros.
    """

    name: str = "carry_bias"

    def __call__(self, mod: Any) -> Any:
        """Return the module with biases carried."""
        from tvm import relay

        mod = relay.transform.InferType()(mod)
        users = users_of(mod["main"])
        carried: dict[Any, np.ndarray] = {}  # call before -> what its result lacks, by lane

        class Carrier(relay.ExprMutator):
            def visit_call(self, call: Any) -> Any:
                arguments = [self.visit(argument) for argument in call.args]
                operator = ops.ours(call)
                if operator is None or operator.name not in ops.WITH_RESIDUAL:
                    return relay.Call(call.op, arguments, call.attrs, call.type_args, call.span)
                return _carrying(call, arguments, users.get(call, []), carried)

        mod["main"] = Carrier().visit(mod["main"])
        return relay.transform.InferType()(mod)


def _carrying(
    call: Any, arguments: list[Any], users: list[Any], carried: dict[Any, np.ndarray]
) -> Any:
    operator = ops.ours(call)
    assert operator is not None
    which, count = operator.arguments.index("bias"), len(operator.arguments)
    bias, attributes = value_of(call.args[which]), ops.attributes_of(call)
    if bias is None:
        assert not any(argument in carried for argument in call.args)
        return ops.call(operator.name, arguments[:count], *arguments[count:], **attributes)
    if call.args[0] in carried:
        weight = value_of(call.args[operator.arguments.index("weight")])
        assert weight is not None
        bias = bias + through(weight, carried[call.args[0]], Source(*attributes["source"]))
    residual = call.args[count] if len(call.args) > count else None
    if residual in carried:
        bias = bias + carried[residual]
    if residual is not None and attributes["relu"] and all(_takes(user, call) for user in users):
        carried[call] = bias
        bias, attributes["relu"] = -bias, AT_BIAS
    arguments[which] = constant(bias)
    return ops.call(operator.name, arguments[:count], *arguments[count:], **attributes)


def _takes(user: Any, made: Any) -> bool:
    """Tell whether `user` can take what the map `made` lacks into its own bias."""
    operator = ops.ours(user)
    if operator is None or operator.name not in ops.WITH_RESIDUAL:
        return False
    if value_of(user.args[operator.arguments.index("bias")]) is None:
        return False
    if user.args[0] == made:
        weight = value_of(user.args[1])
        return operator.name == "pointwise" and weight is not None and weight.ndim == 3
    return True
