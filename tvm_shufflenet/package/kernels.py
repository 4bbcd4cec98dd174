"""Which kernels a built network has, and which tuning record served each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tvm_shufflenet import ops


def kernels_of(factory: Any, best: Mapping[str, Any]) -> tuple[tuple[str, str, str | None], ...]:
    """Return (name, operator, key of its record or None) of each kernel, in the graph's order.

    Args:
        factory: what ``relay.build`` returned.
        best: the records that were applied, by workload.
    """
    nodes = json.loads(factory.get_graph_json())["nodes"]
    names = [node["attrs"]["func_name"] for node in nodes if node["op"] == "tvm_op"]
    kernels = []
    for name in dict.fromkeys(names):
        if name == "__nop":
            continue
        metadata = factory.function_metadata.get(name)
        calls = _calls(metadata) if metadata is not None else []
        kernels.append((name, _operators(calls), _record(calls, best)))
    return tuple(kernels)


def _calls(metadata: Any) -> list[Any]:
    from tvm import relay

    found: list[Any] = []

    def look(node: Any) -> None:
        if isinstance(node, relay.Call) and hasattr(node.op, "name"):
            found.append(node)

    for function in metadata.relay_primfuncs.values():
        relay.analysis.post_order_visit(function, look)
    return found


def _operators(calls: list[Any]) -> str:
    return " + ".join(dict.fromkeys(call.op.name for call in calls)) or "unknown"


def _record(calls: list[Any], best: Mapping[str, Any]) -> str | None:
    from tvm_shufflenet.passes.pack_weights import workload_of
    from tvm_shufflenet.tuning.history import autotvm_workload

    for call in calls:
        if ops.ours(call) is None:
            continue
        record = best.get(autotvm_workload(workload_of(call)))
        if record is not None:
            return str(record.key)
    return None
