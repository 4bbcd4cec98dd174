"""Where a channel lies in memory, seen through a channel shuffle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm_shufflenet.boards import Machine

_GRAIN = 8  # float32 lanes of 256 bits


@dataclass(frozen=True)
class Source:
    """The channel blocks of a tensor and the shuffle to read it through.

    Logical channel c lies at (c div size)·stride + c mod size. A shuffle with g groups over
    g·n channels puts at position q the channel (q mod g)·n + q div g (Sec. 3.1).
    """

    shuffle: int  # groups of the shuffle; 1: none
    channels: int  # logical channels of the tensor
    size: int  # logical channels of a block
    stride: int  # distance of two blocks in memory

    def contiguous(self, depth: int) -> bool:
        """Tell whether the `depth` inputs of a reading group lie side by side."""
        plain = self.size in (depth, self.channels, self.stride)
        return self.shuffle == 1 and plain

    def position(self, group: Any, k: Any, depth: int) -> Any:
        """Return where the k-th input of a reading group with `depth` inputs lies."""
        if self.shuffle == 1:
            if self.size == depth:
                return group * self.stride + k
            return self._place(group * depth + k)
        return self.shuffled(group * depth + k)

    def shuffled(self, q: Any) -> Any:
        """Return where position q behind the shuffle lies."""
        count = self.channels // self.shuffle
        if count == self.size:
            return (q % self.shuffle) * self.stride + q // self.shuffle
        return self._place((q % self.shuffle) * count + q // self.shuffle)

    def _place(self, channel: Any) -> Any:
        if self.size == self.stride or self.size == self.channels:
            return channel
        return (channel // self.size) * self.stride + channel % self.size


def grain(machine: Machine) -> int:
    """Return the lanes that blocks of channels are whole multiples of: a vector, but 256 bits.

    Of 512 bits, half a vector in the end is cheaper than lanes that compute padding.
    """
    return min(machine.lanes, _GRAIN)


def written_in_order(machine: Machine, where: Source, depth: int) -> bool:
    """Tell whether the buffer between the convolutions is written in the order it is read in.

    Only the shuffle of the paper is; its inverse and others are read through.
    """
    direct = where.channels // where.shuffle == where.size
    # The last vector of an awkward depth reads on: into the next group, or the last padding.
    beyond = -depth % machine.lanes <= where.shuffle * (where.stride - where.size)
    plain = machine.fma_from_memory or where.contiguous(depth)
    return direct and beyond and not plain
