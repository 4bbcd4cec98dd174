"""Which kernel serves an operator: its template, or for Ansor its bare computation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tvm_shufflenet import schedules

if TYPE_CHECKING:
    from tvm_shufflenet.ops.operators import Operator


def strategy(operator: Operator, residual: bool) -> Callable[..., Any]:
    """Return the Relay strategy of an operator; `residual`: of its form that adds one."""
    import tvm
    from tvm import relay

    compute, schedule = schedules.register()[operator.name]

    def of(attrs: Any, inputs: list[Any], out_type: Any, target: Any) -> Any:
        chosen = relay.op.OpStrategy()
        chosen.add_implementation(
            _compute(operator, compute, residual), _schedule(schedule), name=operator.name
        )
        return chosen

    name = f"{operator.name}_{'add_' if residual else ''}strategy_tvm_shufflenet"
    return tvm.target.override_native_generic_func(name)(of)


def _compute(
    operator: Operator, compute: Callable[..., Any], residual: bool
) -> Callable[[Any, list[Any], Any], list[Any]]:
    from tvm_shufflenet.ops.operators import WITH_RESIDUAL, plain

    count = len(operator.arguments)

    def of(attrs: Any, inputs: list[Any], out_type: Any) -> list[Any]:
        values = [plain(attrs[name]) for name in operator.attributes]
        arguments = list(inputs[:count])
        if operator.name in WITH_RESIDUAL:
            arguments.append(inputs[count] if residual else None)
        return [compute(*arguments, *values)]

    return of


def _schedule(schedule: Callable[[list[Any]], Any]) -> Callable[[Any, list[Any], Any], Any]:
    def of(attrs: Any, outs: list[Any], target: Any) -> Any:
        with target:
            return schedule(list(outs))

    return of
