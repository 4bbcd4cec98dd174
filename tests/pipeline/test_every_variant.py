"""Every network there is, after the passes: nothing is moved for a layout, and nothing is wrong.

Kernels' references stand in for kernels here; `test_compiled_networks` builds a selection.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor

import pytest

from pipeline.every_variant import Seen, look_at
from tvm_shufflenet import models

pytestmark = pytest.mark.slow

_SIZE = (64, 64)
_ALEXNET_SIZE = (224, 224)  # below, its export to ONNX gathers single pixels
# Through ONNX: a variant of each kind, for its export takes longer than all the rest.
_ONNX = (
    "shufflenet_v1_g2_x0.5",
    "shufflenet_v1_g3_x0.5_arch2",
    "shufflenet_v1_g4_x0.25",
    "shufflenet_v1_g8_x1.0",
    "shufflenet_v1_g3_x0.5_shallow",
    "shufflenet_v1_g3_x0.5_megvii",
    "shufflenet_v1_g4_x1.0_jaxony",
    "alexnet",
)
_OURS = {
    "pointwise", "pointwise_add", "depthwise_pointwise", "depthwise_pointwise_add", "convolution",
    "winograd", "image_convolution", "pooling", "pooled_concatenation", "global_mean",
    "adaptive_mean", "local_response_norm",
}  # fmt: skip
# One vector width a network, in turn: the units of all of them are alike.
_BOARDS = dict(
    zip(models.names(), itertools.cycle(("rpi4b", "x86-avx2", "x86-avx512", "rpi4b")), strict=False)
)
_Verdicts = Mapping[tuple[str, bool], Future[Seen]]


@pytest.fixture(scope="module")
def verdicts() -> Iterator[_Verdicts]:
    """What is found out about each network, on all cores."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool:
        jobs = [(name, False) for name in models.names()] + [(name, True) for name in _ONNX]
        yield {(name, onnx): pool.submit(look_at, *_arguments(name, onnx)) for name, onnx in jobs}
        pool.shutdown(cancel_futures=True)


def _arguments(name: str, onnx: bool) -> tuple[str, tuple[int, int], str, bool]:
    return name, _ALEXNET_SIZE if name == "alexnet" else _SIZE, _BOARDS[name], onnx


def _check(name: str, seen: Seen) -> None:
    # Operators on the logits: they are no activation map.
    behind = {"nn.log_softmax"} if name.endswith("_jaxony") else set()
    assert set(seen.operators) <= _OURS | behind
    assert seen.notes == ()
    assert seen.wrong == ""


@pytest.mark.parametrize("name", models.names())
def test_no_activation_is_moved_and_the_outputs_are_torchs(name: str, verdicts: _Verdicts) -> None:
    _check(name, verdicts[name, False].result())


@pytest.mark.parametrize("name", _ONNX)
def test_networks_from_onnx_end_in_the_same_operators(name: str, verdicts: _Verdicts) -> None:
    seen = verdicts[name, True].result()
    _check(name, seen)
    assert seen.operators == verdicts[name, False].result().operators
