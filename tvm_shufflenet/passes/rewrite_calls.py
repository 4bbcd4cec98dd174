"""Rewrite calls of a module by a rule, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm_shufflenet.passes.users import count_users

# The call, the number of users of every expression, and how to visit an argument -> its
# replacement, or None to keep it.
Rule = Callable[[Any, dict[Any, int], Callable[[Any], Any]], Any | None]


def rewrite_calls(mod: Any, rule: Rule) -> Any:
    """Return the module with every call that `rule` replaces; types are inferred before, after."""
    from tvm import relay

    mod = relay.transform.InferType()(mod)
    users = count_users(mod["main"])

    class Rewriter(relay.ExprMutator):
        def visit_call(self, call: Any) -> Any:
            return rule(call, users, self.visit) or super().visit_call(call)

    mod["main"] = Rewriter().visit(mod["main"])
    return relay.transform.InferType()(mod)
