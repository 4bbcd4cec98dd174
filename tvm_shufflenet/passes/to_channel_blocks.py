"""Bring the network to our operators: one layout from the image to the logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm_shufflenet.boards import Machine
from tvm_shufflenet.passes.block_conversions import from_nchw, to_nchw, to_rows
from tvm_shufflenet.passes.block_rules import RULES
from tvm_shufflenet.passes.channel_blocks import Blocked, Flat
from tvm_shufflenet.passes.constants import static_shape
from tvm_shufflenet.passes.lowering import Lowering, shuffled_convolutions
from tvm_shufflenet.passes.users import count_users

KEPT = "tvm_shufflenet.operators_kept"


@dataclass(frozen=True)
class ToChannelBlocks:
    """Convolutions, pooling, additions and dense layers become our operators on pixel matrices.

    Bias, residual and ReLU go into the operator before them where it has no other user. What no
    rule covers (dilation, uneven borders, operators that networks of this kind do not use) keeps
    Relay's own operator on NCHW, with conversions around it; the names of those operators are in
    the module's attribute ``tvm_shufflenet.operators_kept``.
    """

    machine: Machine
    name: str = "to_channel_blocks"

    def __call__(self, mod: Any) -> Any:
        """Return the module in channel blocks."""
        import tvm
        from tvm import relay

        mod = relay.transform.InferType()(mod)
        function = mod["main"]
        lowering = Lowering(
            machine=self.machine,
            users=count_users(function),
            shuffled=shuffled_convolutions(function),
        )
        kept: list[str] = []
        done: dict[Any, Any] = {}
        order: list[Any] = []
        relay.analysis.post_order_visit(function.body, order.append)
        for expression in order:
            done[expression] = _lowered(expression, done, lowering, kept)
        body = _plain(done[function.body])
        lowered = tvm.IRModule.from_expr(relay.Function(function.params, body))
        if kept:
            lowered = lowered.with_attr(KEPT, sorted(set(kept)))
        return relay.transform.InferType()(lowered)


def _lowered(expression: Any, done: dict[Any, Any], lowering: Lowering, kept: list[str]) -> Any:
    from tvm import relay

    if isinstance(expression, relay.Tuple):
        return tuple(done[field] for field in expression.fields)
    if isinstance(expression, relay.TupleGetItem):
        whole = done[expression.tuple_value]
        if isinstance(whole, tuple):
            return whole[expression.index]
        return relay.TupleGetItem(whole, expression.index)
    if not isinstance(expression, relay.Call):
        return expression
    arguments = [done[argument] for argument in expression.args]
    kind = expression.checked_type
    is_float = isinstance(kind, relay.TensorType) and kind.dtype == "float32"
    rule: Callable[..., Any] | None = RULES.get(getattr(expression.op, "name", ""))
    result = rule(expression, arguments, lowering) if rule is not None and is_float else None
    if result is not None:
        return result
    operator = expression.op
    in_blocks = any(_in_blocks(argument) for argument in arguments)
    if in_blocks or rule is not None:
        kept.append(getattr(operator, "name", "a function"))
    call = relay.Call(operator, [_plain(a) for a in arguments], expression.attrs)
    if in_blocks and is_float and static_shape(expression) and len(kind.shape) == 4:
        return from_nchw(call, kind, lowering.machine)
    return call


def _in_blocks(value: Any) -> bool:
    """Tell whether `value` has to be moved to be what Relay's operators expect."""
    if isinstance(value, tuple):
        return any(_in_blocks(part) for part in value)
    if isinstance(value, Flat):
        maps = value.maps  # logits and their like are rows already
        return maps.blocks > 1 or (maps.height, maps.width) != (1, 1)
    return isinstance(value, Blocked)


def _plain(value: Any) -> Any:
    """Return an expression of the original layout."""
    from tvm import relay

    if isinstance(value, Blocked):
        return to_nchw(value)
    if isinstance(value, Flat):
        return to_rows(value)
    if isinstance(value, tuple):
        return relay.Tuple([_plain(part) for part in value])
    return value
