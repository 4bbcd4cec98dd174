"""Who uses an expression, and how many do."""

from __future__ import annotations

from typing import Any


def users_of(function: Any) -> dict[Any, list[Any]]:
    """Return, for each expression in `function`, the calls, tuples and projections that use it.

    What uses an expression twice is named twice; the function uses its body.
    """
    from tvm import relay

    users: dict[Any, list[Any]] = {function.body: [function]}

    def note(node: Any) -> None:
        used: Any = ()
        if isinstance(node, relay.Call):
            used = node.args
        elif isinstance(node, relay.Tuple):
            used = node.fields
        elif isinstance(node, relay.TupleGetItem):
            used = (node.tuple_value,)
        for expression in used:
            users.setdefault(expression, []).append(node)

    relay.analysis.post_order_visit(function, note)
    return users


def count_users(function: Any) -> dict[Any, int]:
    """Count the users of each expression in `function`."""
    return {expression: len(users) for expression, users in users_of(function).items()}
