"""A worker process: does one job after the other for a `pool.Pool`, and may be killed at any time.

``python -m tvm_shufflenet.tuning.worker FD [MODULE...]``; FD is a connection to the parent.
Kernels, linkers and search code that hang or crash take down a worker, never the tuner.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from multiprocessing.connection import Connection
from typing import Any

from tvm_shufflenet.rpc.processes import die_with_parent
from tvm_shufflenet.tuning import phases


def main(arguments: list[str]) -> None:
    """Serve the parent until it closes the connection."""
    die_with_parent()
    os.dup2(2, 1)  # what TVM prints is for the log, not for the tuner's stdout
    connection = Connection(int(arguments[0]))
    _serve(connection, arguments[1:])


def _serve(connection: Connection, modules: list[str]) -> None:
    phases.report_to(connection)
    try:
        from tvm_shufflenet.tuning import templates

        templates.register(tuple(modules))
    except Exception as error:
        connection.send(("error", *_described(error)))
        return
    connection.send(("ready",))
    while True:
        try:
            function, job_arguments = connection.recv()
        except EOFError:
            return
        connection.send(_answer(function, job_arguments))


def _answer(function: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    module, _, name = function.partition(":")
    try:
        return "done", getattr(importlib.import_module(module), name)(*arguments)
    except Exception as error:
        traceback.print_exc()
        return "error", *_described(error)


def _described(error: Exception) -> tuple[str, str]:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return type(error).__name__, (lines[-1].strip() if lines else repr(error))[:500]


if __name__ == "__main__":
    main(sys.argv[1:])
