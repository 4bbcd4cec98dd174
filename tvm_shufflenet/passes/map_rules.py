"""Rules of `ToChannelBlocks` for whole maps: pool, join, flatten, normalize, shuffle."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from tvm_shufflenet import ops
from tvm_shufflenet.boards import Machine
from tvm_shufflenet.passes.block_conversions import from_nchw
from tvm_shufflenet.passes.channel_blocks import Blocked, Flat, block_stride
from tvm_shufflenet.passes.constants import static_shape
from tvm_shufflenet.passes.epilogue_rules import without_relu
from tvm_shufflenet.passes.lowering import Lowering, as_tuple, geometry, like


def pool(kind: str) -> Callable[..., Blocked | None]:
    """Return the rule of max or average pooling."""

    def rule(call: Any, arguments: list[Any], lowering: Lowering) -> Blocked | None:
        data, shape, attrs = arguments[0], static_shape(call.args[0]), call.attrs
        if not isinstance(data, Blocked) or shape is None or attrs.layout != "NCHW":
            return None
        window = geometry(attrs, shape, tuple(int(e) for e in attrs.pool_size))  # type: ignore[arg-type]
        if window is None or (window.out_height, window.out_width) != static_shape(call)[2:]:  # type: ignore[index]
            return None  # ceil_mode reaches beyond the border
        if kind == "average" and window.border and not attrs.count_include_pad:
            return None
        # The largest is clamped, not each: fewer of them.
        alone = kind == "max" and lowering.sole(call.args[0])
        bare = without_relu(data) if alone else None
        matrix = ops.call(
            "pooling",
            [(bare or data).matrix],
            geometry=as_tuple(window),
            kind=kind,
            relu=int(bare is not None),
        )
        return like(window, matrix, *data.layout)

    return rule


def global_pool(call: Any, arguments: list[Any], lowering: Lowering) -> Blocked | None:
    """The mean of each map."""
    data = arguments[0]
    if not isinstance(data, Blocked):
        return None
    matrix = ops.call("global_mean", [data.matrix], images=data.images)
    return dataclasses.replace(data, matrix=matrix, height=1, width=1)


def adaptive_pool(call: Any, arguments: list[Any], lowering: Lowering) -> Blocked | None:
    """Means over windows of nearly equal size, as PyTorch cuts them."""
    data, after = arguments[0], static_shape(call)
    if not isinstance(data, Blocked) or after is None:
        return None
    geometry = (data.images, data.height, data.width, after[2], after[3])
    matrix = ops.call("adaptive_mean", [data.matrix], geometry=geometry)
    return dataclasses.replace(data, matrix=matrix, height=after[2], width=after[3])


def flatten(call: Any, arguments: list[Any], lowering: Lowering) -> Flat | None:
    """Nothing moves: the dense layer behind has its weights put in order instead."""
    data = arguments[0]
    if isinstance(data, Flat):
        return data
    return Flat(data) if isinstance(data, Blocked) else None


def concatenate(call: Any, arguments: list[Any], lowering: Lowering) -> Blocked | None:
    """Along the channels, two maps at a time."""
    parts = arguments[0]
    if int(call.attrs.axis) != 1 or not all(isinstance(part, Blocked) for part in parts):
        return None
    joined = parts[0]
    for part in parts[1:]:
        joined = _joined(joined, part, lowering.machine)
    return joined  # type: ignore[no-any-return]


def _joined(first: Blocked, second: Blocked, machine: Machine) -> Blocked:
    channels = first.channels + second.channels
    # The branch of a unit has the blocks that additions behind need, whichever side it is on.
    blocks = max(count for count in (1, first.blocks, second.blocks) if channels % count == 0)
    size = channels // blocks
    stride = block_stride(size, machine)
    columns = [(0, int(c)) for c in first.positions()]
    columns += [(1, int(c)) for c in second.positions()]
    copies: list[list[int]] = []
    for lane in range(blocks * stride):
        block, within = divmod(lane, stride)
        source, start = columns[block * size + within] if within < size else (2, 0)
        last = copies[-1] if copies else None
        follows = last is not None and last[0] == source
        if last is not None and follows and (source == 2 or last[1] + last[3] == start):
            last[3] += 1
        else:
            copies.append([source, start, lane, 1])
    matrix = ops.call(
        "concatenation",
        [first.matrix, second.matrix],
        copies=tuple(tuple(copy) for copy in copies),
    )
    return dataclasses.replace(second, matrix=matrix, channels=channels, size=size, stride=stride)


def lrn(call: Any, arguments: list[Any], lowering: Lowering) -> Blocked | None:
    """Only with AlexNet's exponent, and where neighbors lie side by side."""
    data, attrs = arguments[0], call.attrs
    side_by_side = isinstance(data, Blocked) and data.size == data.stride
    if not side_by_side or attrs.axis != 1 or abs(attrs.beta - 0.75) > 1e-6:
        return None
    matrix = ops.call(
        "local_response_norm",
        [data.matrix],
        size=int(attrs.size),
        alpha=float(attrs.alpha),
        bias=float(attrs.bias),
    )
    return dataclasses.replace(data, matrix=matrix)


def shuffle(call: Any, arguments: list[Any], lowering: Lowering) -> Blocked:
    """A kernel of its own, until `MergeChannelShuffle` takes it away."""
    data, groups = arguments[0], int(ops.attributes_of(call)["groups"])
    if not isinstance(data, Blocked):
        data = from_nchw(data, call.checked_type, lowering.machine)
    source = as_tuple(data.source(groups))
    matrix = ops.call("channel_shuffle", [data.matrix], source=source)
    return dataclasses.replace(data, matrix=matrix)
