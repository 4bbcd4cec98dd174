"""Worker job: time the kernels of whole networks where they stand, in the order of an inference.

A kernel that is measured alone finds its weights and its input in the nearest cache. Inside a
network it finds what the kernels before it left there.
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass
from typing import Any

from tvm_shufflenet.errors import BoardUnreachable
from tvm_shufflenet.tuning.latency import NetworkJob, image_like, network_session
from tvm_shufflenet.tuning.measure import spread

FUNCTION = "tvm_shufflenet.tuning.kernel_times:time_kernels"
_TURNS = (5, 40)  # fewest and most; each is one inference timed, after three to warm up
_ENOUGH_S = 5.0  # between them, as many as fit into this


@dataclass(frozen=True, kw_only=True)
class KernelTimes:
    """The kernels of a network in the order of execution."""

    names: tuple[str, ...]  # of their functions
    seconds: tuple[float, ...]  # median of the turns
    spread: float  # of whole inferences, see `measure.spread`


def time_kernels(job: NetworkJob) -> tuple[KernelTimes, ...]:
    """Time every kernel of each of `job`'s libraries, the libraries in turns; runs in a worker.

    Raises:
        BoardUnreachable: if the session cannot be opened or is lost, or the board's TVM was
            built without its debug executor.
    """
    with network_session(job) as session:
        profiles = [_profile(session, *numbered) for numbered in enumerate(job.libraries)]
        turns: list[list[list[tuple[str, float]]]] = [[] for _ in profiles]
        began = time.monotonic()
        while _go_on(len(turns[0]), time.monotonic() - began):
            for profile, found in zip(profiles, turns, strict=True):
                found.append(_calls(profile()))
    return tuple(_medians(found) for found in turns)


def _go_on(done: int, seconds: float) -> bool:
    fewest, most = _TURNS
    return done < fewest or (done < most and seconds < _ENOUGH_S)


def _profile(session: Any, number: int, library: str) -> Any:
    """Load a library on the board; return what runs its network there, kernel by kernel."""
    name = f"{number}.so"  # sending a file of the same name would change what was loaded before
    session.upload(library, target=name)
    device = session.cpu(0)
    try:
        graph = session.load_module(name)["debug_create"]("default", device)
        profile = graph["profile_rpc"]
    except AttributeError as error:
        raise BoardUnreachable("its TVM has no debug executor") from error
    import tvm

    values = image_like(graph["get_input"](0).shape)
    graph["set_input"](0, tvm.nd.array(values, device))
    return profile


def _calls(report: str) -> list[tuple[str, float]]:
    return [
        (str(call["Name"]["string"]), 1e-6 * float(call["Duration (us)"]["microseconds"]))
        for call in json.loads(report)["calls"]
    ]


def _medians(turns: list[list[tuple[str, float]]]) -> KernelTimes:
    return KernelTimes(
        names=tuple(name for name, _ in turns[0]),
        seconds=tuple(statistics.median(s for _, s in call) for call in zip(*turns, strict=True)),
        spread=spread([sum(s for _, s in turn) for turn in turns]),
    )
