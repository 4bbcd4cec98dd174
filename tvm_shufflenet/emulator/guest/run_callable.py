"""Counts one call of an inference function; started by ``emulator.peers``.

Arguments: FACTORY ARGUMENT INPUT.npy OUTPUT.npy. FACTORY is ``module:function``; called with
ARGUMENT it returns a function from the input array to the output array.
"""

from __future__ import annotations

import importlib
import sys

import numpy as np

from tvm_shufflenet.emulator.guest import marker

_WARM_UP = 2  # lets a runtime choose kernels and allocate, and fills the cache model


def main(factory: str, argument: str, input_file: str, output_file: str) -> None:
    """Call the function on the input, the last time counted."""
    module, _, function = factory.partition(":")
    infer = getattr(importlib.import_module(module), function)(argument)
    image = np.load(input_file)
    for _ in range(_WARM_UP):
        infer(image)
    marker.start()
    output = infer(image)
    marker.stop(0)
    np.save(output_file, output)


if __name__ == "__main__":
    main(*sys.argv[1:])
