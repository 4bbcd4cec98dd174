"""Random weights: reproducible, undisturbing, and alive through all layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tvm_shufflenet import models

NAME = "shufflenet_v1_g3_x0.5"


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    first, again, other = (models.build(NAME, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[key], again[key]) for key in first)
    changed = [key for key in first if not torch.equal(first[key], other[key])]
    assert len(changed) == sum("num_batches_tracked" not in key for key in first)


def test_torchs_global_random_state_is_neither_used_nor_changed():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = models.build(NAME).conv1[0].weight
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(first, models.build(NAME).conv1[0].weight)


def test_batchnorm_is_different_in_every_channel():
    for layer in models.build(NAME).modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                assert tensor.unique().numel() == layer.num_features
            assert float(layer.running_var.min()) > 0


@pytest.mark.parametrize("name", models.names())
def test_logits_are_of_ordinary_size_and_depend_on_the_picture(name):
    net = models.build(name, seed=0)
    random = torch.Generator().manual_seed(5)
    rms = models.preprocessing(name).input_rms
    flat, mixed = torch.full((1, 3, 96, 96), 0.5), torch.randn((1, 3, 96, 96), generator=random)
    with torch.no_grad():
        first, second = net(flat * rms), net(mixed * rms)
    for logits in (first, second):
        assert 0.3 < float(logits.std()) < 30
    assert float((first - second).std()) > 0.1 * float(second.std())


@pytest.mark.parametrize("seed", range(4))
def test_no_stage_dies(seed):
    net = models.build("shufflenet_v1_g8_x0.5_arch2", seed=seed)
    alive = {}
    for name in ("conv1", "stage2", "stage3", "stage4"):
        getattr(net, name).register_forward_hook(
            lambda _m, _x, y, name=name: alive.update(
                {name: (y.amax((0, 2, 3)) > 0).float().mean()}
            )
        )
    with torch.no_grad():
        net(torch.randn((2, 3, 96, 96), generator=torch.Generator().manual_seed(seed)))
    assert len(alive) == 4
    assert all(float(part) > 0.8 for part in alive.values())
