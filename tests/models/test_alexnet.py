"""AlexNet, held to Krizhevsky et al."""

from __future__ import annotations

import pytest
import torch

from tvm_shufflenet import models
from tvm_shufflenet.errors import ModelError


@pytest.fixture(scope="module")
def net():
    return models.build("alexnet")


def test_conv1_has_the_originals_55x55_outputs_at_224(net):
    assert net.conv1(torch.zeros(1, 3, 224, 224)).shape == (1, 96, 55, 55)


def test_the_layers_split_over_two_gpus_have_two_groups(net):
    convolutions = (net.conv1, net.conv2, net.conv3, net.conv4, net.conv5)
    assert [layer[0].groups for layer in convolutions] == [1, 2, 1, 2, 2]


def test_response_normalization_is_krizhevskys_formula(net):
    x = torch.randn(1, 96, 2, 3) * 30
    expected = torch.empty_like(x)
    for i in range(96):
        near = x[:, max(0, i - 2) : i + 3]
        expected[:, i] = x[:, i] / (2 + 1e-4 * (near**2).sum(1)) ** 0.75
    torch.testing.assert_close(net.norm1(x), expected)


@pytest.mark.parametrize(("size", "untouched"), [((224, 224), True), ((300, 231), False)])
def test_the_classifier_averages_larger_maps_down_and_leaves_224_alone(net, size, untouched):
    seen = {}
    hook = net.to_6x6.register_forward_hook(lambda _m, x, y: seen.update(x=x[0], y=y))
    with torch.no_grad():
        assert net(torch.randn(1, 3, *size)).shape == (1, 1000)
    hook.remove()
    assert seen["y"].shape == (1, 256, 6, 6)
    assert (seen["x"].shape == seen["y"].shape and torch.equal(seen["x"], seen["y"])) == untouched


def test_the_smallest_input_is_63_pixels(net):
    with torch.no_grad():
        assert net(torch.randn(1, 3, 63, 70)).shape == (1, 1000)
    with pytest.raises(ModelError, match="at least 63 pixels"):
        net(torch.zeros(1, 3, 62, 70))
