"""How many expressions use an expression."""

from __future__ import annotations

from typing import Any


def count_users(function: Any) -> dict[Any, int]:
    """Count, for each expression in `function`, the calls, tuples and projections that use it."""
    from tvm import relay

    users: dict[Any, int] = {function.body: 1}

    def count(node: Any) -> None:
        used: Any = ()
        if isinstance(node, relay.Call):
            used = node.args
        elif isinstance(node, relay.Tuple):
            used = node.fields
        elif isinstance(node, relay.TupleGetItem):
            used = (node.tuple_value,)
        for expression in used:
            users[expression] = users.get(expression, 0) + 1

    relay.analysis.post_order_visit(function, count)
    return users
