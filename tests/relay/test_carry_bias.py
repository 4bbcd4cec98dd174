"""Biases of residual units are added once, where their chain ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from interpreter import evaluate
from networks import Written, expected_of, lowered, pixels, seeded
from tolerance import assert_same
from torch import nn

from tvm_shufflenet import ops
from tvm_shufflenet.compiler import load_tvm
from tvm_shufflenet.frontend import from_torch
from tvm_shufflenet.schedules.matmul import AT_BIAS

tvm = load_tvm()
from tvm import relay  # noqa: E402

_SHAPE = (2, 3, 6, 5)
_CHANNELS = 24
_AT_ZERO = 1


def _unit(groups: int) -> nn.Module:
    inner = _CHANNELS // 2
    return nn.Sequential(
        nn.Conv2d(_CHANNELS, inner, 1, groups=groups),
        nn.ReLU(),
        nn.ChannelShuffle(groups),
        nn.Conv2d(inner, inner, 3, padding=1, groups=inner),
        nn.Conv2d(inner, _CHANNELS, 1, groups=groups),
    )


def _clamps(forward: Callable[[Any, Any], Any], groups: int, units: int) -> list[int]:
    """Lower and check a network of residual units; return how each of them clamps."""
    parts = {f"unit{i}": _unit(groups) for i in range(units)}
    first = nn.Sequential(nn.Conv2d(3, 12, 1), nn.Conv2d(12, _CHANNELS, 1, groups=groups))
    module = seeded(Written(forward, first=first, **parts))
    image = pixels(_SHAPE)
    mod = lowered(from_torch(module, _SHAPE), "rpi4b")
    assert_same(evaluate(mod, image), expected_of(module, image))
    found: list[int] = []

    def look(node: Any) -> None:
        if getattr(getattr(node, "op", None), "name", "").endswith("depthwise_pointwise_add"):
            found.append(ops.attributes_of(node)["relu"])

    relay.analysis.post_order_visit(mod["main"], look)
    return found


def _after(net: Any, x: Any, unit: int) -> Any:
    return torch.relu(getattr(net, f"unit{unit}")(x) + x)


@pytest.mark.parametrize("groups", [1, 2, 3, 4])
def test_all_units_of_a_chain_but_the_last_clamp_at_their_bias(groups: int) -> None:
    def forward(net: Any, x: Any) -> Any:
        x = torch.relu(net.first(x))
        for unit in range(4):
            x = _after(net, x, unit)
        return x

    assert _clamps(forward, groups, 4) == [AT_BIAS, AT_BIAS, AT_BIAS, _AT_ZERO]


def test_a_map_that_is_pooled_too_is_whole() -> None:
    def forward(net: Any, x: Any) -> Any:
        first = _after(net, net.first(x), 0)
        second = _after(net, first, 1)
        return second.mean((2, 3)) + nn.functional.max_pool2d(first, 3).mean((2, 3))

    assert _clamps(forward, 3, 2) == [_AT_ZERO, _AT_ZERO]


def test_a_unit_without_a_relu_ends_a_chain() -> None:
    def forward(net: Any, x: Any) -> Any:
        x = _after(net, net.first(x), 0)
        x = net.unit1(x) + x
        return _after(net, x, 2)

    assert _clamps(forward, 3, 3) == [AT_BIAS, 0, _AT_ZERO]
