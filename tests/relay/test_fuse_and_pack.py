"""Depthwise inside pointwise, and weights in the order in which a tile reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from interpreter import evaluate
from networks import Written, expected_of, lowered, operators, pixels, seeded
from tolerance import assert_same
from torch import nn

from tvm_shufflenet import ops
from tvm_shufflenet.boards import load_board
from tvm_shufflenet.compiler import load_tvm
from tvm_shufflenet.frontend import from_torch
from tvm_shufflenet.passes.pack_weights import PackWeights, pack, workload_of
from tvm_shufflenet.schedules.references import unpacked
from tvm_shufflenet.tuning import history

tvm = load_tvm()
from tvm import relay  # noqa: E402

_SHAPE = (1, 3, 9, 8)


def _lowered(forward: Any, **parts: nn.Module) -> Any:
    module = seeded(Written(forward, **parts))
    image = pixels(_SHAPE)
    mod = lowered(from_torch(module, _SHAPE), "rpi4b")
    assert_same(evaluate(mod, image), expected_of(module, image))
    return mod


def _depthwise(stride: int = 1) -> nn.Module:
    return nn.Conv2d(12, 12, 3, stride, padding=1, groups=12)


def _calls(mod: Any) -> list[Any]:
    found: list[Any] = []

    def look(node: Any) -> None:
        if ops.ours(node) is not None:
            found.append(node)

    relay.analysis.post_order_visit(mod["main"], look)
    return found


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("groups", [1, 3])
def test_a_depthwise_convolution_runs_inside_the_pointwise_behind_it(
    stride: int, groups: int
) -> None:
    mod = _lowered(
        lambda net, x: torch.relu(net.after(net.between(net.before(x)))),
        before=nn.Conv2d(3, 12, 1),
        between=_depthwise(stride),
        after=nn.Conv2d(12, 18, 1, groups=groups),
    )
    counted = operators(mod)
    assert counted["depthwise_pointwise"] == 1
    assert not {"depthwise", "pointwise", "nn.relu"} & set(counted)


def test_a_residual_stays_with_the_fused_kernel() -> None:
    mod = _lowered(
        lambda net, x: torch.relu(net.after(net.between(y := net.before(x))) + y),
        before=nn.Conv2d(3, 12, 1, groups=3),
        between=_depthwise(),
        after=nn.Conv2d(12, 12, 1, groups=3),
    )
    assert operators(mod)["depthwise_pointwise_add"] == 1


@pytest.mark.parametrize("pooled_first", [True, False])
def test_averages_are_taken_where_they_are_joined(pooled_first: bool) -> None:
    def join(net: Any, x: Any) -> Any:
        parts = [net.pool(y := net.before(x)), net.branch(y)]
        return torch.relu(torch.cat(parts if pooled_first else parts[::-1], 1))

    mod = _lowered(
        join,
        before=nn.Conv2d(3, 12, 1),
        pool=nn.AvgPool2d(3, 2, padding=1),
        branch=nn.Conv2d(12, 20, 3, 2, padding=1),
    )
    counted = operators(mod)
    assert counted["pooled_concatenation"] == 1
    assert not {"pooling", "concatenation", "nn.relu"} & set(counted)


@pytest.mark.parametrize("pool", [nn.MaxPool2d(3, 2, padding=1), nn.AvgPool2d(3, 2, padding=1)])
def test_a_largest_or_an_average_that_is_used_again_is_joined_as_it_is(pool: nn.Module) -> None:
    def join(net: Any, x: Any) -> Any:
        pooled = net.pool(y := net.before(x))
        joined = torch.cat((pooled, net.branch(y)), 1)
        return joined if isinstance(pool, nn.MaxPool2d) else net.after(joined) + pooled

    mod = _lowered(
        join,
        before=nn.Conv2d(3, 12, 1),
        pool=pool,
        branch=nn.Conv2d(12, 20, 3, 2, padding=1),
        after=nn.Conv2d(32, 12, 1),
    )
    counted = operators(mod)
    assert (counted["pooling"], counted["concatenation"]) == (1, 1)


def test_a_relu_between_the_two_keeps_them_apart() -> None:
    mod = _lowered(
        lambda net, x: net.after(torch.relu(net.between(net.before(x)))),
        before=nn.Conv2d(3, 12, 1),
        between=_depthwise(),
        after=nn.Conv2d(12, 12, 1, groups=3),
    )
    assert (operators(mod)["depthwise"], operators(mod)["pointwise"]) == (1, 1)


def test_a_second_user_of_the_depthwise_result_keeps_them_apart() -> None:
    mod = _lowered(
        lambda net, x: net.after(y := net.between(net.before(x))) + y,
        before=nn.Conv2d(3, 12, 1, groups=3),
        between=_depthwise(),
        after=nn.Conv2d(12, 12, 1, groups=3),
    )
    assert (operators(mod)["depthwise"], operators(mod)["pointwise_add"]) == (1, 1)


def test_a_depthwise_before_a_general_convolution_stays() -> None:
    mod = _lowered(
        lambda net, x: net.after(net.between(net.before(x))),
        before=nn.Conv2d(3, 12, 1),
        between=_depthwise(),
        after=nn.Conv2d(12, 12, 3, groups=3, stride=2),
    )
    assert (operators(mod)["depthwise"], operators(mod)["convolution"]) == (1, 1)


def test_packing_is_undone_by_unpacking() -> None:
    weight = np.arange(2 * 5 * 24, dtype="float32").reshape(2, 5, 24)
    for tile in (4, 8, 12, 24):
        packed = pack(weight, tile)
        assert packed.shape == (2, 24 // tile, 5, tile)
        np.testing.assert_array_equal(packed[1, 0, 3], weight[1, 3, :tile])
        np.testing.assert_array_equal(unpacked(packed), weight)


def test_packed_networks_compute_the_same_and_are_found_by_their_unpacked_workload() -> None:
    module = seeded(
        nn.Sequential(
            nn.Conv2d(3, 12, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(12, 24, 1, groups=3),
            _depthwise_of(24),
            nn.Conv2d(24, 24, 1, groups=2),
            nn.Conv2d(24, 16, 3, groups=2),
            nn.Flatten(),
            nn.Linear(16 * 42, 20),
        )
    )
    mod = lowered(from_torch(module, _SHAPE), "rpi4b")
    board = load_board("rpi4b")
    with history.apply(None, board):
        packed = PackWeights(board.target())(mod)
    image = pixels(_SHAPE)
    assert_same(evaluate(packed, image), expected_of(module, image))
    dimensions = {
        len(call.args[ops.ours(call).arguments.index("weight")].checked_type.shape)
        for call in _calls(packed)
        if "weight" in ops.ours(call).arguments and ops.ours(call).name != "depthwise"
    }
    assert dimensions == {4}
    before = [workload_of(call) for call in _calls(mod)]
    assert [workload_of(call) for call in _calls(packed)] == before


def _depthwise_of(channels: int) -> nn.Module:
    return nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
