"""MNN's CPU backend, its model made by MNN's own converter."""

from __future__ import annotations

from pathlib import Path

from tvm_shufflenet.benchmark.runners import Infer, Setup
from tvm_shufflenet.errors import ModelError


def _model(setup: Setup) -> Path:
    return setup.export.folder / "model.mnn"


def prepare(setup: Setup) -> None:
    """Convert the ONNX file."""
    model = _model(setup)
    if model.exists():
        return
    # The module behind the `mnnconvert` command. The command itself also installs a logging
    # SDK with pip and reports what was converted to a server of its maker; we want neither.
    import _tools

    partial = model.with_suffix(".partial.mnn")
    arguments = ["-f", "ONNX", "--modelFile", str(setup.export.onnx), "--MNNModel", str(partial)]
    _tools.mnnconvert(["mnnconvert", *arguments, "--bizCode", "MNN"])
    if not partial.exists():
        raise ModelError("MNN's converter did not write a model")
    partial.replace(model)


def load(setup: Setup) -> Infer:
    """Load the converted model as an MNN module."""
    import numpy as np
    from MNN import expr, nn

    runtime = nn.create_runtime_manager(
        (
            {
                "backend": "CPU",
                "numThread": setup.threads,
                "precision": "high",
                "power": "high",
                "memory": "high",
            },
        )
    )
    network = nn.load_module_from_file(
        str(_model(setup)), ["input"], ["output"], runtime_manager=runtime
    )
    variable = expr.placeholder(list(setup.export.shape), expr.NCHW, expr.float)

    def infer(image: np.ndarray) -> np.ndarray:
        variable.write(image)
        output = network.forward(variable)
        if output.data_format == expr.NC4HW4:
            output = expr.convert(output, expr.NCHW)
        return np.array(output.read())

    return infer
