"""What the rules of `ToChannelBlocks` share."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from tvm_shufflenet import ops
from tvm_shufflenet.boards import Machine
from tvm_shufflenet.passes.channel_blocks import Blocked
from tvm_shufflenet.passes.constants import is_call
from tvm_shufflenet.schedules.window import Window


@dataclass(frozen=True)
class Lowering:
    """What the rules need to know besides the call."""

    machine: Machine
    users: dict[Any, int]
    shuffled: dict[Any, int]  # convolutions whose result is shuffled -> groups of the shuffle

    def sole(self, expression: Any) -> bool:
        """Tell whether `expression` has one user, so that it may be changed for that one."""
        return self.users[expression] == 1


def shuffled_convolutions(function: Any) -> dict[Any, int]:
    """Find the convolutions whose result, with bias and ReLU, goes through a shuffle."""
    from tvm import relay

    found: dict[Any, int] = {}

    def look(node: Any) -> None:
        if not is_call(node, ops.PREFIX + "marked_shuffle"):
            return
        before = node.args[0]
        while is_call(before, "nn.relu") or is_call(before, "nn.bias_add"):
            before = before.args[0]
        if is_call(before, "nn.conv2d"):
            found[before] = int(ops.attributes_of(node)["groups"])

    relay.analysis.post_order_visit(function, look)
    return found


def geometry(attrs: Any, shape: tuple[int, ...], window: tuple[int, int]) -> Window | None:
    """Return the sliding window of a convolution or pooling, if ours can express it."""
    strides = {int(stride) for stride in attrs.strides}
    borders = {int(border) for border in attrs.padding}
    dilated = any(int(step) != 1 for step in attrs.dilation)
    if len(strides) != 1 or len(borders) != 1 or dilated:
        return None
    return Window(shape[0], shape[2], shape[3], *window, strides.pop(), borders.pop())


def as_tuple(value: Any) -> tuple[int, ...]:
    """Return a `Window` or `Source` as an operator's attribute."""
    return tuple(dataclasses.astuple(value))


def like(window: Window, matrix: Any, channels: int, size: int, stride: int) -> Blocked:
    """Return the map that `window` makes, its pixels in `matrix`."""
    return Blocked(
        matrix, window.images, window.out_height, window.out_width, channels, size, stride
    )
