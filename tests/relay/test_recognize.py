from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from networks import Written, compiled_output, expected_of, function, operators, pixels
from tolerance import assert_same
from torch import nn

from tvm_shufflenet import ops
from tvm_shufflenet.compiler import load_tvm
from tvm_shufflenet.frontend import from_torch
from tvm_shufflenet.passes.recognize_channel_shuffle import RecognizeChannelShuffle
from tvm_shufflenet.passes.recognize_local_response_norm import RecognizeLocalResponseNorm

tvm = load_tvm()
from tvm import relay  # noqa: E402


def _marked(mod: Any) -> list[int]:
    """Groups of the shuffles that were found."""
    found: list[int] = []

    def look(node: Any) -> None:
        operator = ops.ours(node)
        if operator is not None and operator.name == "marked_shuffle":
            found.append(int(ops.attributes_of(node)["groups"]))

    relay.analysis.post_order_visit(RecognizeChannelShuffle()(mod)["main"], look)
    return found


def _spelled(x: Any, split: tuple[int, ...], axes: tuple[int, ...]) -> Any:
    return relay.reshape(relay.transpose(relay.reshape(x, split), axes), (2, 12, 4, 5))


def _image() -> Any:
    return relay.var("input", shape=(2, 12, 4, 5))


@pytest.mark.parametrize("groups", [2, 3, 4, 6])
def test_both_spellings_and_both_directions_are_found(groups: int) -> None:
    x = _image()
    for first in (groups, 12 // groups):
        five = _spelled(x, (2, first, 12 // first, 4, 5), (0, 2, 1, 3, 4))
        four = _spelled(x, (2, first, 12 // first, 20), (0, 2, 1, 3))
        negative = _spelled(x, (-1, first, 12 // first, 4, 5), (0, -3, 1, 3, 4))
        for spelled in (five, four, negative):
            assert _marked(function([x], spelled)) == [first]


@pytest.mark.parametrize(
    "shuffled", [lambda x: F.channel_shuffle(x, 3), nn.ChannelShuffle(3)], ids=["function", "layer"]
)
def test_torchs_own_shuffles_are_found(shuffled: Any) -> None:
    module = Written(lambda net, x: shuffled(x))
    assert _marked(from_torch(module, (2, 12, 4, 5))) == [3]


def test_a_marked_shuffle_is_the_permutation_of_the_paper() -> None:
    module = Written(lambda net, x: F.channel_shuffle(x, 3) * 1.0)
    image = pixels((2, 12, 4, 5))
    channels = [(q % 3) * 4 + q // 3 for q in range(12)]
    assert_same(compiled_output(module, image), image[:, channels])
    assert_same(expected_of(module, image), image[:, channels])


@pytest.mark.parametrize(
    "split, axes",
    [
        ((2, 3, 4, 4, 5), (0, 1, 2, 4, 3)),  # turns the picture
        ((2, 3, 4, 4, 5), (0, 2, 1, 4, 3)),  # both
        ((3, 2, 4, 4, 5), (0, 2, 1, 3, 4)),  # splits the batch
        ((2, 3, 2, 8, 5), (0, 2, 1, 3, 4)),  # mixes channels and rows
    ],
)
def test_other_turns_are_no_shuffles(split: tuple[int, ...], axes: tuple[int, ...]) -> None:
    x = _image()
    assert _marked(function([x], _spelled(x, split, axes))) == []


def test_a_shuffle_whose_middle_is_used_elsewhere_is_left_alone() -> None:
    x = _image()
    split = relay.reshape(x, (2, 3, 4, 4, 5))
    turned = relay.transpose(split, (0, 2, 1, 3, 4))
    shuffled = relay.reshape(turned, (2, 12, 4, 5))
    for other in (split, turned):
        flat = relay.reshape(other, (2, 12, 4, 5))
        second = relay.nn.relu(flat) if other is split else relay.nn.relu(other)
        before = function([x], relay.Tuple([shuffled, second]))
        tvm.ir.assert_structural_equal(RecognizeChannelShuffle()(before), before)


def test_dynamic_shapes_are_left_alone() -> None:
    x = relay.var("input", shape=(relay.Any(), 12, 4, 5))
    split = relay.reshape(x, (-1, 3, 4, 4, 5))
    shuffled = relay.reshape(relay.transpose(split, (0, 2, 1, 3, 4)), (-1, 12, 4, 5))
    before = function([x], shuffled)
    tvm.ir.assert_structural_equal(RecognizeChannelShuffle()(before), before)


def test_torchs_local_response_norm_is_found() -> None:
    module = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
    mod = from_torch(module, (1, 12, 4, 5))
    after = RecognizeLocalResponseNorm()(mod)
    assert operators(after) == {"nn.lrn": 1}
    assert after["main"].body.args[0].same_as(after["main"].params[0])
    attributes = after["main"].body.attrs
    assert (attributes.size, attributes.axis) == (5, 1)
    found = (attributes.alpha, attributes.beta, attributes.bias)
    np.testing.assert_allclose(found, (5e-4, 0.75, 2.0), rtol=1e-6)


@pytest.mark.parametrize("size", [3, 4, 5])
@pytest.mark.parametrize("beta", [0.75, 0.5])
@pytest.mark.parametrize("channels", [16, 20])
def test_normalization_is_torchs(size: int, beta: float, channels: int) -> None:
    """The kernel of our own for 16 channels and AlexNet's exponent, Relay's for the others."""
    module = Written(
        lambda net, x: F.local_response_norm(torch.sigmoid(net.conv(x)), size, 0.9, beta, 1.5),
        conv=nn.Conv2d(3, channels, 3),
    ).eval()
    image = pixels((1, 3, 6, 7))
    assert_same(compiled_output(module, image), expected_of(module, image))


def test_a_division_that_is_no_normalization_stays() -> None:
    module = Written(lambda net, x: x / (2.0 + x * x) ** 0.75)
    before = from_torch(module, (1, 12, 4, 5))
    tvm.ir.assert_structural_equal(RecognizeLocalResponseNorm()(before), before)
