"""How an activation map lies in memory: a matrix of pixels × channels, channels in blocks.

A block holds the channels of one group, padded to whole vectors; without padding this is plain
NHWC. Lanes of padding hold anything finite and are never read as a channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tvm_shufflenet.boards import Machine
from tvm_shufflenet.schedules.channels import Source, grain

_NARROWEST = 4  # lanes of the narrowest vector worth using
_LONGEST_ROW = 7  # vectors that a register tile has at most beside a few pixels


@dataclass(frozen=True)
class Blocked:
    """An activation map (images, channels, height, width) as a matrix in channel blocks."""

    matrix: Any  # Relay expression, (images·height·width, blocks·stride)
    images: int
    height: int
    width: int
    channels: int
    size: int  # channels of a block
    stride: int  # lanes of a block

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return self.channels // self.size

    @property
    def lanes(self) -> int:
        """Columns of the matrix."""
        return self.blocks * self.stride

    @property
    def layout(self) -> tuple[int, int, int]:
        """What two maps must share to be added lane by lane."""
        return self.channels, self.size, self.stride

    def source(self, shuffle: int = 1) -> Source:
        """Return how a kernel reads this map, optionally through a shuffle."""
        return Source(shuffle, self.channels, self.size, self.stride)

    def positions(self) -> np.ndarray:
        """Return the column of each channel, (channels,)."""
        channel = np.arange(self.channels)
        return (channel // self.size) * self.stride + channel % self.size


@dataclass(frozen=True)
class Flat:
    """A flattened map: (images, channels·height·width) whose values still lie in blocks."""

    maps: Blocked


def block_stride(size: int, machine: Machine) -> int:
    """Return the lanes of a block of `size` channels.

    Whole vectors of up to 256 bits, narrow ones for few channels, and a number of them that
    register tiles can divide: if there are many, but not into rows that are long enough, one or
    two more.
    """
    width = grain(machine)
    shortest = 2 if width == machine.lanes else 3  # vectors of a row worth a tile
    while width >= 2 * size and width > _NARROWEST:
        width //= 2
    vectors = -(-size // width)
    rows = range(shortest, _LONGEST_ROW + shortest - 1)
    while vectors >= rows.stop and all(vectors % row for row in rows):
        vectors += 1
    return vectors * width


def spread(values: np.ndarray, size: int, stride: int) -> np.ndarray:
    """Lay the last axis, channels, out in blocks; padding is zero."""
    blocks = values.shape[-1] // size
    split = values.reshape(*values.shape[:-1], blocks, size)
    gap = [(0, 0)] * (split.ndim - 1) + [(0, stride - size)]
    return np.pad(split, gap).reshape(*values.shape[:-1], blocks * stride)
