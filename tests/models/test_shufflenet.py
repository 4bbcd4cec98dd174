"""The structure of ShuffleNet v1, held to the paper's text."""

from __future__ import annotations

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tvm_shufflenet import models
from tvm_shufflenet.errors import ModelError
from tvm_shufflenet.models import _structure
from tvm_shufflenet.models.shufflenet import ChannelShuffle, ShuffleUnit


def units_of(net):
    return [layer for layer in net.modules() if isinstance(layer, ShuffleUnit)]


@given(groups=st.integers(1, 8), each=st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_the_shuffle_moves_channel_i_n_plus_j_to_j_g_plus_i(groups, each):
    x = torch.arange(groups * each).float().reshape(1, -1, 1, 1).expand(2, -1, 3, 2)
    y = ChannelShuffle(groups)(x)
    for i in range(groups):
        for j in range(each):
            assert torch.equal(y[:, j * groups + i], x[:, i * each + j])


def test_the_shuffle_agrees_with_torchs_own_and_its_inverse_undoes_it():
    x = torch.randn(2, 60, 5, 7)
    shuffled = ChannelShuffle(3)(x)
    assert torch.equal(shuffled, nn.functional.channel_shuffle(x, 3))
    assert not torch.equal(shuffled, x)
    assert torch.equal(ChannelShuffle(20)(shuffled), x)


@pytest.mark.parametrize("name", models.names())
def test_torch_counts_the_parameters_and_multiply_adds_that_the_arithmetic_gives(name):
    net = _structure(models.parse(name))
    assert sum(p.numel() for p in net.parameters()) == models.card(name).parameters
    assert models.multiply_adds(net, (97, 131)) == models.multiply_adds(name, (97, 131))


def test_counting_sees_functional_calls_and_leaves_the_module_alone():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 3, 3, 3))

        def forward(self, x):
            return nn.functional.conv2d(x, self.weight).mean((2, 3)) @ torch.ones(8, 5).to(x)

    net = Functional()
    assert models.multiply_adds(net, (12, 10)) == 10 * 8 * 8 * 27 + 8 * 5
    assert net.weight.device.type == "cpu"


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("shufflenet_v1_g3_x1.0", 50),
        ("shufflenet_v1_g8_x0.5_arch2", 44),
        ("shufflenet_v1_g3_x0.5_shallow", 26),
    ],
)
def test_it_has_as_many_layers_as_the_paper_counts(name, layers):
    net = _structure(models.parse(name))
    assert sum(isinstance(layer, nn.Conv2d | nn.Linear) for layer in net.modules()) == layers


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 8])
def test_only_the_very_first_pointwise_layer_is_not_grouped(groups):
    units = units_of(_structure(models.parse(f"shufflenet_v1_g{groups}_x1.0")))
    assert [unit.compress[0].groups for unit in units] == [1] + [groups] * 15
    assert {unit.expand[0].groups for unit in units} == {groups}


def test_a_bottleneck_has_a_quarter_of_its_units_output():
    net = _structure(models.parse("shufflenet_v1_g3_x1.0"))
    middles = [unit.compress[0].out_channels for unit in units_of(net)]
    assert middles == [60] * 4 + [120] * 8 + [240] * 4
    branches = [unit.expand[0].out_channels for unit in (net.stage2[0], net.stage3[0])]
    assert branches == [240 - 24, 480 - 240]


def test_a_unit_runs_its_parts_in_the_papers_order():
    unit = models.build("shufflenet_v1_g3_x0.25").stage3[1]
    order = []
    for name, part in unit.named_modules():
        if not list(part.children()) and name:
            part.register_forward_hook(lambda *_, name=name: order.append(name))
    unit(torch.randn(1, 120, 4, 4))
    assert order == [
        *("compress.0", "compress.1", "compress.2", "shuffle"),
        *("depthwise.0", "depthwise.1", "expand.0", "expand.1", "relu"),
    ]


@pytest.mark.parametrize(
    ("name", "shuffles"),
    [
        ("shufflenet_v1_g3_x1.0", 16),
        ("shufflenet_v1_g1_x1.0", 0),
        ("shufflenet_v1_g3_x1.0_noshuffle", 0),
    ],
)
def test_there_is_a_shuffle_in_each_unit_or_in_none(name, shuffles):
    net = _structure(models.parse(name))
    assert sum(isinstance(layer, ChannelShuffle) for layer in net.modules()) == shuffles


def test_without_the_shuffle_the_same_weights_give_other_logits():
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        shuffled = models.build("shufflenet_v1_g3_x0.25")(x)
        plain = models.build("shufflenet_v1_g3_x0.25_noshuffle")(x)
    assert (shuffled - plain).abs().max() > 0.1


def test_a_stride_2_unit_puts_the_pooled_shortcut_before_its_branch_and_rectifies_both():
    unit = models.build("shufflenet_v1_g3_x0.5").stage3[0]
    with torch.no_grad():
        unit.expand[1].weight.zero_()
        unit.expand[1].bias.copy_(torch.linspace(-1, 1, 120))
        x = torch.randn(2, 120, 9, 6)
        y = unit(x)
    pooled = nn.functional.avg_pool2d(x, 3, stride=2, padding=1)
    assert torch.equal(y[:, :120], pooled.relu())
    assert torch.equal(y[0, 120:, 0, 0], torch.linspace(-1, 1, 120).relu())


def test_a_stride_1_unit_adds_its_input_and_rectifies_the_sum():
    unit = models.build("shufflenet_v1_g3_x0.5").stage3[1]
    with torch.no_grad():
        unit.expand[1].weight.zero_()
        unit.expand[1].bias.fill_(0.25)
        x = torch.randn(1, 240, 5, 4)
        assert torch.equal(unit(x), (x + 0.25).relu())


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (97, 131), (224, 224), (65, 240)])
def test_any_size_from_32_up_gives_a_thousand_logits(size):
    net = models.build("shufflenet_v1_g3_x0.25")
    with torch.no_grad():
        assert net(torch.randn(2, 3, *size)).shape == (2, 1000)
        half = net.maxpool(net.conv1(torch.randn(1, 3, *size)))
        assert half.shape[2:] == tuple((side + 3) // 4 for side in size)


@pytest.mark.parametrize("shape", [(1, 3, 31, 64), (1, 1, 64, 64), (3, 64, 64)])
def test_an_input_it_cannot_take_is_refused(shape):
    net = models.build("shufflenet_v1_g3_x0.25")
    with pytest.raises(ModelError, match=r"at least 32 pixels|takes a batch of pictures"):
        net(torch.zeros(shape))


@pytest.mark.parametrize("name", ["shufflenet_v1_g3_x0.5_arch2", "shufflenet_v1_g3_x0.5_megvii"])
def test_tracing_warns_of_nothing_and_changes_nothing(name):
    net = models.build(name)
    x = torch.randn(1, 3, 65, 51)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit.TracerWarning)
        traced = torch.jit.trace(net, x, check_trace=False)
        assert torch.equal(traced(x), net(x))


def test_build_returns_it_in_eval_mode():
    assert not any(layer.training for layer in models.build("shufflenet_v1_g3_x0.25").modules())
