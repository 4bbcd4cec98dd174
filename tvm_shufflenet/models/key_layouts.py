"""How published checkpoints name the tensors of the layers that we name our way (no torch here).

Our keys are ``conv1.{0,1}``, ``stage{2,3,4}.{unit}.{compress,depthwise,expand}.{0,1}`` with 0
the convolution and 1 its BatchNorm, and ``fc``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

_KEY = re.compile(r"stage(?P<stage>[234])\.(?P<unit>\d+)\.(?P<part>\w+)\.(?P<layer>[01])")
_UNITS_BEFORE = {2: 0, 3: 4, 4: 12}  # Megvii numbers the units of all stages through

_MEGVII_PARTS = {
    "compress.0": "branch_main_1.0",
    "compress.1": "branch_main_1.1",
    "depthwise.0": "branch_main_1.3",
    "depthwise.1": "branch_main_1.4",
    "expand.0": "branch_main_2.0",
    "expand.1": "branch_main_2.1",
}
_PYTORCHCV_PARTS = {
    "compress.0": "compress_conv1",
    "compress.1": "compress_bn1",
    "depthwise.0": "dw_conv2",
    "depthwise.1": "dw_bn2",
    "expand.0": "expand_conv3",
    "expand.1": "expand_bn3",
}
_JAXONY_PARTS = {
    "compress.0": "g_conv_1x1_compress.conv1x1",
    "compress.1": "g_conv_1x1_compress.batch_norm",
    "depthwise.0": "depthwise_conv3x3",
    "depthwise.1": "bn_after_depthwise",
    "expand.0": "g_conv_1x1_expand.conv1x1",
    "expand.1": "g_conv_1x1_expand.batch_norm",
}


def _megvii(layer: str) -> str:
    if match := _KEY.fullmatch(layer):
        number = _UNITS_BEFORE[int(match["stage"])] + int(match["unit"])
        return f"features.{number}.{_MEGVII_PARTS[_part(match)]}"
    return layer.replace("conv1.", "first_conv.") if layer != "fc" else "classifier.0"


def _pytorchcv(layer: str) -> str:
    if match := _KEY.fullmatch(layer):
        stage, unit = int(match["stage"]) - 1, int(match["unit"]) + 1
        return f"features.stage{stage}.unit{unit}.{_PYTORCHCV_PARTS[_part(match)]}"
    whole = {"conv1.0": "init_block.conv", "conv1.1": "init_block.bn"}
    return f"features.{whole[layer]}" if layer != "fc" else "output"


def _jaxony(layer: str) -> str:
    if match := _KEY.fullmatch(layer):
        stage, unit = match["stage"], match["unit"]
        return f"stage{stage}.ShuffleUnit_Stage{stage}_{unit}.{_JAXONY_PARTS[_part(match)]}"
    return layer.removesuffix(".0")


def _part(match: re.Match[str]) -> str:
    return f"{match['part']}.{match['layer']}"


# dialect -> a layer of ours -> the same layer of theirs
_LAYOUTS: dict[str, Callable[[str], str]] = {
    "megvii": _megvii,
    "pytorchcv": _pytorchcv,
    "jaxony": _jaxony,
}
_SIGNS = {
    "megvii": "first_conv.0.",
    "pytorchcv": "features.init_block.",
    "jaxony": "stage2.Shuffle",
}


def original_key(dialect: str, key: str) -> str:
    """Return the name that `dialect`'s checkpoints have for our `key`."""
    layer, _, tensor = key.rpartition(".")
    return f"{_LAYOUTS[dialect](layer)}.{tensor}"


def recognize(keys: Iterable[str]) -> str | None:
    """Return the dialect whose checkpoints have such keys, or None."""
    listed = list(keys)
    for dialect, sign in _SIGNS.items():
        if any(key.startswith(sign) for key in listed):
            return dialect
    return None
