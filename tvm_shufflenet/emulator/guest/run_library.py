"""Counts one inference of a graph executor library; started by ``emulator.counting``.

Arguments: LIBRARY INPUT.npy OUTPUT.npy MAPS. The input may be any float32 array; the output is
that of the counted inference, so the caller can check it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tvm
from tvm.contrib import graph_executor

from tvm_shufflenet.emulator.guest import marker

_WARM_UP = 2  # binds symbols, faults pages in and fills the cache model


def main(library: str, input_file: str, output_file: str, maps_file: str) -> None:
    """Run the library on the input, the last time counted."""
    loaded = tvm.runtime.load_module(library)
    executor = graph_executor.GraphModule(loaded["default"](tvm.cpu()))
    executor.set_input(0, tvm.nd.array(np.load(input_file)))
    for _ in range(_WARM_UP):
        executor.run()
    run = executor.module["run"]
    marker.start()
    run()
    marker.stop(0)
    np.save(output_file, executor.get_output(0).numpy())
    Path(maps_file).write_text(Path("/proc/self/maps").read_text("utf-8"), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
