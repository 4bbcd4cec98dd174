"""The rules of `ToChannelBlocks`: how each Relay operator is said in channel blocks.

A rule gets the typed call, its lowered arguments (`Blocked` for activation maps, `Flat` for
flattened ones) and what else it may need to know; it returns the lowered result, or None if it
does not apply.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm_shufflenet import ops
from tvm_shufflenet.passes.convolution_rules import (
    conv2d,
    dense,
)
from tvm_shufflenet.passes.epilogue_rules import (
    add,
    bias_add,
    elementwise,
    relu,
)
from tvm_shufflenet.passes.map_rules import (
    adaptive_pool,
    concatenate,
    flatten,
    global_pool,
    lrn,
    pool,
    shuffle,
)

RULES: dict[str, Callable[..., Any]] = {
    "nn.conv2d": conv2d,
    "nn.dense": dense,
    "nn.bias_add": bias_add,
    "add": add,
    "nn.relu": relu,
    "clip": elementwise,
    "sigmoid": elementwise,
    "nn.max_pool2d": pool("max"),
    "nn.avg_pool2d": pool("average"),
    "nn.global_avg_pool2d": global_pool,
    "nn.adaptive_avg_pool2d": adaptive_pool,
    "nn.batch_flatten": flatten,
    "concatenate": concatenate,
    "nn.lrn": lrn,
    ops.PREFIX + "marked_shuffle": shuffle,
}
