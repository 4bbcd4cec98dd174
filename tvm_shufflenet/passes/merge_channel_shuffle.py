"""Merge each channel shuffle into the convolution that follows: it reads through the permutation.

A depthwise convolution in between works channel by channel, so the shuffle passes through it:
its weights and bias are put in the order from before the shuffle, at compile time.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from tvm_shufflenet import ops
from tvm_shufflenet.passes.constants import constant, value_of
from tvm_shufflenet.passes.rewrite_calls import rewrite_calls
from tvm_shufflenet.passes.users import count_users
from tvm_shufflenet.schedules.channels import Source

KEPT = "tvm_shufflenet.shuffles_kept"
_READERS = ("pointwise", "convolution")


@dataclass(frozen=True)
class MergeChannelShuffle:
    """shuffle → [depthwise →] convolution becomes [depthwise →] convolution with a `source`.

    The paper's order (depthwise in between), Megvii's (depthwise before the shuffle, inverse
    permutation) and none at all are merged; a dense convolution takes the permutation into its
    weights. Left alone, and named in the module's attribute ``tvm_shufflenet.shuffles_kept``: a
    shuffle whose result has a second user, or whose user is no convolution.
    """

    name: str = "merge_channel_shuffle"

    def __call__(self, mod: Any) -> Any:
        """Return the module with shuffles merged where that is possible."""
        mod = rewrite_calls(mod, _merged)
        kept = _kept(mod["main"])
        return mod.with_attr(KEPT, kept) if kept else mod


def _sole(call: Any, operator: str, users: dict[Any, int]) -> bool:
    """Tell whether `call` is a call of our `operator` with one user."""
    found = ops.ours(call)
    return found is not None and found.name == operator and users[call] == 1


def _merged(reader: Any, users: dict[Any, int], visit: Any) -> Any | None:
    operator = ops.ours(reader)
    if operator is None or operator.name not in _READERS:
        return None
    attributes = ops.attributes_of(reader)
    data, between = reader.args[0], None
    if _sole(data, "depthwise", users):
        between, data = data, data.args[0]
    if not _sole(data, "channel_shuffle", users):
        return None
    shuffle = Source(*ops.attributes_of(data)["source"])
    weight = reader.args[1]
    if weight.data.shape[0] == 1:
        # A dense convolution: its weights take the permutation, and reads stay in order.
        weight = constant(_dense_rows(value_of(weight), shuffle, attributes))
    elif Source(*attributes["source"]) == dataclasses.replace(shuffle, shuffle=1):
        attributes["source"] = dataclasses.astuple(shuffle)
    else:
        return None
    source = visit(data.args[0])
    if between is not None:
        source = _moved_before(between, source, shuffle)
    inputs = [source, weight, reader.args[2]]
    residual = visit(reader.args[3]) if len(reader.args) > 3 else None
    return ops.call(operator.name, inputs, residual, **attributes)


def _places(shuffle: Source) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each position behind the shuffle, its lane there and its lane before it."""
    positions = range(shuffle.channels)
    plain = dataclasses.replace(shuffle, shuffle=1)
    behind = [plain.position(0, q, shuffle.channels) for q in positions]
    before = [shuffle.shuffled(q) for q in positions]
    return np.array(behind), np.array(before)


def _moved_before(depthwise: Any, source: Any, shuffle: Source) -> Any:
    """Return the depthwise convolution on the unshuffled `source`."""
    behind, before = _places(shuffle)
    moved = []
    for argument in depthwise.args[1:]:
        value = value_of(argument)
        assert value is not None
        turned = np.zeros_like(value)
        turned[..., before] = value[..., behind]
        moved.append(constant(turned))
    return ops.call("depthwise", [source, *moved], **ops.attributes_of(depthwise))


def _dense_rows(
    weight: np.ndarray | None, shuffle: Source, attributes: dict[str, Any]
) -> np.ndarray:
    """Return (1, window·lanes, outputs) with the rows of each tap in unshuffled order."""
    assert weight is not None
    lanes = Source(*attributes["source"]).channels
    taps = weight.reshape(1, -1, lanes, weight.shape[-1])
    behind, before = _places(shuffle)
    turned = np.zeros_like(taps)
    turned[:, :, before] = taps[:, :, behind]
    return turned.reshape(weight.shape)


def _kept(function: Any) -> list[str]:
    """Say of each shuffle that is left why it is."""
    from tvm import relay

    users = count_users(function)
    readers: dict[Any, str] = {}
    left: list[Any] = []

    def look(node: Any) -> None:
        if not isinstance(node, relay.Call):
            return
        for argument in node.args:
            readers[argument] = getattr(node.op, "name", "a function")
        operator = ops.ours(node)
        if operator is not None and operator.name == "channel_shuffle":
            left.append(node)

    relay.analysis.post_order_visit(function, look)
    reasons = []
    for shuffle in left:
        source = Source(*ops.attributes_of(shuffle)["source"])
        what = f"shuffle of {source.channels} channels in {source.shuffle} groups"
        if users[shuffle] > 1:
            reasons.append(f"{what}: its result has {users[shuffle]} users")
        else:
            reasons.append(f"{what}: read by {readers.get(shuffle, 'the output')}")
    return reasons
