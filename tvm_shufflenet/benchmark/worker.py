"""The process that holds one runtime: requests come in as JSON lines, replies go out likewise.

``python -m tvm_shufflenet.benchmark.worker`` is started by `process.Worker` and by nobody else.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import IO, Any

from tvm_shufflenet.benchmark import runners, verify
from tvm_shufflenet.benchmark.export import Export

_PR_SET_PDEATHSIG = 1
_LONGEST_REASON = 200
_ALIGNMENT_BYTES = 64  # a cache line, and the most that any of the runtimes asks for


class _Worker:
    """Answers one request at a time."""

    def __init__(self) -> None:
        self._setup: runners.Setup | None = None
        self._module: Any = None
        self._infer: runners.Infer | None = None
        self._input: Any = None

    def open(self, request: dict[str, Any]) -> dict[str, Any]:
        """Learn what this worker is for."""
        export = Export(
            request["network"], request["height"], request["width"], Path(request["folder"])
        )
        package = Path(request["package"]) if request["package"] else None
        self._setup = runners.Setup(export, request["threads"], package)
        self._module = importlib.import_module(request["module"])
        return {}

    def prepare(self, request: dict[str, Any]) -> dict[str, Any]:
        """Convert or compile, where the runtime needs it."""
        if hasattr(self._module, "prepare"):
            self._module.prepare(self._setup)
        return {}

    def load(self, request: dict[str, Any]) -> dict[str, Any]:
        """Load the network and keep an input at hand."""
        assert self._setup is not None
        self._input = _aligned(self._setup.export.inputs()[0])
        self._infer = self._module.load(self._setup)
        return {}

    def check(self, request: dict[str, Any]) -> dict[str, Any]:
        """Compare the outputs for all inputs with PyTorch's."""
        assert self._setup is not None and self._infer is not None
        export = self._setup.export
        pairs = zip(export.inputs(), export.expected(), strict=True)
        difference = verify.worst(
            [verify.compare(self._infer(image), expected) for image, expected in pairs]
        )
        return {
            "of_scale": difference.of_scale,
            "strict": difference.strict,
            "reason": difference.reason,
        }

    def run(self, request: dict[str, Any]) -> dict[str, Any]:
        """Time inferences one by one."""
        timed = [self._timed() for _ in range(request["warmup"] + request["number"])]
        return {"warmup_s": timed[: request["warmup"]], "seconds": timed[request["warmup"] :]}

    def _timed(self) -> float:
        assert self._infer is not None
        start = time.perf_counter_ns()
        self._infer(self._input)
        return (time.perf_counter_ns() - start) * 1e-9


def _aligned(image: Any) -> Any:
    """Copy an array to where every runtime may read it in place instead of copying it first."""
    import numpy as np

    raw = np.empty(image.nbytes + _ALIGNMENT_BYTES, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT_BYTES
    copy = raw[start : start + image.nbytes].view(image.dtype).reshape(image.shape)
    np.copyto(copy, image)
    return copy


def one_line(error: BaseException) -> str:
    """Return an error's message as one short line; TVM's begin with a traceback of their own."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    text = lines[-1] if lines[0].startswith("Traceback") else lines[0]
    named = text if text.startswith(type(error).__name__) else f"{type(error).__name__}: {text}"
    return named if len(named) <= _LONGEST_REASON else named[: _LONGEST_REASON - 1] + "…"


def _die_with_parent() -> None:
    # A worker is stopped most of its life; without its parent it would stay so for ever.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _serve(requests: IO[str], replies: IO[str]) -> None:
    worker = _Worker()
    actions = {
        "open": worker.open,
        "prepare": worker.prepare,
        "load": worker.load,
        "check": worker.check,
        "run": worker.run,
    }
    for line in requests:
        request = json.loads(line)
        try:
            reply = {"ok": True, **actions[request["do"]](request)}
        except Exception as error:
            reply = {"ok": False, "reason": one_line(error)}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def main() -> None:
    """Serve requests until the parent closes the pipe."""
    _die_with_parent()
    # Runtimes print to stdout when they please, from C as well; the replies get a descriptor
    # of their own and stdout becomes stderr.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as replies:
        os.dup2(2, 1)
        _serve(sys.stdin, replies)


if __name__ == "__main__":
    main()
