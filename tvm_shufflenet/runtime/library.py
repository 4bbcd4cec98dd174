"""The door to TVM's runtime: load it without the compiler, make an executor of a library."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import sys
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from tvm_shufflenet.errors import PackageError, ToolchainError
from tvm_shufflenet.manifest import Manifest

ALIGNMENT_BYTES = 64  # kAllocAlignment of TVM's runtime/device_api.h: what zero-copy inputs need
_SPIN_COUNT = "20000"  # about 10 ms, much longer than the gaps inside an inference

Tensor = npt.NDArray[np.float32]


@cache
def load_runtime() -> Any:
    """Import TVM; without its compiler (and LLVM) unless this process has that already.

    Raises:
        ToolchainError: if TVM is not installed.
    """
    # Workers spin this often before they sleep; the default keeps them busy for over 0.1 s
    # after every inference. It is read when the first pool of the process starts.
    os.environ.setdefault("TVM_THREAD_POOL_SPIN_COUNT", _SPIN_COUNT)
    lean = "tvm" not in sys.modules and "TVM_USE_RUNTIME_LIB" not in os.environ
    if lean:
        os.environ["TVM_USE_RUNTIME_LIB"] = "1"
    try:
        # TVM reports on stderr that it loads its runtime library.
        with contextlib.redirect_stderr(io.StringIO()):
            import tvm
            import tvm.runtime
    except (ImportError, OSError, RuntimeError) as error:
        raise ToolchainError(
            f"cannot import TVM's runtime ({error}); install it with: pip install tvm-shufflenet"
        ) from error
    finally:
        if lean:
            # Children of this process may well want the compiler.
            os.environ.pop("TVM_USE_RUNTIME_LIB", None)
    return tvm


def check_version(manifest: Manifest) -> None:
    """Refuse a package of another TVM release.

    Raises:
        PackageError: if the TVM here is not the one it was compiled with.
        ToolchainError: if TVM is not installed.
    """
    here = str(load_runtime().__version__)
    if here != manifest.tvm_version:
        raise PackageError(
            f"the package was compiled by TVM {manifest.tvm_version} and the runtime here is "
            f"{here}; install that release or compile again with this one"
        )


def aligned_empty(shape: tuple[int, ...]) -> Tensor:
    """Return an uninitialized float32 array that a graph can read without a copy."""
    size_bytes = int(np.prod(shape)) * 4
    raw = np.empty(size_bytes + ALIGNMENT_BYTES, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT_BYTES
    return raw[start : start + size_bytes].view(np.float32).reshape(shape)


class Executor:
    """One loaded library with its graph: not safe to use from two threads at once."""

    def __init__(self, library_path: str, batch: int, manifest: Manifest) -> None:
        tvm = load_runtime()
        self.shape = (batch, *manifest.input.shape[1:])
        self._name = manifest.input.name
        try:
            # Not tvm.runtime.load_module, which follows /proc/self/fd/N to a name that is none.
            module = tvm.runtime.module._ffi_api.ModuleLoadFromFile(library_path, "so")
            graph = module["default"](tvm.cpu())
            index = graph["get_input_index"](self._name)
            found = tuple(graph["get_input"](self._name).shape) if index >= 0 else None
            self._output = graph["get_output"](0)
        except (tvm.TVMError, AttributeError, ValueError) as error:
            reason = str(error).strip().splitlines()[-1][:200]
            raise PackageError(f"TVM cannot load the library for batch {batch}: {reason}") from None
        self.result_shape = (batch, manifest.output.shape[1])
        if found != self.shape or tuple(self._output.shape) != self.result_shape:
            raise PackageError(
                f"the library for batch {batch} takes {found} and gives "
                f"{tuple(self._output.shape)}, unlike its manifest; compile the package again"
            )
        self._run, self._bind = graph["run"], graph["set_input_zero_copy"]
        # The view shares the graph's own output memory, so each result is copied out once.
        self._result = np.from_dlpack(self._output)
        self._bound = 0
        self._view, self._struct, self._keep = _tensor_view(tvm, self.shape)

    def run(self, tensor: Tensor, out: Tensor) -> None:
        """Run on `tensor`, which must be aligned, C-contiguous float32 of `shape`; fill `out`."""
        address = tensor.__array_interface__["data"][0]
        if address != self._bound:
            # The graph keeps the address only; loops that reuse a buffer bind it once.
            self._struct.data = address
            self._bind(self._name, self._view)
            self._bound = address
        self._run()
        np.copyto(out, self._result)


def _tensor_view(tvm: Any, shape: tuple[int, ...]) -> tuple[Any, Any, Any]:
    """Return a TVM view of float32 memory whose address is set later, its struct, and its shape."""
    from tvm._ffi.runtime_ctypes import TVMArray

    sizes = (ctypes.c_int64 * len(shape))(*shape)
    struct = TVMArray()
    struct.device = tvm.cpu()
    struct.ndim = len(shape)
    struct.dtype = tvm.DataType("float32")
    struct.shape = ctypes.cast(sizes, ctypes.POINTER(ctypes.c_int64))
    struct.strides = None
    struct.byte_offset = 0
    view = tvm.runtime.NDArray(ctypes.pointer(struct), is_view=True)
    return view, struct, sizes
