"""What each kernel of a compiled graph has to do, read from the graph's shapes alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod

Shape = tuple[int, ...]
_FLOAT_BYTES = 4
_PREFIX = "tvmgen_default_fused_"


@dataclass(frozen=True, kw_only=True)
class KernelCost:
    """One node of the graph."""

    node: int  # its index in the graph
    name: str  # the kernel's function, without TVM's prefix
    output: Shape  # of the map it writes, in its own layout
    multiply_adds: int  # of its convolutions and matrix products
    activation_bytes: int  # maps read and written
    weight_bytes: int  # constants read

    @property
    def bytes(self) -> int:
        """All that it reads and writes."""
        return self.activation_bytes + self.weight_bytes


def kernel_costs(graph_json: str) -> tuple[KernelCost, ...]:
    """Return the cost of every kernel, in the order of execution.

    Padding that was packed into weights counts as work, since it is executed. Each map and each
    constant counts once, as if caches held what is read again.
    """
    graph = json.loads(graph_json)
    shapes = [tuple(shape) for shape in graph["attrs"]["shape"][1]]
    rows, nodes = graph["node_row_ptr"], graph["nodes"]
    found = []
    for index, node in enumerate(nodes):
        if node["op"] == "null" or node["attrs"]["func_name"] == "__nop":
            continue
        outputs = shapes[rows[index] : rows[index + 1]]
        # One constant or map that is read twice is still one.
        sources = dict.fromkeys((entry[0], entry[1]) for entry in node["inputs"])
        constants = [shapes[rows[i] + k] for i, k in sources if _is_constant(nodes[i])]
        maps = [shapes[rows[i] + k] for i, k in sources if not _is_constant(nodes[i])]
        found.append(
            KernelCost(
                node=index,
                name=short_name(node["attrs"]["func_name"]),
                output=outputs[0],
                multiply_adds=_multiply_adds(outputs[0], constants),
                activation_bytes=_FLOAT_BYTES * sum(map(prod, [*maps, *outputs])),
                weight_bytes=_FLOAT_BYTES * sum(map(prod, constants)),
            )
        )
    return tuple(found)


def short_name(function: str) -> str:
    """Return a kernel's function name without the prefix that TVM gives them all."""
    return function.removeprefix(_PREFIX)


def _is_constant(node: dict[str, object]) -> bool:
    return node["op"] == "null" and node["name"] != "input"


def _multiply_adds(output: Shape, constants: list[Shape]) -> int:
    """Every weight is used once at every output position, whatever layout or grouping.

    Constants no larger than the output's channels are biases.
    """
    sizes = [prod(constant) for constant in constants]
    positions = _positions(output, set(sizes))
    channels = prod(output) // (output[0] * positions)
    return output[0] * positions * sum(size for size in sizes if size > channels)


def _positions(shape: Shape, constant_sizes: set[int]) -> int:
    """Return height times width of a map in NHWC, NCHW or NCHWc; 1 if it is no map."""
    if len(shape) == 5:
        return shape[2] * shape[3]
    if len(shape) != 4:
        return 1
    _, second, third, last = shape
    channels_last, channels_first = third * second, third * last
    # A bias gives the channels away; after a concatenation its size is only a part of them.
    if (last in constant_sizes) != (second in constant_sizes):
        return channels_last if last in constant_sizes else channels_first
    return channels_first if third == last and second != third else channels_last
