"""TVM's own Relay flow as its tutorials show it, without tuning: the base that we start from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tvm_shufflenet.benchmark.export import Export
from tvm_shufflenet.benchmark.runners import Infer, Setup


def _library(setup: Setup) -> Path:
    return setup.export.folder / "stock_tvm.so"


def prepare(setup: Setup) -> None:
    """Compile once for this machine."""
    from tvm_shufflenet.boards import LOCAL, load_board

    target_string = load_board(LOCAL).target_string()
    stamp = setup.export.folder / "stock_tvm.target"
    library = _library(setup)
    if library.exists() and stamp.exists() and stamp.read_text() == target_string:
        return
    build(setup.export, target_string, library)
    stamp.write_text(target_string)


def build(export: Export, target_string: str, library: Path, link: Any = None) -> None:
    """Compile an export with stock TVM into `library`, linked by `link` or the host's compiler."""
    import torch

    from tvm_shufflenet.compiler import STOCK_PASS_CONFIG, load_tvm

    tvm = load_tvm()
    from tvm import relay

    traced = torch.jit.load(export.torchscript)  # type: ignore[no-untyped-call]
    mod, params = relay.frontend.from_pytorch(traced, [("input", export.shape)])
    with tvm.transform.PassContext(opt_level=3, config=STOCK_PASS_CONFIG):
        built = relay.build(mod, target=tvm.target.Target(target_string), params=params)
    partial = library.with_suffix(".partial.so")
    built.export_library(str(partial), fcompile=link)
    partial.replace(library)


def load(setup: Setup) -> Infer:
    """Load the library into TVM's graph executor; the worker's environment sets the threads."""
    import numpy as np
    import tvm
    from tvm.contrib import graph_executor

    device = tvm.cpu()
    loaded = tvm.runtime.load_module(str(_library(setup)))
    executor = graph_executor.GraphModule(loaded["default"](device))

    def infer(image: np.ndarray) -> np.ndarray:
        executor.set_input("input", image)
        executor.run()
        return executor.get_output(0).numpy()  # type: ignore[no-any-return]

    return infer
