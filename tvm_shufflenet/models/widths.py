"""How many filters each layer has: Table 1, scaled and rounded (no torch here).

The rule, for every variant of the paper: take the filter counts at 1x, multiply them by the
scale, round conv1 up to a multiple of g and every stage up to a multiple of 4g. A unit's
bottleneck (a quarter of its output) and its branch (output minus input, at stride 2) are then
divisible by g, and no layer is narrower than the paper's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from tvm_shufflenet.errors import ModelError
from tvm_shufflenet.models.naming import ShuffleNetVariant

_CONV1 = 24
_TABLE_1 = {
    1: (144, 288, 576),
    2: (200, 400, 800),
    3: (240, 480, 960),
    4: (272, 544, 1088),
    8: (384, 768, 1536),
}
# The paper widens arch2 "to maintain the overall complexity" without giving widths. These are
# Table 1's by about 13/12, which brings 0.5x to 40 M for every g. Stage 2 of g=8 stays: at 0.5x
# it can only have 192 or 224 channels, and 224 cost 43 M.
_ARCH2 = {
    1: (156, 312, 624),
    2: (216, 432, 864),
    3: (264, 528, 1056),
    4: (296, 592, 1184),
    8: (384, 832, 1664),
}
# Half the units of Table 1 at 0.5x cost 21 M, but the paper gives its 0.5x shallow network
# 40 M: it must have been widened like arch2. This factor gives 40 M for g=3.
_SHALLOW_WIDENING = Fraction(29, 20)


@dataclass(frozen=True, kw_only=True)
class Widths:
    """Filters and units of one network."""

    conv1: int
    stages: tuple[int, int, int]  # output channels of the units of stages 2, 3, 4
    units: tuple[int, int, int]  # units of stages 2, 3, 4, the stride-2 one included


def widths(variant: ShuffleNetVariant) -> Widths:
    """Return the filter counts of `variant`.

    Raises:
        ModelError: if the scale is so small that rounding leaves a stage no wider than the last.
    """
    scale = Fraction(str(variant.scale))  # as a float, 200 * 0.56 would be rounded up to 120
    base = [Fraction(count) for count in (_ARCH2 if variant.arch2 else _TABLE_1)[variant.groups]]
    units = (4, 6, 4) if variant.arch2 else (4, 8, 4)
    if variant.shallow:
        base = [count * _SHALLOW_WIDENING for count in base]
        units = (2, 4, 2)
    stage2, stage3, stage4 = (_round_up(count * scale, 4 * variant.groups) for count in base)
    unscaled = variant.reading.conv1_filters
    conv1 = unscaled.get(variant.scale) or _round_up(_CONV1 * scale, variant.groups)
    if not conv1 < stage2 < stage3 < stage4:
        raise ModelError(
            f"{variant.name}: at scale {variant.scale:g} the stages would have {stage2}, {stage3} "
            f"and {stage4} channels, but each must be wider than the one before; use a larger scale"
        )
    return Widths(conv1=conv1, stages=(stage2, stage3, stage4), units=units)


def _round_up(count: Fraction, multiple: int) -> int:
    return multiple * math.ceil(count / multiple)
