"""Multiply-adds and bytes from a graph's shapes."""

from __future__ import annotations

import dataclasses
import json

import pytest

from tvm_shufflenet.benchmark.kernel_costs import kernel_costs
from tvm_shufflenet.benchmark.peaks import Peaks, ReadSpeed
from tvm_shufflenet.benchmark.profile import KernelTime, Profile
from tvm_shufflenet.benchmark.tables import profile_table


def graph(output, *constants, source=(1, 3, 8, 8)) -> str:
    """One kernel from the input and constants to `output`, then a reshape for free."""
    names = ["input", *(f"p{index}" for index in range(len(constants)))]
    nodes = [{"op": "null", "name": name, "inputs": []} for name in names]
    inputs = [[index, 0, 0] for index in range(len(nodes))]
    kernel = {"op": "tvm_op", "name": "k", "attrs": {"func_name": "tvmgen_default_fused_k"}}
    nop = {"op": "tvm_op", "name": "reshape", "attrs": {"func_name": "__nop"}}
    last = len(nodes)
    nodes += [{**kernel, "inputs": inputs}, {**nop, "inputs": [[last, 0, 0]]}]
    shapes = [source, *constants, output, output]
    return json.dumps(
        {
            "nodes": nodes,
            "node_row_ptr": list(range(len(nodes) + 1)),
            "attrs": {"shape": ["list_shape", shapes]},
        }
    )


@pytest.mark.parametrize(
    "output, constants, multiply_adds",
    [
        pytest.param((1, 24, 7, 5), [(24, 3, 3, 3), (1, 24, 1, 1)], 35 * 24 * 27, id="NCHW"),
        pytest.param((1, 7, 5, 24), [(3, 3, 3, 24), (24,)], 35 * 24 * 27, id="NHWC"),
        pytest.param((1, 7, 7, 24), [(3, 3, 3, 24)], 49 * 24 * 27, id="NHWC without a bias"),
        pytest.param((1, 24, 7, 7), [(24, 3, 3, 3)], 49 * 24 * 27, id="NCHW without a bias"),
        pytest.param(
            (1, 3, 7, 5, 8), [(3, 1, 3, 3, 3, 8), (1, 3, 1, 1, 8)], 35 * 24 * 27, id="NCHWc"
        ),
        pytest.param((1, 60, 7, 5), [(60, 20, 1, 1), (1, 60, 1, 1)], 35 * 60 * 20, id="grouped"),
        pytest.param((1, 7, 5, 60), [(3, 3, 60), (60,)], 35 * 60 * 9, id="depthwise"),
        pytest.param(
            (1, 7, 5, 240),
            [(3, 3, 60), (60,), (3, 20, 80), (240,)],
            35 * (60 * 9 + 240 * 20),
            id="depthwise fused into a grouped pointwise",
        ),
        pytest.param(
            (1, 7, 7, 240), [(3, 20, 72), (216,)], 49 * 216 * 20, id="with a concatenation"
        ),
        pytest.param((1, 1000), [(1000, 960), (1000,)], 960_000, id="dense"),
        pytest.param((4, 1000), [(40, 960, 25), (1, 1000)], 4 * 960_000, id="dense, batch of 4"),
        pytest.param((2, 7, 5, 24), [(3, 3, 3, 24), (24,)], 2 * 35 * 24 * 27, id="batch of 2"),
        pytest.param((1, 24, 4, 4), [], 0, id="pooling"),
    ],
)
def test_multiply_adds_follow_from_shapes(output, constants, multiply_adds) -> None:
    (cost,) = kernel_costs(graph(output, *constants))
    assert cost.multiply_adds == multiply_adds
    assert (cost.name, cost.output) == ("k", output)


def test_bytes_are_those_of_maps_and_constants() -> None:
    (cost,) = kernel_costs(graph((1, 24, 4, 4), (24, 3, 3, 3), (1, 24, 1, 1)))
    assert cost.activation_bytes == 4 * (3 * 8 * 8 + 24 * 4 * 4)
    assert cost.weight_bytes == 4 * (24 * 27 + 24)


PEAKS = Peaks(
    1, 100.0, (ReadSpeed(1 << 20, 50.0), ReadSpeed(1 << 24, 20.0), ReadSpeed(1 << 27, 10.0))
)


def test_a_kernel_with_much_arithmetic_is_bound_by_it() -> None:
    (cost,) = kernel_costs(graph((1, 24, 4, 4), (24, 300, 3, 3)))
    kernel = KernelTime(cost, 1e-3)
    assert kernel.limit(PEAKS) == "arithmetic"
    assert kernel.bound_s(PEAKS) == pytest.approx(2e-9 * cost.multiply_adds / 100)
    assert kernel.gflops == pytest.approx(2 * 16 * 24 * 2700 / 1e-3 * 1e-9)


def test_a_kernel_that_moves_data_is_bound_by_bandwidth() -> None:
    (cost,) = kernel_costs(graph((1, 24, 4, 4)))
    kernel = KernelTime(cost, 1e-3)
    assert kernel.limit(PEAKS) == "bandwidth"
    assert kernel.bound_s(PEAKS) == pytest.approx(cost.activation_bytes / 50e9)
    assert kernel.gflops == 0


@pytest.mark.parametrize(
    "size_bytes, gb_s",
    [(1000, 50), (1 << 20, 50), ((1 << 20) + 1, 20), (1 << 26, 10), (1 << 30, 10)],
)
def test_bytes_move_at_the_speed_of_the_smallest_cache_that_holds_them(size_bytes, gb_s) -> None:
    assert PEAKS.read_s(size_bytes) == pytest.approx(size_bytes / (gb_s * 1e9))


def test_the_profile_table_has_a_heading_a_cell() -> None:
    (cost,) = kernel_costs(graph((1, 24, 4, 4), (24, 3, 3, 3)))
    table = profile_table(Profile("net", 1, (KernelTime(cost, 1e-5),), 1e-5, PEAKS), 5)
    assert [str(column.header) for column in table.columns][:4] == [
        "kernel",
        "output",
        "calls",
        "us each",
    ]
    assert all(str(column.header) for column in table.columns)
    assert [next(iter(column.cells)) for column in table.columns][:3] == ["k", "1x24x4x4", "1"]


def test_the_profile_sorts_functions_by_the_time_of_all_their_calls() -> None:
    (cost,) = kernel_costs(graph((1, 24, 4, 4)))
    other = dataclasses.replace(cost, name="other")
    kernels = (KernelTime(cost, 1e-5), KernelTime(other, 3e-5), KernelTime(cost, 3e-5))
    profile = Profile("net", 1, kernels, 8e-5, PEAKS)
    first, second = profile.slowest_first()
    assert (first.kernel.cost.name, first.calls) == ("k", 2)
    assert first.total_s == pytest.approx(4e-5)
    assert first.kernel.seconds == pytest.approx(2e-5)
    assert (second.kernel.cost.name, second.calls) == ("other", 1)
    assert profile.bound_s() == pytest.approx(3 * kernels[0].bound_s(PEAKS))
