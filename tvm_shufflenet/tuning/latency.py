"""Worker job: run a whole network on the board and time it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tvm_shufflenet.boards import Measure
from tvm_shufflenet.errors import BoardUnreachable
from tvm_shufflenet.rpc.session import Link, connect, open_graph, set_threads
from tvm_shufflenet.tuning.phases import phase

FUNCTION = "tvm_shufflenet.tuning.latency:measure_network"
_REPEATS = 7


@dataclass(frozen=True, kw_only=True)
class NetworkJob:
    """Libraries of one network and how to run them."""

    link: Link
    libraries: tuple[str, ...]
    session_s: float
    threads: int
    cores: tuple[int, ...]
    options: Measure


def measure_network(job: NetworkJob) -> float:
    """Return the median cost of one inference, see `Record.costs_s`; runs in a worker.

    Raises:
        BoardUnreachable: if the session cannot be opened or is lost.
    """
    with network_session(job) as session:
        return _run(session, job)


@contextmanager
def network_session(job: NetworkJob) -> Iterator[Any]:
    """Give a session on the board for running `job`'s networks, as many threads as deployed.

    Raises:
        BoardUnreachable: if the session cannot be opened or is lost.
    """
    import tvm

    phase("connect")
    session = connect(job.link, timeout_s=job.session_s)
    phase("run")
    try:
        set_threads(session, job.threads, job.cores)
        yield session
    except tvm.error.TVMError as error:
        raise BoardUnreachable(f"{job.link} lost the network while it ran") from error


def image_like(shape: Any) -> npt.NDArray[np.float32]:
    """Return an input of the given shape: the same noise every time."""
    extents = tuple(int(extent) for extent in shape)
    return np.random.default_rng(0).uniform(-1.0, 1.0, extents).astype(np.float32)


def _run(session: Any, job: NetworkJob) -> float:
    (library,) = job.libraries
    network, device = open_graph(session, library, Path(library).name), session.cpu(0)
    network.set_input(0, image_like(network.get_input(0).shape))

    def run(number: int, repeat: int) -> list[float]:
        evaluator = network.module.time_evaluator("run", device, number=number, repeat=repeat)
        return list(evaluator().results)

    first = run(1, 1)[0]
    if job.options.unit != "seconds":
        return first
    number = max(1, math.ceil(job.options.min_repeat_ms / 1e3 / max(first, 1e-6)))
    return statistics.median(run(number, _REPEATS))
