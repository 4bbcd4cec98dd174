"""Weights in the order in which a kernel on channel blocks reads them."""

from __future__ import annotations

import numpy as np

from tvm_shufflenet.passes.channel_blocks import Blocked, spread
from tvm_shufflenet.schedules.channels import Source


def convolution_weight(
    weight: np.ndarray, groups: int, size: int, stride: int, data: Blocked
) -> tuple[np.ndarray, Source]:
    """Return an OIHW weight as (groups, kh·kw·depth, lanes), and how its input is read.

    The outputs stand in blocks of `size` channels in `stride` lanes. `data` is what is read.
    """
    outputs, depth, kh, kw = weight.shape
    each = outputs // groups
    blocks = weight.reshape(groups, each, depth, kh, kw).transpose(0, 3, 4, 2, 1)
    source = data.source()
    if groups == 1 and data.blocks > 1 and data.size != data.stride:
        # One group reads every lane: rows of zeros for the padding keep reads contiguous.
        full = np.zeros((1, kh, kw, data.lanes, each), "float32")
        full[:, :, :, data.positions()] = blocks
        blocks, depth = full, data.lanes
        source = Source(1, data.lanes, data.lanes, data.lanes)
    rows = blocks.reshape(groups, kh * kw * depth, each)
    return spread(rows, size, stride), source


def image_weight(weight: np.ndarray, stride: int) -> np.ndarray:
    """Return an OIHW weight as (1, kh·channels·kw, stride), for an image whose rows are read."""
    outputs, depth, kh, kw = weight.shape
    rows = weight.transpose(2, 1, 3, 0).reshape(1, kh * depth * kw, outputs)
    return spread(rows, outputs, stride)


# Lavin and Gray (2015), F(2×2, 3×3): what the weights of a tile's 16 products are made of.
_WINOGRAD = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])


def winograd_weight(weight: np.ndarray, groups: int) -> np.ndarray:
    """Return an OIHW 3×3 weight transformed, (16·groups, depth, outputs of a group)."""
    outputs, depth, _, _ = weight.shape
    points = np.einsum("ia,ocab,jb->ijoc", _WINOGRAD, weight.astype("float64"), _WINOGRAD)
    blocks = points.reshape(16 * groups, outputs // groups, depth).transpose(0, 2, 1)
    return blocks.astype("float32")


def dense_weight(weight: np.ndarray, stride: int, maps: Blocked) -> np.ndarray:
    """Return (outputs, channels·height·width) as (1, height·width·lanes, stride)."""
    outputs = weight.shape[0]
    rows = weight.reshape(outputs, maps.channels, maps.height, maps.width).transpose(2, 3, 1, 0)
    full = np.zeros((maps.height, maps.width, maps.lanes, outputs), "float32")
    full[:, :, maps.positions()] = rows
    return spread(full.reshape(1, -1, outputs), outputs, stride)


def through(weight: np.ndarray, constants: np.ndarray, source: Source) -> np.ndarray:
    """Return what constants added to a product's inputs, by lane, add to its outputs."""
    groups, depth, _ = weight.shape
    lanes = np.array([[source.position(g, k, depth) for k in range(depth)] for g in range(groups)])
    added = np.einsum("gk,gko->go", constants[lanes].astype("float64"), weight.astype("float64"))
    return added.reshape(-1).astype("float32")
