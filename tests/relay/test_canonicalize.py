from __future__ import annotations

from typing import Any

import pytest
from networks import function, operators, values

from tvm_shufflenet.compiler import load_tvm
from tvm_shufflenet.passes.canonicalize import Canonicalize

tvm = load_tvm()
from tvm import relay  # noqa: E402

_IMAGE = (2, 4, 6, 6)


def _x() -> Any:
    return relay.var("input", shape=_IMAGE)


def _same(before: Any, expected: Any, x: Any) -> None:
    tvm.ir.assert_structural_equal(Canonicalize()(function([x], before)), function([x], expected))


def test_every_spelling_of_the_global_mean_is_one() -> None:
    x = _x()
    expected = relay.nn.global_avg_pool2d(x)
    _same(relay.nn.adaptive_avg_pool2d(x, (1, 1)), expected, x)
    _same(relay.mean(x, axis=[-1, -2], keepdims=True), expected, x)
    _same(relay.mean(x, axis=[2, 3], keepdims=False), relay.nn.batch_flatten(expected), x)


def test_means_over_other_axes_stay() -> None:
    x = _x()
    for axis in ([1, 2], [3], None):
        mean = relay.mean(x, axis=axis, keepdims=True)
        _same(mean, mean, x)


def test_every_spelling_of_flattening_is_one() -> None:
    x = _x()
    expected = relay.nn.batch_flatten(x)
    _same(relay.reshape(x, (2, -1)), expected, x)
    _same(relay.reshape(relay.reshape(x, (2, 4, 36)), (2, 144)), expected, x)
    small = relay.var("input", shape=(2, 4, 1, 1))
    _same(relay.squeeze(small, axis=[2, 3]), relay.nn.batch_flatten(small), small)


def test_reshapes_that_do_not_flatten_stay() -> None:
    x = _x()
    reshaped = relay.reshape(x, (4, 2, 36))
    _same(reshaped, reshaped, x)


def test_operations_that_do_nothing_go() -> None:
    x = _x()
    for nothing in (
        relay.nn.adaptive_avg_pool2d(x, (6, 6)),
        relay.nn.avg_pool2d(x, (1, 1)),
        relay.nn.max_pool2d(x, (1, 1)),
        relay.reshape(relay.reshape(x, (2, 144)), _IMAGE),
    ):
        _same(relay.nn.relu(nothing), relay.nn.relu(x), x)


def test_pooling_of_single_pixels_with_a_stride_stays() -> None:
    x = _x()
    pooled = relay.nn.max_pool2d(x, (1, 1), strides=(2, 2))
    _same(pooled, pooled, x)


@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 4, 1, 1)])
def test_constants_along_the_channels_are_biases_on_either_side(shape: tuple[int, ...]) -> None:
    x, bias = _x(), values((4,))
    spelled = relay.const(bias.data.numpy().reshape(shape))
    expected = relay.nn.bias_add(x, bias, axis=1)
    _same(relay.add(x, spelled), expected, x)
    _same(relay.add(spelled, x), expected, x)


def test_a_reshaped_constant_is_a_bias_too() -> None:
    x = _x()
    spelled = relay.reshape(values((4,)), (1, 4, 1, 1))
    _same(relay.add(x, spelled), relay.nn.bias_add(x, values((4,)), axis=1), x)


def test_constants_along_other_axes_are_added() -> None:
    x = _x()
    for shape in ((6,), (1, 1, 6, 1), (4, 6, 6)):
        added = relay.add(x, values(shape))
        _same(added, added, x)


def test_axes_are_counted_from_the_front() -> None:
    x = _x()
    joined = relay.concatenate([x, relay.nn.relu(x)], axis=-3)
    _same(joined, relay.concatenate([x, relay.nn.relu(x)], axis=1), x)
    _same(
        relay.nn.bias_add(x, values((4,)), axis=-3), relay.nn.bias_add(x, values((4,)), axis=1), x
    )


def test_the_logarithm_of_a_softmax_is_one_operator() -> None:
    x = relay.var("input", shape=(2, 7))
    _same(relay.log(relay.nn.softmax(x, 1)), relay.nn.log_softmax(x, 1), x)
    _same(relay.log(relay.exp(x)), relay.log(relay.exp(x)), x)


def test_dynamic_shapes_stay() -> None:
    x = relay.var("input", shape=(relay.Any(), 4, 6, 6))
    body = relay.nn.adaptive_avg_pool2d(relay.reshape(x, (-1, 4, 36, 1)), (1, 1))
    after = Canonicalize()(function([x], body))
    assert operators(after) == {"reshape": 1, "nn.adaptive_avg_pool2d": 1}
