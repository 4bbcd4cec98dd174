"""Conversions between NCHW and channel blocks, for what has no kernel in blocks."""

from __future__ import annotations

from typing import Any

from tvm_shufflenet.boards import Machine
from tvm_shufflenet.passes.channel_blocks import Blocked, Flat, block_stride


def to_nchw(value: Blocked) -> Any:
    """Return the map as (images, channels, height, width)."""
    from tvm import relay

    split = relay.reshape(
        value.matrix,
        (value.images, value.height, value.width, value.blocks, value.stride),
    )
    if value.size != value.stride:
        end = (value.images, value.height, value.width, value.blocks, value.size)
        split = relay.strided_slice(split, (0, 0, 0, 0, 0), end)
    maps = relay.transpose(split, (0, 3, 4, 1, 2))
    return relay.reshape(maps, (value.images, value.channels, value.height, value.width))


def to_rows(value: Flat) -> Any:
    """Return a flattened map as (images, channels·height·width)."""
    from tvm import relay

    maps = value.maps
    if (maps.height, maps.width) != (1, 1) or maps.blocks > 1:
        return relay.nn.batch_flatten(to_nchw(maps))
    if maps.size == maps.stride:
        return maps.matrix
    return relay.strided_slice(maps.matrix, (0, 0), (maps.images, maps.channels))


def from_nchw(expression: Any, kind: Any, machine: Machine) -> Blocked:
    """Return an NCHW map of type `kind` as one block of channels."""
    from tvm import relay

    images, channels, height, width = (int(extent) for extent in kind.shape)
    stride = block_stride(channels, machine)
    matrix = relay.reshape(
        relay.transpose(expression, (0, 2, 3, 1)), (images * height * width, channels)
    )
    if stride != channels:
        matrix = relay.nn.pad(matrix, ((0, 0), (0, stride - channels)))
    return Blocked(matrix, images, height, width, channels, channels, stride)
