"""Multiply-adds of a network, counted while it runs on shapes alone."""

from __future__ import annotations

import torch
from torch import nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode


def count_multiply_adds(module: nn.Module, size: tuple[int, int]) -> int:
    """Return the multiply-adds of one picture of `size` (height, width) in pixels.

    Counted are convolutions and matrix products, bias additions not included: the paper's
    "FLOPs". Pooling, BatchNorm, normalization and activations count nothing. The network runs on
    torch's "meta" device, so nothing is computed and `module` is left as it was.

    Raises:
        ModelError: if the network cannot take that size.
    """
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    shapes = {name: tensor.detach().to("meta") for name, tensor in tensors.items()}
    picture = torch.empty((1, 3, *size), device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        functional_call(module, shapes, (picture,))
    return int(counter.get_total_flops()) // 2  # torch counts a multiply-add as two
