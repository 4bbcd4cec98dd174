"""Worker job: run a whole network on the board and time it."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tvm_shufflenet.boards import Measure
from tvm_shufflenet.errors import BoardUnreachable
from tvm_shufflenet.rpc.session import Link, connect, open_graph, set_threads
from tvm_shufflenet.tuning.phases import phase

FUNCTION = "tvm_shufflenet.tuning.latency:measure_network"
_REPEATS = 7


@dataclass(frozen=True, kw_only=True)
class NetworkJob:
    """A network's library and how to run it."""

    link: Link
    library: str
    session_s: float
    threads: int
    cores: tuple[int, ...]
    options: Measure


def measure_network(job: NetworkJob) -> float:
    """Return the median cost of one inference, see `Record.costs_s`; runs in a worker.

    Raises:
        BoardUnreachable: if the session cannot be opened or is lost.
    """
    import tvm

    phase("connect")
    session = connect(job.link, timeout_s=job.session_s)
    phase("run")
    try:
        return _run(session, job)
    except tvm.error.TVMError as error:
        raise BoardUnreachable(f"{job.link} lost the network while it ran") from error


def _run(session: Any, job: NetworkJob) -> float:
    set_threads(session, job.threads, job.cores)
    network, device = open_graph(session, job.library, Path(job.library).name), session.cpu(0)
    shape = tuple(int(extent) for extent in network.get_input(0).shape)
    values = np.random.default_rng(0).uniform(-1.0, 1.0, shape).astype("float32")
    network.set_input(0, values)

    def run(number: int, repeat: int) -> list[float]:
        evaluator = network.module.time_evaluator("run", device, number=number, repeat=repeat)
        return list(evaluator().results)

    first = run(1, 1)[0]
    if job.options.unit != "seconds":
        return first
    number = max(1, math.ceil(job.options.min_repeat_ms / 1e3 / max(first, 1e-6)))
    return statistics.median(run(number, _REPEATS))
