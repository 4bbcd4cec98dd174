"""Worker job: run a built kernel on the board, compare what it computes, and time it."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tvm_shufflenet.boards import Measure
from tvm_shufflenet.errors import BoardUnreachable, TvmShufflenetError
from tvm_shufflenet.rpc.session import Link, connect, set_threads
from tvm_shufflenet.tuning.build import Built
from tvm_shufflenet.tuning.phases import phase

FUNCTION = "tvm_shufflenet.tuning.measure:measure"
PROBE = "tvm_shufflenet.tuning.measure:probe"

Array = npt.NDArray[Any]

# A float32 sum of thousands of products is off by 1e-6 of the largest value, Winograd by 1e-5;
# a wrong index is off by about 1.
TOLERANCE = 1e-4
_QUICK_S = 5e-3  # a first estimate is averaged over this long
_SPREAD = 0.10  # (max - min) / median above which a promising time is measured again
_EXTRA_ROUNDS = 3
_PROMISING = 1.1  # times the best known cost
_REMOTE_RAISED = "Error caught from RPC call"
_SESSION_EXPIRED = "RPCSessionTimeoutError"


class KernelFailed(TvmShufflenetError):  # noqa: N818 (it is the kernel's failure, not ours)
    """The board answered: the kernel raised, or ran longer than the session allows."""


@dataclass(frozen=True, kw_only=True)
class RunJob:
    """What to run, where and how."""

    link: Link
    built: Built
    session_s: float  # the board ends the session by itself after this
    threads: int
    options: Measure
    cores: tuple[int, ...] = ()
    data: str = ""  # .npz with inputs and expected output; empty: random inputs, no comparison
    timed: bool = True
    cut_above: float = math.inf  # a first run slower than this is not worth repeating
    best: float = math.inf  # the best cost known; near it, noise matters


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What running gave."""

    costs: tuple[float, ...]  # of each repeat, see `Record.costs_s`; empty if not timed
    error: float | None  # largest difference over the largest expected value; None: not compared
    seconds: float  # on the board, from session to last repeat


def measure(job: RunJob) -> Measured:
    """Run `job`; runs in a worker.

    Raises:
        KernelFailed: if the board says that the kernel is to blame.
        BoardUnreachable: if the session could not be opened or was lost.
    """
    import tvm

    phase("connect")
    session = connect(job.link, timeout_s=job.session_s)
    phase("run")
    start = time.monotonic()
    try:
        kernel, arguments = _load(session, job)
        error = _compare(kernel, arguments, job) if job.data else None
        costs = _time(kernel, arguments, job) if job.timed and not is_wrong(error) else ()
    except (tvm.error.TVMError, OSError) as failure:
        raise _blame(str(failure)) from failure
    finally:
        elapsed = time.monotonic() - start
    time.sleep(job.options.cooldown_s)
    return Measured(costs=costs, error=error, seconds=elapsed)


def spread(costs: Sequence[float]) -> float:
    """Return how far the middle half of repeated measurements lies apart, over their median."""
    if len(costs) < 2:
        return 0.0
    low, _, high = statistics.quantiles(costs, n=4)
    return (high - low) / statistics.median(costs)


def is_wrong(error: float | None) -> bool:
    """Whether a compared output is not what it should be."""
    return error is not None and not error <= TOLERANCE  # NaN is wrong


def _blame(text: str) -> TvmShufflenetError:
    if _SESSION_EXPIRED in text:
        return KernelFailed("the session expired: the kernel hangs or is far too slow")
    if _REMOTE_RAISED in text:
        lines = [line for line in text.splitlines() if line.strip()]
        return KernelFailed(lines[-1].strip()[:300])
    return BoardUnreachable("the session was lost while a kernel ran")


def _load(session: Any, job: RunJob) -> tuple[Any, list[Any]]:
    import tvm

    set_threads(session, job.threads, job.cores)
    session.upload(job.built.path)
    module = session.load_module(Path(job.built.path).name)
    device = session.cpu(0)
    if job.data:
        content = np.load(job.data)
    else:
        fill = session.get_function("tvm.contrib.random.random_fill")
    arguments = []
    for argument in job.built.arguments:
        if argument.is_output and job.data:
            # What the kernel leaves unwritten stays NaN and is found out.
            blank = np.full(argument.shape, np.nan).astype(argument.dtype)
            arguments.append(tvm.nd.array(blank, device))
        elif job.data:
            arguments.append(tvm.nd.array(content[f"input{argument.source}"], device))
        else:
            array = tvm.nd.empty(argument.shape, argument.dtype, device)
            fill(array)
            arguments.append(array)
    return module, arguments


def _compare(module: Any, arguments: list[Any], job: RunJob) -> float:
    module.entry_func(*arguments)
    expected = np.load(job.data)["expected"]
    outputs = [
        array.numpy()
        for array, argument in zip(arguments, job.built.arguments, strict=True)
        if argument.is_output
    ]
    return difference(outputs[-1], expected)


def difference(output: Array, expected: Array) -> float:
    """Return the largest difference over the largest expected value; infinite if shapes differ."""
    if output.ndim == expected.ndim + 1:  # NCHW[x]c: the template chose x
        output = np.moveaxis(output, -1, 2).reshape(
            output.shape[0], output.shape[1] * output.shape[-1], *output.shape[2:-1]
        )
    if output.shape != expected.shape:
        return math.inf
    scale = float(np.max(np.abs(expected))) or 1.0
    error = float(np.max(np.abs(output.astype(np.float64) - expected))) / scale
    return error if math.isfinite(error) else math.inf


def _time(module: Any, arguments: list[Any], job: RunJob) -> tuple[float, ...]:
    device = arguments[0].device

    def run(number: int, repeat: int) -> list[float]:
        evaluator = module.time_evaluator(module.entry_name, device, number=number, repeat=repeat)
        return list(evaluator(*arguments).results)

    options = job.options
    first = run(1, 1)[0]
    if options.unit != "seconds":
        return (first,)  # counts repeat exactly
    if first < _QUICK_S:
        first = run(math.ceil(_QUICK_S / max(first, 1e-9)), 1)[0]
    if first > job.cut_above:
        return (first,)  # too slow to be worth a second look
    wanted = math.ceil(options.min_repeat_ms / 1e3 / max(first, 1e-9))
    number = max(options.number, min(wanted, 100_000))
    costs = run(number, options.repeat)
    for _ in range(_EXTRA_ROUNDS):
        middle = statistics.median(costs)
        if max(costs) - min(costs) <= _SPREAD * middle or middle > _PROMISING * job.best:
            break
        costs += run(number, options.repeat)
    return tuple(costs)


def probe(link: Link, session_s: float) -> dict[str, Any]:
    """Open a session and ask the board what it is; runs in a worker.

    Raises:
        BoardUnreachable: if it does not answer.
    """
    import tvm

    from tvm_shufflenet.rpc.session import describe

    phase("connect")
    session = connect(link, timeout_s=session_s)
    phase("run")
    try:
        session.get_function("runtime.NumThreads")()
        return describe(session)
    except tvm.error.TVMError as error:
        raise BoardUnreachable(f"{link} broke off the session") from error
