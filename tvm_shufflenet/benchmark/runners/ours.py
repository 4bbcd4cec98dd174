"""Our own packages, through the runtime that a device uses."""

from __future__ import annotations

from tvm_shufflenet.benchmark.runners import Infer, Setup


def load(setup: Setup) -> Infer:
    """Load the package `setup.package`."""
    from tvm_shufflenet.runtime import Model

    assert setup.package is not None, "our runner is always given a package"
    model = Model.load(setup.package, threads=setup.threads)
    return model.__call__
