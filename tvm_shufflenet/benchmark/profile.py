"""Time of each kernel of a package, beside what the machine could do: a roofline a kernel."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

from tvm_shufflenet.benchmark.kernel_costs import KernelCost, kernel_costs, short_name
from tvm_shufflenet.benchmark.peaks import Peaks, measure_peaks
from tvm_shufflenet.boards import LOCAL, load_board
from tvm_shufflenet.compiler import load_tvm
from tvm_shufflenet.errors import PackageError

_WARMUP = 3


@dataclass(frozen=True)
class KernelTime:
    """One kernel as it ran: medians over the inferences."""

    cost: KernelCost
    seconds: float

    @property
    def gflops(self) -> float:
        """What it achieved; 0 for a kernel that only moves data."""
        return 2e-9 * self.cost.multiply_adds / self.seconds

    @property
    def gb_s(self) -> float:
        """Bytes of maps and constants over time."""
        return 1e-9 * self.cost.bytes / self.seconds

    def bound_s(self, peaks: Peaks) -> float:
        """Return the time below which the machine cannot go: arithmetic, or moving its bytes.

        Bytes move at the speed of a cache that holds them all, which is lenient: what other
        kernels drove out of that cache comes from further away.
        """
        return max(self._arithmetic_s(peaks), peaks.read_s(self.cost.bytes))

    def limit(self, peaks: Peaks) -> str:
        """Say which of the two bounds is the higher one."""
        arithmetic = self._arithmetic_s(peaks) >= peaks.read_s(self.cost.bytes)
        return "arithmetic" if arithmetic else "bandwidth"

    def _arithmetic_s(self, peaks: Peaks) -> float:
        return 2e-9 * self.cost.multiply_adds / peaks.gflops


@dataclass(frozen=True)
class KernelGroup:
    """One function of the library, however often the graph calls it."""

    kernel: KernelTime  # its mean time a call
    calls: int

    @property
    def total_s(self) -> float:
        """Seconds of all its calls in one inference."""
        return self.kernel.seconds * self.calls


@dataclass(frozen=True)
class Profile:
    """A package's kernels in the order of execution."""

    model: str
    threads: int
    kernels: tuple[KernelTime, ...]
    whole_s: float  # median of a whole inference, run as usual
    peaks: Peaks
    tuned: frozenset[str] = frozenset()  # names of the kernels that a tuning record served

    def slowest_first(self) -> tuple[KernelGroup, ...]:
        """Return the kernels by falling time, those called more than once together."""
        calls: dict[str, list[KernelTime]] = {}
        for kernel in self.kernels:
            calls.setdefault(kernel.cost.name, []).append(kernel)
        groups = [
            KernelGroup(KernelTime(same[0].cost, mean(k.seconds for k in same)), len(same))
            for same in calls.values()
        ]
        return tuple(sorted(groups, key=lambda group: -group.total_s))

    def bound_s(self) -> float:
        """Return the sum of the kernels' bounds."""
        return sum(kernel.bound_s(self.peaks) for kernel in self.kernels)


def profile(package: Path, threads: int, inferences: int = 50) -> Profile:
    """Run a package of this machine kernel by kernel, in the order of inference.

    Kernels run one after another as in an inference, so they find in the caches what they would
    find there. Each one's time includes about a microsecond of calling it from Python.

    Raises:
        PackageError: if the package is damaged or not for this machine.
        ToolchainError: if the compiler, which builds the kernels for the peaks, is missing.
    """
    from tvm_shufflenet.runtime.checked import check_package
    from tvm_shufflenet.runtime.cpu import check_runs_here
    from tvm_shufflenet.runtime.threads import ThreadRunner, usable_cores

    tvm = load_tvm()
    with closing(check_package(package)) as checked:
        manifest = checked.manifest
        check_runs_here(manifest)
        factory = tvm.runtime.module._ffi_api.ModuleLoadFromFile(checked.copies[0].path, "so")
    board = load_board(LOCAL)
    runner = ThreadRunner(threads, usable_cores(None, manifest.core_mask), tvm.get_global_func)
    try:
        peaks = measure_peaks(board, threads, runner.call)
        costs, times, whole_s = runner.call(lambda: _time(tvm, factory, inferences))
    finally:
        runner.close()
    kernels = tuple(
        KernelTime(cost, median(seconds)) for cost, seconds in zip(costs, times, strict=True)
    )
    tuned = frozenset(short_name(kernel.name) for kernel in manifest.kernels if kernel.record)
    return Profile(manifest.model, threads, kernels, whole_s, peaks, tuned)


def _time(
    tvm: Any, factory: Any, inferences: int
) -> tuple[tuple[KernelCost, ...], list[Sequence[float]], float]:
    device = tvm.cpu()
    try:
        debugged = factory["debug_create"]("default", device)
        whole = factory["default"](device)
        costs = kernel_costs(factory["get_graph_json"]())
    except (AttributeError, tvm.TVMError) as error:
        raise PackageError(f"the package's library cannot be profiled: {error}") from error
    for graph in (debugged, whole):
        _fill_input(tvm, graph)
    times: list[list[float]] = [[] for _ in costs]
    whole_times = []
    execute, run = debugged["execute_node"], whole["run"]
    for _ in range(_WARMUP + inferences):
        start = time.perf_counter()
        run()
        whole_times.append(time.perf_counter() - start)
        for cost, seconds in zip(costs, times, strict=True):
            start = time.perf_counter()
            execute(cost.node)
            seconds.append(time.perf_counter() - start)
    kept: list[Sequence[float]] = [seconds[_WARMUP:] for seconds in times]
    return costs, kept, median(whole_times[_WARMUP:])


def _fill_input(tvm: Any, graph: Any) -> None:
    import numpy as np

    shape = tuple(graph["get_input"]("input").shape)
    noise = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    graph["set_input"]("input", tvm.nd.array(noise))
