"""Random weights that behave like trained ones: nothing explodes, dies or is trivially foldable."""

from __future__ import annotations

import math

import torch
from torch import nn

# Each unit adds its branch to its input; at full strength sixteen of them would multiply the
# activations a thousandfold.
_BRANCH_STRENGTH = 0.5


def initialize(module: nn.Module, seed: int, input_rms: float) -> None:
    """Fill all parameters and buffers of `module` from `seed`, in place.

    Convolutions and linear layers get He's normal initialization, pointwise ones minus
    their mean. BatchNorm gets scales, shifts, means and variances that all differ from
    channel to channel, so folding it is really exercised. torch's global random state is neither
    used nor changed.

    Args:
        module: a ShuffleNet or AlexNet whose tensors are allocated.
        seed: of the random generator; the same seed gives the same bits.
        input_rms: root mean square of the network's input, which the first layer normalizes.
    """
    random = torch.Generator().manual_seed(seed)
    rms = input_rms
    with torch.no_grad():
        for name, layer in module.named_modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                _he(layer, random)
            elif isinstance(layer, nn.BatchNorm2d):
                strength = _BRANCH_STRENGTH if name.endswith("expand.1") else 1.0
                _batch_norm(layer, random, strength, rms)
                rms = 1.0


def _he(layer: nn.Conv2d | nn.Linear, random: torch.Generator) -> None:
    weight = layer.weight
    weight.normal_(0.0, math.sqrt(2.0 / weight[0].numel()), generator=random)
    if weight.shape[2:] == (1, 1):
        # Sums over what ReLU lets through are mostly their common mean, which would drown the
        # picture: after fifty layers all inputs would give nearly the same logits.
        weight.sub_(weight.mean(dim=1, keepdim=True))
    if layer.bias is not None:
        layer.bias.normal_(0.0, 0.1, generator=random)


def _batch_norm(
    norm: nn.BatchNorm2d, random: torch.Generator, strength: float, input_rms: float
) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    norm.weight.uniform_(0.7 * strength, 1.3 * strength, generator=random)
    norm.bias.normal_(0.0, 0.1 * strength, generator=random)
    norm.running_mean.normal_(0.0, 0.1 * input_rms, generator=random)
    norm.running_var.uniform_(0.5 * input_rms**2, 1.5 * input_rms**2, generator=random)
    norm.num_batches_tracked.zero_()
