"""Parameters and multiply-adds of a named network, by arithmetic (no torch here).

So that listing the networks takes no time and needs no torch; the tests hold it to what torch
counts.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_shufflenet.models.naming import ShuffleNetVariant
from tvm_shufflenet.models.widths import widths

CLASSES = 1000


@dataclass(frozen=True)
class Cost:
    """What a layer, or a whole network, costs."""

    parameters: int = 0  # trained ones
    multiply_adds: int = 0  # of convolutions and matrix products, for one picture

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.parameters + other.parameters, self.multiply_adds + other.multiply_adds)


Size = tuple[int, int]  # height, width


def cost(variant: ShuffleNetVariant | None, size: Size) -> Cost:
    """Return the cost of one picture of `size` in `variant`; None stands for AlexNet."""
    return _alexnet(size) if variant is None else _shufflenet(variant, size)


def _layer(weights_a_filter: int, filters: int, pixels: int, *, extra: int) -> Cost:
    """`extra` parameters a filter: a bias, the two of a BatchNorm, or both."""
    return Cost(filters * (weights_a_filter + extra), filters * weights_a_filter * pixels)


def _halved(size: Size) -> Size:
    return (size[0] + 1) // 2, (size[1] + 1) // 2


def _area(size: Size) -> int:
    return size[0] * size[1]


def _shufflenet(variant: ShuffleNetVariant, size: Size) -> Cost:
    width, reading = widths(variant), variant.reading
    bias = int(reading.conv_bias)
    size = _halved(size)
    total = _layer(27, width.conv1, _area(size), extra=bias + 2 * reading.conv1_norm)
    size = _halved(size)  # the max pooling
    inputs = width.conv1
    for stage, (outputs, units) in enumerate(zip(width.stages, width.units, strict=True)):
        middle = outputs // 4
        for unit in range(units):
            entry = unit == 0
            split = 1 if entry and stage == 0 else variant.groups
            total += _layer(inputs // split, middle, _area(size), extra=2 + bias)
            size = _halved(size) if entry else size
            branch = outputs - inputs if entry else outputs
            total += _layer(9, middle, _area(size), extra=2 + bias)
            total += _layer(middle // variant.groups, branch, _area(size), extra=2 + bias)
            inputs = outputs
    return total + _layer(inputs, CLASSES, 1, extra=int(reading.fc_bias))


def _alexnet(size: Size) -> Cost:
    def pooled(size: Size) -> Size:
        return (size[0] - 3) // 2 + 1, (size[1] - 3) // 2 + 1

    conv1 = (size[0] - 7) // 4 + 1, (size[1] - 7) // 4 + 1
    conv2 = pooled(conv1)
    conv3 = pooled(conv2)
    layers = (
        (3 * 11 * 11, 96, _area(conv1)),
        (48 * 5 * 5, 256, _area(conv2)),
        (256 * 9, 384, _area(conv3)),
        (192 * 9, 384, _area(conv3)),
        (192 * 9, 256, _area(conv3)),
        (256 * 36, 4096, 1),
        (4096, 4096, 1),
        (4096, CLASSES, 1),
    )
    return sum((_layer(*layer, extra=1) for layer in layers), Cost())
