"""OpenVINO's CPU plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvm_shufflenet.benchmark.runners import Infer, Setup

if TYPE_CHECKING:
    import numpy as np


def load(setup: Setup) -> Infer:
    """Compile the ONNX file for latency."""
    import openvino

    compiled = openvino.Core().compile_model(
        str(setup.export.onnx),
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY",
            # On a CPU with bfloat16 the plugin may otherwise compute in it.
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": setup.threads,
            "NUM_STREAMS": "1",
        },
    )
    request = compiled.create_infer_request()

    def infer(image: np.ndarray) -> np.ndarray:
        return request.infer([image], share_inputs=True)[0]  # type: ignore[no-any-return]

    return infer
