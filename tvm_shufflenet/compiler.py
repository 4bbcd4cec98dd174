"""The one place that loads TVM's compiler, so that its environment is right before the import.

The runtime on a board does not come here: see ``tvm_shufflenet.runtime``.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from tvm_shufflenet.errors import ToolchainError

_INSTALL = 'install the compiler with: pip install "tvm-shufflenet[host]"'

# CSE at the TIR level leaves vector `let`s that LLVM 21 and later refuse to verify;
# LLVM eliminates the common subexpressions itself.
STOCK_PASS_CONFIG: dict[str, Any] = {"tir.disable_cse_tir": True}
# For our kernels: where a last tile is cut off, it gets a loop of its own, so that the others
# need no conditions.
PASS_CONFIG: dict[str, Any] = {
    **STOCK_PASS_CONFIG,
    "tir.LoopPartition": {"partition_const_loop": True},
}


@cache
def load_tvm() -> Any:
    """Import TVM with Relay and LLVM.

    Raises:
        ToolchainError: if the ``tvm`` found has no Relay, no LLVM, or only its runtime is loaded.
    """
    # TVM otherwise calls home for TopHub schedules: slow offline, and "untuned" would not be.
    os.environ.setdefault("TOPHUB_LOCATION", "NONE")
    try:
        import tvm
    except (ImportError, OSError, RuntimeError) as error:  # the last two: libLLVM is not there
        reason = str(error).strip().splitlines()[0]
        raise ToolchainError(f"cannot import tvm ({reason}); {_INSTALL}") from error
    # Other releases of tvm have no `_ffi`, nor Relay: that is said below.
    if getattr(getattr(getattr(tvm, "_ffi", None), "base", None), "_RUNTIME_ONLY", False):
        raise ToolchainError(
            "this process loaded TVM's runtime-only library, which cannot compile; "
            "compile in a process of its own, without TVM_USE_RUNTIME_LIB"
        )
    try:
        from tvm import autotvm, relay  # noqa: F401
    except ImportError as error:
        raise ToolchainError(
            f"the tvm {getattr(tvm, '__version__', '?')} that is installed has no Relay "
            f"(apache-tvm 0.25 and xtc-tvm-python-bindings share the import name); {_INSTALL}"
        ) from error
    if not tvm.runtime.enabled("llvm"):
        raise ToolchainError(f"the tvm that is installed has no LLVM backend; {_INSTALL}")
    return tvm
