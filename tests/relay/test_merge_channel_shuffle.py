"""Shuffles go into the convolution that reads them; what cannot is kept, right and reported."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from interpreter import evaluate
from networks import Written, expected_of, lowered, notes, operators, pixels, seeded
from tolerance import assert_same
from torch import nn

from tvm_shufflenet import ops
from tvm_shufflenet.boards import load_board
from tvm_shufflenet.compiler import load_tvm
from tvm_shufflenet.frontend import from_torch
from tvm_shufflenet.passes.merge_channel_shuffle import KEPT

tvm = load_tvm()
from tvm import relay  # noqa: E402

_SHAPE = (2, 3, 8, 7)


def _attributes(mod: Any, operator: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def look(node: Any) -> None:
        called = ops.ours(node)
        if called is not None and called.name == operator:
            found.append(ops.attributes_of(node))

    relay.analysis.post_order_visit(mod["main"], look)
    return found


def _check(module: nn.Module, board: str = "rpi4b") -> Any:
    """Lower, compare with PyTorch, return the lowered module."""
    seeded(module)
    image = pixels(_SHAPE)
    mod = lowered(from_torch(module, _SHAPE), board)
    assert_same(evaluate(mod, image), expected_of(module, image))
    return mod


def _pooled(forward: Any, **parts: nn.Module) -> nn.Module:
    """A network of `forward` whose output is one value a channel, as a classifier's."""
    return Written(lambda net, x: forward(net, x).mean((2, 3)), **parts)


def _units(groups: int, channels: int, shuffle: Any, after: bool = False) -> nn.Module:
    """Group convolution, shuffle and depthwise in either order, group convolution."""
    return _pooled(
        lambda net, x: net.expand(
            shuffle(net.depthwise(net.compress(net.first(x))))
            if after
            else net.depthwise(shuffle(net.compress(net.first(x))))
        ),
        first=nn.Sequential(nn.Conv2d(3, channels, 3), nn.ReLU()),
        compress=nn.Sequential(nn.Conv2d(channels, channels, 1, groups=groups), nn.ReLU()),
        depthwise=nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels), nn.BatchNorm2d(channels)
        ),
        expand=nn.Conv2d(channels, 2 * channels, 1, groups=groups),
    )


