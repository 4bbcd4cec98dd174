"""ShuffleNet v1 as the paper has it (arXiv:1707.01083), and as published checkpoints have it."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from tvm_shufflenet.models.costs import CLASSES
from tvm_shufflenet.models.dialects import Dialect
from tvm_shufflenet.models.input_size import SHUFFLENET_MIN_SIDE, check_module_input
from tvm_shufflenet.models.naming import ShuffleNetVariant
from tvm_shufflenet.models.widths import widths


class ChannelShuffle(nn.Module):
    """Interleave channel groups (Sec. 3.1): channel i·n + j of C = g·n moves to j·g + i.

    (N, C, H, W) -> (N, C, H, W); C must be divisible by `groups`.
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Reshape to (g, n), transpose, flatten."""
        n, c, h, w = x.shape
        x = x.reshape(n, self.groups, c // self.groups, h, w)
        return x.transpose(1, 2).reshape(n, c, h, w)

    def extra_repr(self) -> str:
        """Show the groups when the module is printed."""
        return f"groups={self.groups}"


class ShuffleUnit(nn.Module):
    """Figure 2 (b), or (c) with stride 2, where the shortcut is pooled and the branch appended.

    (N, inputs, H, W) -> (N, outputs, ceil(H / stride), ceil(W / stride)).
    The bottleneck has a quarter of `outputs`, also where the shortcut supplies some of them.
    """

    def __init__(
        self, inputs: int, outputs: int, stride: int, first: bool, variant: ShuffleNetVariant
    ) -> None:
        super().__init__()
        reading, groups, middle = variant.reading, variant.groups, outputs // 4
        self.stride = stride
        self.branch_first = reading.branch_first
        self.relu_before_concat = reading.relu_before_concat and stride == 2
        bias = reading.conv_bias
        branch = outputs - inputs if stride == 2 else outputs
        self.compress = nn.Sequential(
            # The very first one sees too few channels to be split (footnote 1 of the paper).
            nn.Conv2d(inputs, middle, 1, groups=1 if first else groups, bias=bias),
            nn.BatchNorm2d(middle),
            nn.ReLU(),
        )
        self.depthwise = nn.Sequential(
            nn.Conv2d(middle, middle, 3, stride, padding=1, groups=middle, bias=bias),
            nn.BatchNorm2d(middle),
        )
        self.expand = nn.Sequential(
            nn.Conv2d(middle, branch, 1, groups=groups, bias=bias), nn.BatchNorm2d(branch)
        )
        self.shuffle = _shuffle(variant, middle)
        self.shuffle_after_depthwise = reading.shuffle_after_depthwise
        self.shortcut = nn.AvgPool2d(3, stride=2, padding=1) if stride == 2 else nn.Identity()
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch to its input, or concatenate it with the pooled input."""
        branch = self.compress(x)
        if self.shuffle_after_depthwise:
            branch = self.shuffle(self.depthwise(branch))
        else:
            branch = self.depthwise(self.shuffle(branch))
        branch = self.expand(branch)
        if self.stride == 1:
            added: Tensor = self.relu(x + branch)
            return added
        shortcut = self.shortcut(x)
        if self.relu_before_concat:  # the shortcut averages values that are not negative
            return torch.cat((shortcut, self.relu(branch)), 1)
        pair = (branch, shortcut) if self.branch_first else (shortcut, branch)
        joined: Tensor = self.relu(torch.cat(pair, 1))
        return joined


class ShuffleNet(nn.Module):
    """ShuffleNet v1 (Table 1).

    (N, 3, H, W) -> (N, 1000) logits; H and W from 32 up, odd ones included, since the last
    feature map is averaged over whatever size it has.

    Raises:
        ModelError: for a smaller input.
    """

    min_side = SHUFFLENET_MIN_SIDE

    def __init__(self, variant: ShuffleNetVariant) -> None:
        super().__init__()
        width = widths(variant)
        self.variant = variant
        self.conv1 = _first_layer(width.conv1, variant.reading)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        inputs = width.conv1
        stages: list[nn.Sequential] = []
        for outputs, units in zip(width.stages, width.units, strict=True):
            stages.append(_stage(inputs, outputs, units, first=not stages, variant=variant))
            inputs = outputs
        self.stage2, self.stage3, self.stage4 = stages
        self.globalpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, CLASSES, bias=variant.reading.fc_bias)
        self.output = nn.LogSoftmax(dim=1) if variant.reading.log_softmax else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return one score a class."""
        check_module_input(self, x)
        x = self.maxpool(self.conv1(x))
        x = self.stage4(self.stage3(self.stage2(x)))
        scores: Tensor = self.output(self.fc(torch.flatten(self.globalpool(x), 1)))
        return scores


def _shuffle(variant: ShuffleNetVariant, channels: int) -> nn.Module:
    if variant.groups == 1 or not variant.shuffle:
        return nn.Identity()
    # Reshaping to (n, g) instead of (g, n) undoes the paper's permutation.
    inverse = variant.reading.shuffle_after_depthwise
    return ChannelShuffle(channels // variant.groups if inverse else variant.groups)


def _first_layer(filters: int, reading: Dialect) -> nn.Sequential:
    conv = nn.Conv2d(3, filters, 3, stride=2, padding=1, bias=reading.conv_bias)
    if not reading.conv1_norm:
        return nn.Sequential(conv)
    return nn.Sequential(conv, nn.BatchNorm2d(filters), nn.ReLU())


def _stage(
    inputs: int, outputs: int, units: int, *, first: bool, variant: ShuffleNetVariant
) -> nn.Sequential:
    entry = ShuffleUnit(inputs, outputs, stride=2, first=first, variant=variant)
    rest = [
        ShuffleUnit(outputs, outputs, 1, first=False, variant=variant) for _ in range(units - 1)
    ]
    return nn.Sequential(OrderedDict((str(i), unit) for i, unit in enumerate([entry, *rest])))
