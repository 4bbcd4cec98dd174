from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from networks import Written, function, operators, pixels, seeded, values
from tolerance import assert_same
from torch import nn

from tvm_shufflenet.compiler import load_tvm
from tvm_shufflenet.frontend import from_torch
from tvm_shufflenet.passes.fold_batch_norm import FoldBatchNorm

tvm = load_tvm()
from tvm import relay  # noqa: E402


def _norm(x: Any, channels: int, **attributes: Any) -> Any:
    statistics = [values((channels,), seed) for seed in range(4)]
    return relay.nn.batch_norm(x, *statistics, **attributes)[0]


def _image(channels: int = 4) -> Any:
    return relay.var("input", shape=(1, channels, 5, 5))


def _evaluated(mod: Any, x: np.ndarray) -> np.ndarray:
    with tvm.transform.PassContext(opt_level=0):
        result: np.ndarray = (
            relay.create_executor("graph", mod, tvm.cpu(), "llvm").evaluate()(x).numpy()
        )
    return result


def test_a_convolution_takes_the_norm_as_weight_and_bias() -> None:
    x = _image()
    weight = values((6, 4, 3, 3))
    after = FoldBatchNorm()(function([x], _norm(relay.nn.conv2d(x, weight), 6, epsilon=0.25)))
    gamma, beta, mean, variance = (values((6,), seed).data.numpy() for seed in range(4))
    scale = gamma / np.sqrt(variance + 0.25)
    folded = weight.data.numpy() * scale[:, None, None, None]
    call = after["main"].body
    assert call.op.name == "nn.bias_add"
    np.testing.assert_allclose(call.args[0].args[1].data.numpy(), folded, rtol=1e-6)
    np.testing.assert_allclose(call.args[1].data.numpy(), beta - mean * scale, rtol=1e-5)
    expected = relay.nn.bias_add(
        relay.nn.conv2d(x, call.args[0].args[1]), call.args[1]
    )  # nothing else is there
    tvm.ir.assert_structural_equal(after, function([x], expected))


def test_a_bias_before_the_norm_is_folded_as_well() -> None:
    x = _image()
    biased = relay.nn.bias_add(relay.nn.conv2d(x, values((6, 4, 1, 1))), values((6,), 9))
    before = function([x], _norm(biased, 6))
    after = FoldBatchNorm()(before)
    assert operators(after) == {"nn.conv2d": 1, "nn.bias_add": 1}
    image = pixels((1, 4, 5, 5))
    assert_same(_evaluated(after, image), _evaluated(before, image))


@pytest.mark.parametrize("multiplier", [1, 2])
def test_depthwise_convolutions_fold_with_any_multiplier(multiplier: int) -> None:
    channels = 8 * multiplier
    module = seeded(
        nn.Sequential(nn.Conv2d(8, channels, 3, groups=8, bias=False), nn.BatchNorm2d(channels))
    )
    before = from_torch(module, (1, 8, 5, 5))
    after = FoldBatchNorm()(before)
    assert "nn.batch_norm" not in operators(after)
    image = pixels((1, 8, 5, 5))
    with torch.no_grad():
        expected = module(torch.from_numpy(image)).numpy()
    assert_same(_evaluated(after, image), expected)


def test_a_convolution_with_a_second_user_keeps_its_weights() -> None:
    x = _image()
    convolution = relay.nn.conv2d(x, values((4, 4, 1, 1)))
    before = function([x], relay.add(_norm(convolution, 4), convolution))
    tvm.ir.assert_structural_equal(FoldBatchNorm()(before), before)


@pytest.mark.parametrize("scale, center", [(False, True), (True, False)])
def test_unused_statistics_do_not_count(scale: bool, center: bool) -> None:
    x = _image()
    convolution = relay.nn.conv2d(x, values((4, 4, 1, 1)))
    before = function([x], _norm(convolution, 4, scale=scale, center=center))
    image = pixels((1, 4, 5, 5))
    assert_same(_evaluated(FoldBatchNorm()(before), image), _evaluated(before, image))


def test_a_norm_after_anything_else_is_left_to_relay() -> None:
    x = _image()
    before = function([x], _norm(relay.nn.relu(x), 4))
    tvm.ir.assert_structural_equal(FoldBatchNorm()(before), before)


def test_a_norm_of_another_axis_is_left_to_relay() -> None:
    x = _image()
    before = function([x], _norm(relay.nn.conv2d(x, values((4, 4, 1, 1))), 5, axis=3))
    tvm.ir.assert_structural_equal(FoldBatchNorm()(before), before)


def test_a_whole_unit_is_right_after_folding() -> None:
    unit = Written(
        lambda net, x: net.b(net.c(torch.relu(net.a(x)))) + x,
        a=nn.Sequential(nn.Conv2d(8, 8, 1, groups=2), nn.BatchNorm2d(8)),
        b=nn.BatchNorm2d(8),
        c=nn.Conv2d(8, 8, 3, padding=1, groups=8),
    )
    image = pixels((2, 8, 6, 5))
    after = FoldBatchNorm()(from_torch(seeded(unit), image.shape))
    with torch.no_grad():
        assert_same(_evaluated(after, image), unit(torch.from_numpy(image)).numpy())