@pytest.mark.parametrize("board", ["rpi4b", "x86-avx512"])
@pytest.mark.parametrize("groups, channels", [(2, 8), (3, 60), (3, 24), (4, 48), (8, 48)])
def test_the_papers_order_becomes_one_kernel_that_reads_through(
    groups: int, channels: int, board: str
) -> None:
    mod = _check(_units(groups, channels, lambda x: F.channel_shuffle(x, groups)), board)
    assert operators(mod)["depthwise_pointwise"] == 1
    assert operators(mod)["channel_shuffle"] == 0
    (attributes,) = _attributes(mod, "depthwise_pointwise")
    assert attributes["source"][:3] == (groups, channels, channels // groups)
    assert notes(mod, KEPT) == []


@pytest.mark.parametrize("groups, channels", [(3, 60), (8, 48)])
def test_megviis_order_is_read_through_with_the_inverse(groups: int, channels: int) -> None:
    inverse = channels // groups
    mod = _check(_units(groups, channels, lambda x: F.channel_shuffle(x, inverse), after=True))
    (attributes,) = _attributes(mod, "depthwise_pointwise")
    assert attributes["source"][0] == inverse
    assert operators(mod)["channel_shuffle"] == 0


def test_a_shuffle_right_before_a_group_convolution_is_merged() -> None:
    for size in (1, 3):
        mod = _check(
            _pooled(
                lambda net, x: net.second(F.channel_shuffle(net.first(x), 3)),
                first=nn.Conv2d(3, 18, 3),
                second=nn.Conv2d(18, 12, size, groups=2),
            )
        )
        name = "pointwise" if size == 1 else "convolution"
        assert [entry["source"][0] for entry in _attributes(mod, name)] == [3]
        assert operators(mod)["channel_shuffle"] == 0


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("channels", [15, 24])
def test_a_dense_convolution_takes_the_shuffle_into_its_weights(
    size: int, depthwise: bool, channels: int
) -> None:
    """It reads every lane in order, padding or not."""
    between = nn.Conv2d(channels, channels, 3, groups=channels) if depthwise else nn.Identity()
    mod = _check(
        _pooled(
            lambda net, x: net.second(net.between(F.channel_shuffle(net.first(x), 3))),
            first=nn.Conv2d(3, channels, 3),
            between=between,
            second=nn.Conv2d(channels, 12, size),
        )
    )
    assert operators(mod)["channel_shuffle"] == 0
    assert notes(mod, KEPT) == []
    sources = [
        entry["source"][0]
        for name in ("pointwise", "convolution", "depthwise_pointwise")
        for entry in _attributes(mod, name)
    ]
    assert sources == [1]


def test_a_depthwise_convolution_with_a_relu_lets_the_shuffle_through() -> None:
    mod = _check(
        _pooled(
            lambda net, x: net.expand(
                torch.relu(net.depthwise(F.channel_shuffle(net.first(x), 3)))
            ),
            first=nn.Conv2d(3, 24, 1),
            depthwise=nn.Conv2d(24, 24, 3, groups=24),
            expand=nn.Conv2d(24, 24, 1, groups=3),
        )
    )
    assert operators(mod)["channel_shuffle"] == 0
    # A ReLU stands between the two, so they stay two kernels.
    assert (operators(mod)["depthwise"], operators(mod)["pointwise"]) == (1, 1)


def test_a_shuffle_with_two_users_is_kept_and_reported() -> None:
    mod = _check(
        _pooled(
            lambda net, x: (
                net.second(shuffled := F.channel_shuffle(net.first(x), 3)) + net.third(shuffled)
            ),
            first=nn.Conv2d(3, 24, 1),
            second=nn.Conv2d(24, 24, 1, groups=3),
            third=nn.Conv2d(24, 24, 1, groups=3),
        )
    )
    assert operators(mod)["channel_shuffle"] == 1
    assert notes(mod, KEPT) == ["shuffle of 24 channels in 3 groups: its result has 2 users"]


def test_a_depthwise_with_two_users_keeps_the_shuffle_before_it() -> None:
    mod = _check(
        _pooled(
            lambda net, x: (
                net.expand(between := net.depthwise(F.channel_shuffle(net.first(x), 3))) + between
            ),
            first=nn.Conv2d(3, 24, 1),
            depthwise=nn.Conv2d(24, 24, 3, groups=24),
            expand=nn.Conv2d(24, 24, 1, groups=3),
        )
    )
    assert operators(mod)["channel_shuffle"] == 1
    (note,) = notes(mod, KEPT)
    assert "read by tvm_shufflenet.depthwise" in note


def test_a_shuffle_before_pooling_is_kept_and_reported() -> None:
    mod = _check(
        _pooled(
            lambda net, x: net.second(F.max_pool2d(F.channel_shuffle(net.first(x), 3), 2)),
            first=nn.Conv2d(3, 24, 1),
            second=nn.Conv2d(24, 24, 1, groups=3),
        )
    )
    (note,) = notes(mod, KEPT)
    assert note == "shuffle of 24 channels in 3 groups: read by tvm_shufflenet.pooling"


def test_of_two_shuffles_in_a_row_the_first_is_kept() -> None:
    mod = _check(
        _pooled(
            lambda net, x: net.second(F.channel_shuffle(F.channel_shuffle(net.first(x), 3), 4)),
            first=nn.Conv2d(3, 24, 1),
            second=nn.Conv2d(24, 24, 1, groups=3),
        )
    )
    assert operators(mod)["channel_shuffle"] == 1
    assert len(notes(mod, KEPT)) == 1


def test_a_network_without_groups_is_left_alone() -> None:
    module = _units(1, 16, lambda x: x)
    shape = _SHAPE
    merged = lowered(from_torch(seeded(module), shape), "rpi4b")
    kept = lowered(from_torch(module, shape), "rpi4b", merge=False)
    tvm.ir.assert_structural_equal(merged, kept)


def test_without_merging_every_shuffle_is_a_kernel_and_the_results_are_the_same() -> None:
    module = seeded(_units(3, 60, lambda x: F.channel_shuffle(x, 3)))
    image = pixels(_SHAPE)
    for board in ("rpi4b", "x86-avx2"):
        mod = lowered(from_torch(module, _SHAPE), board, merge=False)
        assert operators(mod)["channel_shuffle"] == 1
        assert operators(mod)["depthwise_pointwise"] == 1
        assert_same(evaluate(mod, image), expected_of(module, image))


def test_the_input_itself_may_be_shuffled() -> None:
    module = Written(
        lambda net, x: net.conv(F.channel_shuffle(x, 3)).mean((2, 3)),
        conv=nn.Conv2d(12, 8, 3, groups=2),
    ).eval()
    mod = lowered(from_torch(module, (1, 12, 8, 8)), load_board("rpi4b").name)
    assert operators(mod)["channel_shuffle"] == 0
