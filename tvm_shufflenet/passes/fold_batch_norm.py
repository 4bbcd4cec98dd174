"""Fold BatchNorm into the convolution before it.

Done in NumPy in one step: Relay's own way (simplify to multiply and add, then fold scale axis and
constants) compiles and runs a kernel for each folded operator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tvm_shufflenet.passes.constants import constant, is_call, value_of
from tvm_shufflenet.passes.users import count_users


@dataclass(frozen=True)
class FoldBatchNorm:
    """conv2d [+ bias_add] → batch_norm becomes conv2d + bias_add with new constants.

    Left alone, for `SimplifyInference`: a BatchNorm after anything else, one whose convolution
    has another user, and one that does not normalize the channels of NCHW.
    """

    name: str = "fold_batch_norm"

    def __call__(self, mod: Any) -> Any:
        """Return the module with every foldable BatchNorm folded."""
        from tvm import relay

        mod = relay.transform.InferType()(mod)
        users = count_users(mod["main"])

        class Folder(relay.ExprMutator):
            def visit_tuple_getitem(self, op: Any) -> Any:
                folded = _fold(op, users, self.visit)
                return super().visit_tuple_getitem(op) if folded is None else folded

        mod["main"] = Folder().visit(mod["main"])
        return relay.transform.InferType()(mod)


def _fold(item: Any, users: dict[Any, int], visit: Any) -> Any | None:
    from tvm import relay

    norm = item.tuple_value
    if item.index != 0 or not is_call(norm, "nn.batch_norm") or norm.attrs.axis != 1:
        return None
    before, *statistics = norm.args
    values = [value_of(argument) for argument in statistics]
    bias = None
    if is_call(before, "nn.bias_add"):
        bias = value_of(before.args[1])
        if bias is None or users[before] > 1:
            return None
        before = before.args[0]
    if not is_call(before, "nn.conv2d") or users[before] > 1:
        return None
    weight = value_of(before.args[1])
    known = [value for value in values if value is not None]
    if weight is None or len(known) < len(values):
        return None
    gamma, beta, mean, variance = known
    if not norm.attrs.scale:
        gamma = np.ones_like(mean)
    if not norm.attrs.center:
        beta = np.zeros_like(mean)
    # In double precision: dividing by small variances in float32 costs digits of the logits.
    scale = gamma.astype("float64") / np.sqrt(variance.astype("float64") + norm.attrs.epsilon)
    shift = beta - mean * scale
    if bias is not None:
        shift = shift + bias * scale
    # PyTorch's depthwise weights arrive as (groups, outputs per group, kh, kw).
    weight = weight.reshape(scale.size, -1, *weight.shape[2:])
    weight = (weight * scale[:, None, None, None]).astype("float32")
    convolution = relay.Call(before.op, [visit(before.args[0]), constant(weight)], before.attrs)
    return relay.nn.bias_add(convolution, constant(shift.astype("float32")))
