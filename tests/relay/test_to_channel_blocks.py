"""What has a rule runs in channel blocks; what has none stays right and is reported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from networks import Written, built, expected_of, lowered, notes, operators, output_of, pixels
from tolerance import assert_same
from torch import nn

from tvm_shufflenet import ops
from tvm_shufflenet.compiler import load_tvm
from tvm_shufflenet.frontend import from_torch
from tvm_shufflenet.passes.to_channel_blocks import KEPT

tvm = load_tvm()

_RGB = (2, 3, 9, 8)


def _check(module: nn.Module, shape: tuple[int, int, int, int] = _RGB) -> Any:
    """Compile, compare with PyTorch, return the lowered module."""
    torch.manual_seed(0)
    image = pixels(shape)
    mod = lowered(from_torch(module.eval(), shape))
    assert_same(output_of(built(mod), image), expected_of(module, image))
    return mod


def _between(operation: Callable[[Any], Any], channels: int = 20) -> nn.Module:
    """`operation` between two convolutions."""
    return Written(
        lambda net, x: net.after(net.between(net.before(x))),
        before=nn.Conv2d(3, channels, 3),
        between=operation,
        after=nn.Conv2d(channels, 8, 1),
    )


def _of_two(operation: Callable[[Any, Any], Any]) -> nn.Module:
    """`operation` on two maps of the same shape."""
    return Written(
        lambda net, x: operation(net.left(x), net.right(x)),
        left=nn.Conv2d(3, 20, 3),
        right=nn.Conv2d(3, 20, 3),
    )


@pytest.mark.parametrize(
    "operation, reported",
    [
        (F.hardswish, {"add", "divide", "multiply"}),
        (F.silu, {"multiply"}),
        (nn.Conv2d(20, 20, 3, dilation=2), {"nn.conv2d", "nn.bias_add"}),
        (nn.Conv2d(20, 20, 3, stride=(1, 2)), {"nn.conv2d", "nn.bias_add"}),
        (nn.Conv2d(20, 20, (1, 3), padding=(0, 1)), {"nn.conv2d", "nn.bias_add"}),
        (nn.ConvTranspose2d(20, 20, 2, stride=2), {"nn.conv2d_transpose", "nn.bias_add"}),
        (nn.MaxPool2d(2, 2, ceil_mode=True), {"nn.max_pool2d"}),
        (nn.AvgPool2d(3, 2, 1, count_include_pad=False), {"nn.avg_pool2d"}),
        (lambda x: torch.cat((x, x), 2), {"concatenate"}),
        (lambda x: x + x.mean((2, 3), keepdim=True), {"add"}),
        (lambda x: x - 1.0, {"subtract"}),
    ],
    ids=[
        "hardswish", "silu", "dilation", "uneven strides", "uneven borders", "transposed",
        "ceil mode", "uncounted border", "other axis", "broadcast", "subtraction",
    ],
)  # fmt: skip
def test_an_operator_without_a_rule_is_right_and_reported(
    operation: Any, reported: set[str]
) -> None:
    mod = _check(_between(operation))
    assert set(notes(mod, KEPT)) == reported
    assert operators(mod)["pointwise"] == 1  # the network returns to blocks behind it


def test_a_first_convolution_without_a_rule_does_not_keep_the_rest_from_blocks() -> None:
    module = nn.Sequential(nn.Conv2d(3, 12, 3, dilation=2), nn.ReLU(), nn.Conv2d(12, 8, 1))
    mod = _check(module)
    assert operators(mod)["pointwise"] == 1
    assert set(notes(mod, KEPT)) == {"nn.conv2d", "nn.bias_add", "nn.relu"}


def test_split_maps_return_to_blocks() -> None:
    mod = _check(
        Written(
            lambda net, x: net.left((y := net.first(x).chunk(2, 1))[0]) + net.right(y[1]),
            first=nn.Conv2d(3, 20, 1),
            left=nn.Conv2d(10, 8, 1),
            right=nn.Conv2d(10, 8, 1),
        )
    )
    assert notes(mod, KEPT) == ["split"]
    assert operators(mod)["pointwise"] + operators(mod)["pointwise_add"] == 2


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(3, 6, 3, groups=3, padding=1),
        nn.Conv2d(3, 3, 3, groups=3, padding=1),
        nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 16, 3, groups=8, bias=False)),
        nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 16, 3, groups=8)),
        nn.Sequential(nn.Conv2d(3, 97, 3), nn.Conv2d(97, 53, 1), nn.Conv2d(53, 5, 3, stride=2)),
        nn.Sequential(nn.Conv2d(3, 24, 3), nn.Conv2d(24, 36, 3, groups=2, padding=1)),
    ],
    ids=["grouped image", "depthwise image", "multiplier", "multiplier and bias", "odd", "grouped"],
)
def test_convolutions_of_any_shape_run_in_blocks(module: nn.Module) -> None:
    mod = _check(module)
    assert notes(mod, KEPT) == []
    assert "nn.conv2d" not in operators(mod)


@pytest.mark.parametrize("kind", [nn.MaxPool2d, nn.AvgPool2d])
@pytest.mark.parametrize("geometry", [(3, 2, 1), (2, 2, 0), (3, 1, 1)])
def test_pooling_runs_in_blocks(kind: Any, geometry: tuple[int, int, int]) -> None:
    mod = _check(_between(kind(*geometry)))
    assert notes(mod, KEPT) == []
    assert operators(mod)["pooling"] == 1


def test_the_largest_is_clamped_instead_of_each() -> None:
    module = Written(
        lambda net, x: F.max_pool2d(torch.relu(net.before(x)), 3, 2, 1), before=nn.Conv2d(3, 20, 3)
    )
    assert _clamping(_check(module)) == {"image_convolution": 0, "pooling": 1}
    module = Written(
        lambda net, x: F.max_pool2d(y := torch.relu(net.before(x)), 3, 1, 1) + y,
        before=nn.Conv2d(3, 20, 3),
    )
    assert _clamping(_check(module)) == {"image_convolution": 1, "pooling": 0}


def _clamping(mod: Any) -> dict[str, int]:
    """Return the `relu` attribute of each operator of ours that has one."""
    found: dict[str, int] = {}

    def look(node: Any) -> None:
        operator = ops.ours(node)
        if operator is not None and "relu" in operator.attributes:
            found[operator.name] = ops.attributes_of(node)["relu"]

    tvm.relay.analysis.post_order_visit(mod["main"], look)
    return found


@pytest.mark.parametrize("target", [(1, 1), (3, 2), (6, 6), (9, 11)])
def test_adaptive_pooling_cuts_as_torch_does(target: tuple[int, int]) -> None:
    assert notes(_check(_between(nn.AdaptiveAvgPool2d(target))), KEPT) == []


def test_bias_relu_and_residual_go_into_the_convolution() -> None:
    mod = _check(_of_two(lambda left, right: torch.relu(left + right)))
    # The first layer cannot add: two images, one addition, its ReLU.
    assert operators(mod)["image_convolution"] == 2
    module = Written(
        lambda net, x: torch.relu(net.right(y := net.left(x)) + y),
        left=nn.Conv2d(3, 20, 3),
        right=nn.Conv2d(20, 20, 1),
    )
    counted = operators(_check(module))
    assert counted["pointwise_add"] == 1
    assert not {"add", "nn.relu", "nn.bias_add"} & set(counted)


def test_what_has_a_second_user_is_not_changed_for_the_first() -> None:
    module = Written(
        lambda net, x: net.after(torch.relu(y := net.before(x))) + y,
        before=nn.Conv2d(3, 8, 1),
        after=nn.Conv2d(8, 8, 1),
    )
    assert operators(_check(module))["nn.relu"] == 1


def test_a_relu_behind_a_concatenation_goes_into_the_parts() -> None:
    module = Written(
        lambda net, x: net.after(torch.relu(torch.cat((net.left(x), net.right(x)), 1))),
        left=nn.Conv2d(3, 20, 1),
        right=nn.Conv2d(3, 6, 1),
        after=nn.Conv2d(26, 8, 1, groups=2),
    )
    counted = operators(_check(module))
    assert (counted["concatenation"], counted["nn.relu"]) == (1, 0)


@pytest.mark.parametrize("branch_first", [True, False])
def test_a_joined_map_has_the_blocks_of_the_branch_on_either_side(branch_first: bool) -> None:
    def join(net: Any, x: Any) -> Any:
        parts = [net.branch(y := net.first(x)), y]
        joined = torch.cat(parts if branch_first else parts[::-1], 1)
        return torch.relu(net.branch_of_next(joined) + joined)

    module = Written(
        join,
        first=nn.Conv2d(3, 12, 1),
        branch=nn.Conv2d(12, 18, 1, groups=3),
        branch_of_next=nn.Conv2d(30, 30, 1, groups=3),
    )
    mod = _check(module)
    assert operators(mod)["pointwise_add"] == 1
    assert notes(mod, KEPT) == []


def test_operators_on_logits_are_not_reported() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 42, 10), nn.Softmax(1))
    assert notes(_check(module), KEPT) == []


def test_three_maps_are_joined() -> None:
    module = Written(
        lambda net, x: net.after(torch.relu(torch.cat((net.a(x), net.b(x), net.a(x)), 1))),
        a=nn.Conv2d(3, 20, 1),
        b=nn.Conv2d(3, 6, 1),
        after=nn.Conv2d(46, 8, 1, groups=2),
    )
    assert notes(_check(module), KEPT) == []


@pytest.mark.parametrize("outputs", [3, 10, 12])
@pytest.mark.parametrize("channels", [8, 20])
def test_dense_layers_read_flattened_maps(outputs: int, channels: int) -> None:
    module = nn.Sequential(
        nn.Conv2d(3, channels, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(channels * 42, 30), nn.ReLU(), nn.Linear(30, outputs),
    )  # fmt: skip
    mod = _check(module)
    assert notes(mod, KEPT) == []
    assert not {"reshape", "transpose", "nn.dense"} & set(operators(mod))


def test_a_constant_per_pixel_of_a_flattened_map_is_added_apart() -> None:
    module = Written(
        lambda net, x: torch.flatten(net.conv(x), 1) + net.offset,
        conv=nn.Conv2d(3, 8, 3),
        offset=nn.Parameter(torch.linspace(-1, 1, 8 * 42).reshape(1, -1)),
    )
    assert notes(_check(module), KEPT) == ["nn.bias_add"]


def test_other_types_stay_with_relay() -> None:
    module = Written(
        lambda net, x: net.conv(x).double().relu().float(), conv=nn.Conv2d(3, 8, 1)
    ).eval()
    assert "nn.relu" in operators(_check(module))


def test_the_input_may_be_the_output() -> None:
    _check(Written(lambda net, x: x))
