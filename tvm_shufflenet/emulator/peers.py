"""Counts one inference of any runtime that has Python bindings for AArch64."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tvm_shufflenet.emulator import root
from tvm_shufflenet.emulator.blocks import read_dump
from tvm_shufflenet.emulator.counting import Counts, summarize
from tvm_shufflenet.emulator.system import guest, silent

_RUN_CALLABLE = "tvm_shufflenet.emulator.guest.run_callable"
# Pinned to the versions of the `bench` extra; what they need besides is in the guest already.
PEER_WHEELS = {
    "onnx_runtime": ("onnxruntime==1.32.0",),
    "mnn_cpu": ("MNN==3.6.1",),
    "ncnn_cpu": ("ncnn==1.0.20261020",),
}


def count_callable(
    factory: str,
    argument: str,
    input_array: Any,
    *,
    cpu: str = "cortex-a72",
    cache: bool = False,
    wheels: Sequence[str] = (),
    timeout_s: float = 1800.0,
    report: root.Report = silent,
) -> Counts:
    """Have the guest call ``factory(argument)(input_array)`` three times, counting the third.

    `factory` is ``module:function`` of a module that the guest can import, `wheels` are aarch64
    wheels that it needs beyond the runtime's own; they are installed without what they depend on.

    Raises:
        ToolchainError: if the emulator cannot be prepared.
        BoardUnreachable: if the function fails there.
    """
    system = guest(cpu, report=report)
    if wheels:
        site = root.wheels("peer", wheels, report, dependencies=False)
        system = replace(system, search_path=(*system.search_path, site))
    with tempfile.TemporaryDirectory(prefix="tvm-shufflenet-count-") as name:
        folder = Path(name)
        np.save(folder / "input.npy", input_array)
        files = [str(folder / file) for file in ("input.npy", "output.npy")]
        arguments = ["-m", _RUN_CALLABLE, factory, argument, *files]
        system.run(arguments, count_to=folder / "count", caches=cache, timeout_s=timeout_s)
        dump = read_dump(folder / "count.0.blocks")
        output = np.load(folder / "output.npy")
    return summarize(dump, cpu, None, cache=cache, output=output)
