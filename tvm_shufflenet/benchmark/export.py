"""A network exported once for every runtime: TorchScript, ONNX, inputs and PyTorch's outputs.

Exports live in a cache, keyed by everything they depend on, so a second benchmark starts at
once. Runtimes add their own conversions to the same folder.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_shufflenet.benchmark import environment

if TYPE_CHECKING:
    import numpy as np

INPUTS = 2  # two, so that a runtime answering the same thing to everything is found out
OPSET = 18
CACHE_VARIABLE = "TVM_SHUFFLENET_CACHE"


@dataclass(frozen=True)
class Export:
    """An exported network. Inputs are (1, 3, height, width) float32, outputs (1, classes)."""

    network: str
    height: int
    width: int
    folder: Path

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The input's shape."""
        return (1, 3, self.height, self.width)

    @property
    def torchscript(self) -> Path:
        """The traced module."""
        return self.folder / "model.pt"

    @property
    def module(self) -> Path:
        """The pickled module, for PyTorch itself."""
        return self.folder / "module.pth"

    @property
    def onnx(self) -> Path:
        """The ONNX file; input ``input``, output ``output``."""
        return self.folder / "model.onnx"

    def inputs(self) -> np.ndarray:
        """Return the inputs, stacked: (INPUTS, 1, 3, height, width)."""
        import numpy as np

        return np.load(self.folder / "inputs.npy")  # type: ignore[no-any-return]

    def expected(self) -> np.ndarray:
        """Return PyTorch's outputs, stacked: (INPUTS, 1, classes)."""
        import numpy as np

        return np.load(self.folder / "expected.npy")  # type: ignore[no-any-return]


def cache_folder() -> Path:
    """Return where exports are kept: $TVM_SHUFFLENET_CACHE or the user's cache folder."""
    import platformdirs

    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("tvm-shufflenet"))


def export(network: str, height: int, width: int, seed: int = 0) -> Export:
    """Export a network of ours, or find the export made earlier.

    Raises:
        ModelError: for an unknown network or an input too small for it.
    """
    folder = cache_folder() / "exports" / f"{network}-{height}x{width}-{_key(seed)}"
    if not folder.exists():
        from tvm_shufflenet import models

        write(models.build(network, seed=seed), (height, width), folder)
    return Export(network, height, width, folder)


def write(module: Any, size: tuple[int, int], folder: Path) -> None:
    """Export `module` (in eval mode) for inputs of `size` into `folder`, whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name[:40]}-", dir=folder.parent))
    try:
        _fill(module, size, partial)
        partial.chmod(0o755)
        # Another process may have been faster; its export is as good as ours.
        if not folder.exists():
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _fill(module: Any, size: tuple[int, int], folder: Path) -> None:
    import numpy as np
    import torch

    rng = np.random.default_rng(size[0] * 10_000 + size[1])
    inputs = rng.standard_normal((INPUTS, 1, 3, *size)).astype(np.float32)
    with torch.inference_mode():
        expected = np.stack([module(torch.from_numpy(one)).numpy() for one in inputs])
    np.save(folder / "inputs.npy", inputs)
    np.save(folder / "expected.npy", expected)
    torch.save(module, folder / "module.pth")
    example = torch.from_numpy(inputs[0])
    # Tracing warns of every shape that is a constant, the exporter of optional packages.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(module, example, check_trace=False)  # type: ignore[no-untyped-call]
        torch.jit.save(traced, folder / "model.pt")
        torch.onnx.export(
            module,
            (example,),
            folder / "model.onnx",
            input_names=["input"],
            output_names=["output"],
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def _key(seed: int) -> str:
    """Hash what an export depends on: our models' sources, versions of the exporters, seed."""
    from importlib import resources

    parts = [f"seed={seed} opset={OPSET}"]
    installed = environment.versions()
    parts += [f"{name}={installed.get(name)}" for name in ("torch", "onnx", "numpy", "MNN", "pnnx")]
    sources = resources.files("tvm_shufflenet.models").iterdir()
    for source in sorted(sources, key=lambda entry: entry.name):
        if source.name.endswith(".py"):
            parts.append(source.name + source.read_text(encoding="utf-8"))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
