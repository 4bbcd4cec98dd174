"""Find channel shuffles, spelled as reshape, transpose, reshape, and give them their name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm_shufflenet.passes.constants import is_call, static_shape


@dataclass(frozen=True)
class RecognizeChannelShuffle:
    """reshape (N, g, n, H, W) → transpose (0, 2, 1, 3, 4) → reshape (N, C, H, W) becomes a marker.

    The marker is a call of the function ``channel_shuffle`` with attribute ``groups`` = g: the
    permutation of Sec. 3.1 for any g that divides C, so its inverse is found as well (g' = n).
    A shuffle in four dimensions, (N, g, n, H·W), is found too. Left alone: dynamic shapes, and a
    chain whose middle has another user.
    """

    name: str = "recognize_channel_shuffle"

    def __call__(self, mod: Any) -> Any:
        """Return the module with every shuffle marked."""
        from tvm import relay

        from tvm_shufflenet.passes.users import count_users

        mod = relay.transform.InferType()(mod)
        users = count_users(mod["main"])

        class Marker(relay.ExprMutator):
            def visit_call(self, call: Any) -> Any:
                groups, source = shuffle_groups(call, users)
                if groups is None:
                    return super().visit_call(call)
                return mark(self.visit(source), groups)

        mod["main"] = Marker().visit(mod["main"])
        return relay.transform.InferType()(mod)


def shuffle_groups(call: Any, users: dict[Any, int]) -> tuple[int | None, Any]:
    """Return the groups and input of the shuffle that ends in `call`, or (None, None)."""
    nothing = (None, None)
    if not is_call(call, "reshape"):
        return nothing
    turned = call.args[0]
    if not is_call(turned, "transpose") or users[turned] > 1:
        return nothing
    split = turned.args[0]
    if not is_call(split, "reshape") or users[split] > 1:
        return nothing
    before, middle, after = (static_shape(e) for e in (split.args[0], split, call))
    if before is None or middle is None or before != after or len(before) != 4:
        return nothing
    axes = [int(axis) % len(middle) for axis in turned.attrs.axes or ()]
    if axes != [0, 2, 1, *range(3, len(middle))] or len(middle) not in (4, 5):
        return nothing
    batch, groups, count, *rest = middle
    area = before[2] * before[3]
    spatial = 1
    for extent in rest:
        spatial *= extent
    if batch != before[0] or groups * count != before[1] or spatial != area:
        return nothing
    return groups, split.args[0]


def mark(data: Any, groups: int) -> Any:
    """Return the marker of a shuffle: the identity in type, `groups` as its attribute."""
    from tvm_shufflenet.ops import call

    return call("marked_shuffle", [data], groups=groups)
