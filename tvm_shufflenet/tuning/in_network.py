"""Settling inside the network: a record must beat the default where its kernel will stand.

The network is built without a log and with the finalists of each task, and both run on the board
in turns, kernel by kernel. What is faster alone and slower there is not chosen.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tvm_shufflenet.errors import BoardUnreachable
from tvm_shufflenet.tuning.calls import Calls
from tvm_shufflenet.tuning.choose import QUIET_IT, UNSTABLE
from tvm_shufflenet.tuning.events import Observer, Settling, Warned
from tvm_shufflenet.tuning.kernel_times import KernelTimes
from tvm_shufflenet.tuning.merge import write_chosen
from tvm_shufflenet.tuning.records import Record
from tvm_shufflenet.tuning.tasks import BuildNetwork
from tvm_shufflenet.tuning.verdicts import Verdict
from tvm_shufflenet.tuning.work import Clock

_TURNS = 5  # times the whole network is measured without and with its log


@dataclass
class WholeNetwork:
    """A network that is built and run on the board as a whole."""

    build: BuildNetwork
    calls: Calls
    clock: Clock
    scratch: Path
    observer: Observer
    _warned: bool = False
    _built: dict[Path | None, tuple[Path, Mapping[str, str]]] = field(default_factory=dict)

    def settle(
        self,
        finalists: Sequence[Sequence[Record]],
        known: Mapping[str, Verdict],
        keep: Callable[[Verdict], None],
        out_of_time: Callable[[], bool],
    ) -> None:
        """Time the finalists of each task, fastest first, inside the network; keep the verdicts.

        The fastest of all tasks are timed together, then the second ones, and so on while there
        is time. What cannot be timed there stays as it was measured alone, with a warning.
        """
        for rank in range(max(map(len, finalists), default=0)):
            if rank and out_of_time():
                return
            rivals = {some[rank].key: some[rank] for some in finalists if len(some) > rank}
            self.observer(Settling(rank=rank + 1, kernels=len(rivals)))
            log = self.scratch / f"finalists{rank}.json"
            write_chosen(log, rivals.values(), known)
            try:
                ratios = self._ratios(log)
            except BoardUnreachable as error:
                self.observer(
                    Warned(
                        message=f"kernels could not be timed inside the network ({error}); "
                        "they are chosen as they were measured one by one"
                    )
                )
                return
            for key, ratio in ratios.items():
                keep(replace(known[key], in_network=ratio))

    def _ratios(self, log: Path) -> dict[str, float]:
        """Return the time of each record's kernels over that of the defaults.

        Both networks are loaded twice, each first once: where its weights happen to lie is worth
        some percent to a kernel that reads many of them. The worse ratio counts, so that luck
        does not make a record look faster than the default.
        """
        (default, _), (rival, served) = self._library(None), self._library(log)
        began = time.monotonic()
        before, after = self.calls.kernel_times(default, rival)
        after_again, before_again = self.calls.kernel_times(rival, default)
        self.clock.measure += time.monotonic() - began
        if before.names != after.names:
            raise BoardUnreachable("with the records it consists of other kernels")
        self._warn_if_unstable([before, before_again])
        first = _ratios(before, after, served)
        second = _ratios(before_again, after_again, served)
        return {key: max(first[key], second[key]) for key in first}

    def _warn_if_unstable(self, runs: Sequence[KernelTimes]) -> None:
        spread = max(run.spread for run in runs)
        if spread > UNSTABLE and not self._warned:
            self._warned = True
            self.observer(
                Warned(message=f"times of the untuned network spread by {spread:.0%}; {QUIET_IT}")
            )

    def latencies_s(self, log: Path) -> tuple[float, float]:
        """Return the measured cost of the network without and with `log`, in turns.

        Raises:
            BoardUnreachable: if the board is lost meanwhile.
        """
        libraries = [self._library(applied)[0] for applied in (None, log)]
        costs: list[list[float]] = [[] for _ in libraries]
        # Counted instructions are the same every time.
        for _ in range(_TURNS if self.calls.board.measure.unit == "seconds" else 1):
            for library, found in zip(libraries, costs, strict=True):
                found.append(self.calls.network_s(library))
        before_s, after_s = map(statistics.median, costs)
        return before_s, after_s

    def _library(self, log: Path | None) -> tuple[Path, Mapping[str, str]]:
        """Build the network with `log`, once; return its library and which records serve it."""
        if log not in self._built:
            began = time.monotonic()
            library = self.scratch / f"network{len(self._built)}.so"
            self._built[log] = library, self.build(log, library)
            self.clock.build += time.monotonic() - began
        return self._built[log]


def _ratios(before: KernelTimes, after: KernelTimes, served: Mapping[str, str]) -> dict[str, float]:
    default_s, rival_s = _by_record(before, served), _by_record(after, served)
    return {key: rival_s[key] / default_s[key] for key in default_s}


def _by_record(run: KernelTimes, served: Mapping[str, str]) -> dict[str, float]:
    """Sum the times of the kernels that each record serves."""
    totals: dict[str, float] = {}
    for name, seconds in zip(run.names, run.seconds, strict=True):
        if name in served:
            totals[served[name]] = totals.get(served[name], 0.0) + seconds
    return totals
