"""The published networks, written anew from what their sources do, on the checkpoint's own keys.

Each source has a function that makes a random checkpoint of its layout and one that runs it;
neither knows anything of the package.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812

WIDTHS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
UNITS = (4, 8, 4)


class Checkpoint(dict):
    """A state dict with a random generator."""

    def __init__(self, seed):
        super().__init__()
        self.random = torch.Generator().manual_seed(seed)

    def normal(self, key, *shape, std):
        self[key] = torch.randn(shape, generator=self.random) * std

    def conv(self, key, filters, inputs, kernel, bias):
        self.normal(
            f"{key}.weight", filters, inputs, kernel, kernel, std=(inputs * kernel**2) ** -0.5
        )
        if bias:
            self.normal(f"{key}.bias", filters, std=0.2)

    def norm(self, key, channels):
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.normal(f"{key}.{name}", channels, std=0.2)
        self[f"{key}.weight"] += 1
        self[f"{key}.running_var"] = self[f"{key}.running_var"].abs() + 0.8
        self[f"{key}.num_batches_tracked"] = torch.tensor(7)

    def run_conv(self, key, x, stride=1, groups=1):
        weight = self[f"{key}.weight"]
        padding = weight.shape[-1] // 2
        return F.conv2d(x, weight, self.get(f"{key}.bias"), stride, padding, 1, groups)

    def run_norm(self, key, x):
        mean, variance = self[f"{key}.running_mean"], self[f"{key}.running_var"]
        return F.batch_norm(x, mean, variance, self[f"{key}.weight"], self[f"{key}.bias"])


def units(groups, scale, conv1):
    """Yield stage, unit, inputs, outputs, groups of the first pointwise layer."""
    inputs = conv1
    for stage, count in enumerate(UNITS):
        outputs = int(WIDTHS[groups] * scale) * 2**stage
        for unit in range(count):
            yield stage, unit, inputs, outputs, (1 if stage == unit == 0 else groups)
            inputs = outputs


def shuffle(x, rows):
    """Write the channels into `rows` rows and read them column by column."""
    columns = x.shape[1] // rows
    order = [row * columns + column for column in range(columns) for row in range(rows)]
    return x[:, order]


def fill(state, keys, groups, scale, conv1, bias):
    """Add the unit layers; `keys(stage, unit)` names conv, norm, conv, norm, conv, norm."""
    for stage, unit, inputs, outputs, split in units(groups, scale, conv1):
        names, middle = keys(stage, unit), outputs // 4
        branch = outputs - inputs if unit == 0 else outputs
        state.conv(names[0], middle, inputs // split, 1, bias)
        state.norm(names[1], middle)
        state.conv(names[2], middle, 1, 3, bias)
        state.norm(names[3], middle)
        state.conv(names[4], branch, middle // groups, 1, bias)
        state.norm(names[5], branch)


def pooled(x):
    return F.avg_pool2d(x, 3, 2, 1)


# Megvii ShuffleNet-Series -------------------------------------------------------------------
def megvii_keys(stage, unit):
    block = f"features.{(0, 4, 12)[stage] + unit}."
    one, two = block + "branch_main_1.", block + "branch_main_2."
    return (one + "0", one + "1", one + "3", one + "4", two + "0", two + "1")


def megvii(groups, scale, seed=0):
    conv1 = {(3, 0.5): 12, (8, 0.5): 16}.get((groups, scale), 48 if scale == 2.0 else 24)
    state = Checkpoint(seed)
    state.conv("first_conv.0", conv1, 3, 3, False)
    state.norm("first_conv.1", conv1)
    fill(state, megvii_keys, groups, scale, conv1, False)
    state.normal("classifier.0.weight", 1000, int(WIDTHS[groups] * scale) * 4, std=0.05)
    return state


def run_megvii(state, x, groups):
    x = F.relu(state.run_norm("first_conv.1", state.run_conv("first_conv.0", x, 2)))
    x = F.max_pool2d(x, 3, 2, 1)
    for stage, unit, _, _, split in units(groups, 1, 24):
        key, stride = megvii_keys(stage, unit), 2 if unit == 0 else 1
        y = F.relu(state.run_norm(key[1], state.run_conv(key[0], x, 1, split)))
        y = state.run_norm(key[3], state.run_conv(key[2], y, stride, y.shape[1]))
        y = shuffle(y, y.shape[1] // groups)
        y = state.run_norm(key[5], state.run_conv(key[4], y, 1, groups))
        x = torch.cat((pooled(x), F.relu(y)), 1) if stride == 2 else F.relu(x + y)
    return F.avg_pool2d(x, 7).flatten(1) @ state["classifier.0.weight"].T


# pytorchcv ----------------------------------------------------------------------------------
def pytorchcv_keys(stage, unit):
    block = f"features.stage{stage + 1}.unit{unit + 1}."
    parts = ("compress_conv1", "compress_bn1", "dw_conv2", "dw_bn2", "expand_conv3", "expand_bn3")
    return tuple(block + part for part in parts)


def pytorchcv(groups, scale, seed=0):
    conv1, state = int(24 * scale), Checkpoint(seed)
    state.conv("features.init_block.conv", conv1, 3, 3, False)
    state.norm("features.init_block.bn", conv1)
    fill(state, pytorchcv_keys, groups, scale, conv1, False)
    state.normal("output.weight", 1000, int(WIDTHS[groups] * scale) * 4, std=0.05)
    state.normal("output.bias", 1000, std=0.1)
    return state


def run_pytorchcv(state, x, groups):
    first = "features.init_block."
    x = F.relu(state.run_norm(first + "bn", state.run_conv(first + "conv", x, 2)))
    x = F.max_pool2d(x, 3, 2, 1)
    for stage, unit, _, _, split in units(groups, 1, 24):
        key, stride = pytorchcv_keys(stage, unit), 2 if unit == 0 else 1
        y = F.relu(state.run_norm(key[1], state.run_conv(key[0], x, 1, split)))
        y = state.run_conv(key[2], shuffle(y, groups), stride, y.shape[1])
        y = state.run_conv(key[4], state.run_norm(key[3], y), 1, groups)
        y = state.run_norm(key[5], y)
        x = F.relu(torch.cat((y, pooled(x)), 1) if stride == 2 else x + y)
    x = F.avg_pool2d(x, 7, 1).flatten(1)
    return F.linear(x, state["output.weight"], state["output.bias"])


# jaxony/ShuffleNet --------------------------------------------------------------------------
def jaxony_keys(stage, unit):
    block = f"stage{stage + 2}.ShuffleUnit_Stage{stage + 2}_{unit}."
    return (
        block + "g_conv_1x1_compress.conv1x1",
        block + "g_conv_1x1_compress.batch_norm",
        block + "depthwise_conv3x3",
        block + "bn_after_depthwise",
        block + "g_conv_1x1_expand.conv1x1",
        block + "g_conv_1x1_expand.batch_norm",
    )


def jaxony(groups, scale, seed=0):
    assert scale == 1.0
    state = Checkpoint(seed)
    state.conv("conv1", 24, 3, 3, True)
    fill(state, jaxony_keys, groups, 1, 24, True)
    state.normal("fc.weight", 1000, WIDTHS[groups] * 4, std=0.05)
    state.normal("fc.bias", 1000, std=0.1)
    return state


def run_jaxony(state, x, groups):
    x = F.max_pool2d(state.run_conv("conv1", x, 2), 3, 2, 1)
    for stage, unit, _, _, split in units(groups, 1, 24):
        key, stride = jaxony_keys(stage, unit), 2 if unit == 0 else 1
        y = F.relu(state.run_norm(key[1], state.run_conv(key[0], x, 1, split)))
        y = state.run_conv(key[2], shuffle(y, groups), stride, y.shape[1])
        y = state.run_conv(key[4], state.run_norm(key[3], y), 1, groups)
        y = state.run_norm(key[5], y)
        x = F.relu(torch.cat((pooled(x), y), 1) if stride == 2 else x + y)
    x = F.linear(x.mean((2, 3)), state["fc.weight"], state["fc.bias"])
    return F.log_softmax(x, 1)


SOURCES = {
    "megvii": (megvii, run_megvii),
    "pytorchcv": (pytorchcv, run_pytorchcv),
    "jaxony": (jaxony, run_jaxony),
}
