"""Operators of our own: each a TE compute and an AutoTVM template with a valid-only space.

Activations are matrices, pixels × channels: row p is pixel (n, h, w) in order, channels stand in
blocks (`channels.Source`). Importing this package needs no TVM; `register` makes the templates
known to AutoTVM.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

if __name__ != "tvm_shufflenet.schedules":
    # Under a second name every template would register twice, which AutoTVM refuses.
    raise ImportError("import this package as tvm_shufflenet.schedules")

Kernel = tuple[Callable[..., Any], Callable[[list[Any]], Any]]  # compute, schedule


@cache
def register() -> dict[str, Kernel]:
    """Register every template with AutoTVM, once; return the kernels by operator."""
    from tvm_shufflenet.compiler import load_tvm

    load_tvm()
    from tvm_shufflenet.schedules import concatenation as join
    from tvm_shufflenet.schedules import convolution as conv
    from tvm_shufflenet.schedules import depthwise as dw
    from tvm_shufflenet.schedules import depthwise_pointwise as dwpw
    from tvm_shufflenet.schedules import elementary
    from tvm_shufflenet.schedules import image_convolution as image
    from tvm_shufflenet.schedules import pointwise as pw
    from tvm_shufflenet.schedules import pooling as pool
    from tvm_shufflenet.schedules import winograd as wino

    return {
        "pointwise": (pw.pointwise, pw.schedule_pointwise),
        "image_convolution": (image.image_convolution, image.schedule_image_convolution),
        "convolution": (conv.convolution, conv.schedule_convolution),
        "depthwise_pointwise": (dwpw.depthwise_pointwise, dwpw.schedule_depthwise_pointwise),
        "winograd": (wino.winograd, wino.schedule_winograd),
        "depthwise": (dw.depthwise, dw.schedule_depthwise),
        "pooling": (pool.pooling, pool.schedule_pooling),
        "channel_shuffle": (elementary.channel_shuffle, elementary.schedule_channel_shuffle),
        "concatenation": (join.concatenation, join.schedule_concatenation),
        "pooled_concatenation": (join.pooled_concatenation, join.schedule_concatenation),
        "global_mean": (elementary.global_mean, elementary.schedule_global_mean),
        "adaptive_mean": (elementary.adaptive_mean, elementary.schedule_adaptive_mean),
        "local_response_norm": (
            elementary.local_response_norm,
            elementary.schedule_local_response_norm,
        ),
    }


def __getattr__(name: str) -> Any:
    """Offer ``REFERENCES``: by task name, what a kernel must compute (see ``references``)."""
    if name == "REFERENCES":
        from tvm_shufflenet.schedules.references import REFERENCES

        return REFERENCES
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
