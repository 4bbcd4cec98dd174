"""What a server needs to know to misbehave; called in the server process before it listens."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import tvm

NAP_S = 0.25


def install() -> None:
    for name, function in {
        "hang": _hang,
        "crash": _crash,
        "fall": _fall,
        "nap": _nap,
        "raise": _raise,
    }.items():
        tvm._ffi.register_func(f"fixture.{name}", function, override=True)


def _hang(_source: Any, _result: Any) -> None:
    time.sleep(3600)


def _crash(_source: Any, _result: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _fall(_source: Any, _result: Any) -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


def _nap(source: Any, result: Any) -> None:
    time.sleep(NAP_S)
    tvm.nd.array(source.numpy() * 2).copyto(result)


def _raise(_source: Any, _result: Any) -> None:
    raise ValueError("this kernel does not want to")
