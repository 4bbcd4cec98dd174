"""Compute a depthwise convolution inside the pointwise convolution that reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm_shufflenet import ops
from tvm_shufflenet.passes.block_weights import through
from tvm_shufflenet.passes.constants import constant, value_of
from tvm_shufflenet.passes.rewrite_calls import rewrite_calls
from tvm_shufflenet.schedules.channels import Source


@dataclass(frozen=True)
class FuseDepthwisePointwise:
    """depthwise → pointwise becomes one kernel; the bottleneck map never leaves the caches.

    Nothing stands between the two in ShuffleNet (no ReLU after the depthwise convolution,
    Sec. 3.2), so the depthwise bias goes through the product into the other one. Left alone: a
    depthwise convolution with a ReLU or a second user.
    """

    name: str = "fuse_depthwise_pointwise"

    def __call__(self, mod: Any) -> Any:
        """Return the module with the pairs fused."""
        return rewrite_calls(mod, _fused)


def _fused(call: Any, users: dict[Any, int], visit: Any) -> Any | None:
    operator = ops.ours(call)
    if operator is None or operator.name != "pointwise":
        return None
    before = call.args[0]
    inner = ops.ours(before)
    if inner is None or inner.name != "depthwise" or users[before] > 1:
        return None
    depthwise, attributes = ops.attributes_of(before), ops.attributes_of(call)
    if depthwise["relu"]:
        return None
    weight, bias, taps_bias = (value_of(e) for e in (*call.args[1:3], before.args[2]))
    assert weight is not None and bias is not None and taps_bias is not None
    source = Source(*attributes["source"])
    total = constant(bias + through(weight, taps_bias, source))
    inputs = [visit(before.args[0]), before.args[1], call.args[1], total]
    residual = visit(call.args[3]) if len(call.args) > 3 else None
    return ops.call(
        "depthwise_pointwise",
        inputs,
        residual,
        geometry=depthwise["geometry"],
        source=attributes["source"],
        relu=attributes["relu"],
    )
