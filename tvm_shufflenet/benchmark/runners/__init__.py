"""The runtimes we compare: one module each, loaded only inside a worker process.

A runner module has ``load(setup) -> infer``, where ``infer`` takes a float32 (1, 3, H, W) array
and returns the (1, classes) output as an array. One that converts or compiles first also has
``prepare(setup)``, run in a process of its own, so that the one that is timed holds nothing but
the runtime.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_shufflenet.benchmark.export import Export
from tvm_shufflenet.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import numpy as np

    Infer = Callable[[np.ndarray], np.ndarray]
else:
    Infer = Callable[[Any], Any]


@dataclass(frozen=True)
class Setup:
    """What a runner is asked to run, and how."""

    export: Export
    threads: int
    package: Path | None = None  # for the runner of our own packages


@dataclass(frozen=True)
class Card:
    """What is known of a runtime without importing it."""

    name: str  # also its module's name
    title: str
    distribution: str  # what pip calls it; its version goes into the report
    imports: tuple[str, ...]  # modules that must be found
    settings: str  # how it is set up for float32 and speed, for the report
    runtime_only: bool = False  # load TVM without its compiler
    folder: str = __name__  # the Python package that holds the module

    @property
    def module(self) -> str:
        """The runner's module, for import in a worker."""
        return f"{self.folder}.{self.name}"


_CARDS = (
    Card(
        "ours",
        "ours",
        "tvm-shufflenet",
        ("tvm",),
        "a package, through tvm_shufflenet.runtime",
        runtime_only=True,
    ),
    Card(
        "stock_tvm",
        "TVM Relay, untuned",
        "xtc-tvm-python-bindings",
        ("tvm", "torch"),
        "relay.frontend.from_pytorch, relay.build at opt_level 3, no tuning records",
        runtime_only=True,
    ),
    Card(
        "onnx_runtime",
        "ONNX Runtime",
        "onnxruntime",
        ("onnxruntime",),
        "CPUExecutionProvider, all graph optimizations, sequential",
    ),
    Card(
        "open_vino",
        "OpenVINO",
        "openvino",
        ("openvino",),
        "CPU, latency hint, one stream, float32 inference precision",
    ),
    Card(
        "mnn_cpu",
        "MNN",
        "MNN",
        ("MNN",),
        "own converter, CPU, precision, power and memory 'high'",
    ),
    Card(
        "ncnn_cpu",
        "ncnn",
        "ncnn",
        ("ncnn", "pnnx", "torch"),
        "pnnx without fp16; float32 storage and arithmetic, packing, Winograd and sgemm on",
    ),
    Card(
        "torch_eager",
        "PyTorch eager",
        "torch",
        ("torch",),
        "inference mode",
    ),
    Card(
        "torch_script",
        "PyTorch TorchScript",
        "torch",
        ("torch",),
        "traced, frozen, optimized for inference (oneDNN)",
    ),
)
OURS = "ours"


def peer_names() -> tuple[str, ...]:
    """Return every runner that is not ours."""
    return tuple(card.name for card in _CARDS if card.name != OURS)


def card(name: str) -> Card:
    """Return the card of a runner.

    Raises:
        InputError: if there is no such runner.
    """
    for known in _CARDS:
        if known.name == name:
            return known
    names = [known.name for known in _CARDS]
    raise InputError(f"unknown runtime {name!r}{did_you_mean(name, names)}; known: {names}")


def missing(name: str) -> tuple[str, ...]:
    """Return the modules a runner needs that are not installed."""
    return tuple(part for part in card(name).imports if importlib.util.find_spec(part) is None)
