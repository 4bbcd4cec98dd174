"""Take averages where they are joined with another map, instead of storing them first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm_shufflenet import ops
from tvm_shufflenet.passes.rewrite_calls import rewrite_calls


@dataclass(frozen=True)
class FusePoolingConcatenation:
    """concatenation(average pooling, map) becomes one kernel: the end of a unit with stride 2.

    On either side. Left alone: a pooling that has a second user, or that takes the largest.
    """

    name: str = "fuse_pooling_concatenation"

    def __call__(self, mod: Any) -> Any:
        """Return the module with the pairs fused."""
        return rewrite_calls(mod, _fused)


def _fused(call: Any, users: dict[Any, int], visit: Any) -> Any | None:
    operator = ops.ours(call)
    if operator is None or operator.name != "concatenation":
        return None
    for side, part in enumerate(call.args):
        if _is_average(part) and users[part] == 1:
            pooling, copies = ops.attributes_of(part), ops.attributes_of(call)["copies"]
            return ops.call(
                "pooled_concatenation",
                [visit(part.args[0]), visit(call.args[1 - side])],
                geometry=pooling["geometry"],
                copies=_seen_from(side, copies),
                relu=pooling["relu"],
            )
    return None


def _is_average(part: Any) -> bool:
    operator = ops.ours(part)
    if operator is None or operator.name != "pooling":
        return False
    return bool(ops.attributes_of(part)["kind"] == "average")


def _seen_from(side: int, copies: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
    """Return the copies with the sources named anew: what was on `side` is source 0."""
    if side == 0:
        return copies
    return tuple((source if source > 1 else 1 - source, *rest) for source, *rest in copies)
