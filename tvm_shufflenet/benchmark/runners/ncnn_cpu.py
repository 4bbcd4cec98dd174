"""ncnn on the CPU, its model made by pnnx from the traced module."""

from __future__ import annotations

import importlib.util
import subprocess
import tempfile
from pathlib import Path

from tvm_shufflenet.benchmark.runners import Infer, Setup
from tvm_shufflenet.errors import ModelError


def _model(setup: Setup) -> tuple[Path, Path]:
    return setup.export.folder / "ncnn.param", setup.export.folder / "ncnn.bin"


def prepare(setup: Setup) -> None:
    """Convert the traced module."""
    if all(path.exists() for path in _model(setup)):
        return
    found = importlib.util.find_spec("pnnx")
    assert found is not None and found.origin is not None, "checked before a worker starts"
    shape = ",".join(map(str, setup.export.shape))
    with tempfile.TemporaryDirectory(dir=setup.export.folder) as scratch:
        outputs = {
            name: Path(scratch) / name
            for name in (
                "pnnxparam",
                "pnnxbin",
                "pnnxpy",
                "pnnxonnx",
                "ncnnparam",
                "ncnnbin",
                "ncnnpy",
            )
        }
        done = subprocess.run(
            [
                str(Path(found.origin).parent / "pnnx"),
                str(setup.export.torchscript),
                f"inputshape=[{shape}]f32",
                "fp16=0",
                *(f"{name}={path}" for name, path in outputs.items()),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        made = (outputs["ncnnparam"], outputs["ncnnbin"])
        if done.returncode or not all(path.exists() for path in made):
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise ModelError(f"pnnx could not convert the network: {last}")
        for source, destination in zip(made, _model(setup), strict=True):
            source.replace(destination)


def load(setup: Setup) -> Infer:
    """Load the converted model; ncnn calls input and output ``in0`` and ``out0``."""
    import ncnn
    import numpy as np

    network = ncnn.Net()
    options = network.opt
    options.num_threads = setup.threads
    options.lightmode = True
    options.use_packing_layout = True
    options.use_winograd_convolution = True
    options.use_sgemm_convolution = True
    for reduced in (
        "use_fp16_packed",
        "use_fp16_storage",
        "use_fp16_arithmetic",
        "use_bf16_storage",
        "use_int8_inference",
    ):
        setattr(options, reduced, False)
    param, weights = _model(setup)
    if network.load_param(str(param)) or network.load_model(str(weights)):
        raise ModelError("ncnn could not load what pnnx wrote")

    def infer(image: np.ndarray) -> np.ndarray:
        extractor = network.create_extractor()
        extractor.input("in0", ncnn.Mat(image[0]))
        status, output = extractor.extract("out0")
        if status:
            raise ModelError(f"ncnn's inference returned {status}")
        return np.array(output)[None]

    return infer
