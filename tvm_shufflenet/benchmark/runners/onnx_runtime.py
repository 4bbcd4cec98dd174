"""ONNX Runtime's CPU execution provider."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvm_shufflenet.benchmark.runners import Infer, Setup

if TYPE_CHECKING:
    import numpy as np


def load(setup: Setup) -> Infer:
    """Open a session on the ONNX file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = setup.threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(setup.export.onnx), options, providers=["CPUExecutionProvider"]
    )

    def infer(image: np.ndarray) -> np.ndarray:
        return session.run(None, {"input": image})[0]  # type: ignore[no-any-return]

    return infer
