"""The pass pipeline: one visible list, run in order, with a callback after each pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from tvm_shufflenet.boards import Machine
from tvm_shufflenet.passes.canonicalize import Canonicalize
from tvm_shufflenet.passes.carry_bias import CarryBias
from tvm_shufflenet.passes.fold_batch_norm import FoldBatchNorm
from tvm_shufflenet.passes.fold_constants import FoldConstants
from tvm_shufflenet.passes.fuse_depthwise_pointwise import FuseDepthwisePointwise
from tvm_shufflenet.passes.fuse_pooling_concatenation import FusePoolingConcatenation
from tvm_shufflenet.passes.merge_channel_shuffle import MergeChannelShuffle
from tvm_shufflenet.passes.recognize_channel_shuffle import RecognizeChannelShuffle
from tvm_shufflenet.passes.recognize_local_response_norm import RecognizeLocalResponseNorm
from tvm_shufflenet.passes.simplify_inference import SimplifyInference
from tvm_shufflenet.passes.to_channel_blocks import ToChannelBlocks

Observer = Callable[[int, str, Any], None]  # position, name of the pass, module after it


class Pass(Protocol):
    """A Relay module in, a new Relay module out; `name` is what manifests and dumps call it."""

    @property
    def name(self) -> str: ...

    def __call__(self, mod: Any) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class PipelineOptions:
    """What the pipeline depends on."""

    machine: Machine  # decides the channel blocks of the layout
    merge_shuffles: bool = True  # False keeps each channel shuffle as a kernel of its own


def pipeline(options: PipelineOptions) -> tuple[Pass, ...]:
    """Return the passes, in order, that bring an imported network to our operators."""
    merge = (MergeChannelShuffle(),) if options.merge_shuffles else ()
    return (
        FoldBatchNorm(),
        SimplifyInference(),
        RecognizeChannelShuffle(),
        RecognizeLocalResponseNorm(),
        Canonicalize(),
        FoldConstants(),
        ToChannelBlocks(options.machine),
        *merge,
        FuseDepthwisePointwise(),
        FusePoolingConcatenation(),
        CarryBias(),
    )


def run(mod: Any, passes: Iterable[Pass], observer: Observer | None = None) -> Any:
    """Apply `passes` in order; `observer` sees the module after each (position 0: as imported)."""
    if observer is not None:
        observer(0, "imported", mod)
    for position, step in enumerate(passes, start=1):
        mod = step(mod)
        if observer is not None:
            observer(position, step.name, mod)
    return mod
