"""Table 8 of the ShuffleNet paper (Sec. 4.5), measured anew with packages of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tvm_shufflenet.benchmark.results import Result
from tvm_shufflenet.benchmark.statistics import Ratio, speedup
from tvm_shufflenet.errors import InputError

Size = tuple[int, int]  # height, width

ALEXNET = "alexnet"
TITLES = {
    "shufflenet_v1_g3_x0.5_arch2": "ShuffleNet 0.5x (arch2, g=3)",
    "shufflenet_v1_g3_x1.0": "ShuffleNet 1x (g=3)",
    ALEXNET: "AlexNet",
}
NETWORKS = tuple(TITLES)
# Milliseconds on the authors' (unnamed) ARM phone, one thread.
PAPER_MS: Mapping[str, Mapping[Size, float]] = {
    "shufflenet_v1_g3_x0.5_arch2": {(224, 224): 15.2, (480, 640): 87.4, (720, 1280): 260.1},
    "shufflenet_v1_g3_x1.0": {(224, 224): 37.8, (480, 640): 222.2, (720, 1280): 684.5},
    ALEXNET: {(224, 224): 184.0, (480, 640): 1156.7, (720, 1280): 3633.9},
}
PAPER_SIZES: tuple[Size, ...] = ((224, 224), (480, 640), (720, 1280))


@dataclass(frozen=True)
class Row:
    """One network at one size, beside AlexNet and beside the paper."""

    title: str
    result: Result
    multiply_adds: int
    theoretical_speedup: float  # AlexNet's multiply-adds / this network's
    speedup: Ratio | None  # AlexNet's time / this network's; None if either was not measured
    paper_ms: float | None  # None at sizes that the paper does not have
    paper_speedup: float | None


def rows(results: Sequence[Result], multiply_adds: Mapping[str, int]) -> tuple[Row, ...]:
    """Join the results of one size with AlexNet's and the paper's.

    Args:
        results: one a network, AlexNet among them, all of one input size.
        multiply_adds: at that size, by network.

    Raises:
        InputError: if AlexNet is missing or there is a network that is not in the table.
    """
    alexnet = next((result for result in results if result.network == ALEXNET), None)
    if alexnet is None or any(result.network not in TITLES for result in results):
        raise InputError(f"Table 8 needs results of {', '.join(NETWORKS)} and of no other network")
    return tuple(_row(result, alexnet, multiply_adds) for result in results)


def _row(result: Result, alexnet: Result, multiply_adds: Mapping[str, int]) -> Row:
    size = (result.height, result.width)
    paper_ms = PAPER_MS[result.network].get(size)
    alexnet_ms = PAPER_MS[ALEXNET].get(size)
    measured = None
    if result.samples is not None and alexnet.samples is not None:
        measured = speedup(result.samples, alexnet.samples)
    return Row(
        title=TITLES[result.network],
        result=result,
        multiply_adds=multiply_adds[result.network],
        theoretical_speedup=multiply_adds[ALEXNET] / multiply_adds[result.network],
        speedup=measured,
        paper_ms=paper_ms,
        paper_speedup=alexnet_ms / paper_ms if paper_ms and alexnet_ms else None,
    )
