"""Settling inside the network: a record must beat the default where its kernel will stand.

The network is built without a log and with candidates, and both run on the board in turns, kernel
by kernel. First the finalists of the tasks, rank by rank; then what was chosen of them, together: a
kernel may be fast at the expense of the one after it, which finds less in the caches.
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

_PROOFS = 4  # times that the choice may change when it is timed together
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
    _serial: int = 0
    _built: dict[frozenset[str], tuple[Path, Mapping[str, str]]] = field(default_factory=dict)

    def settle(
        self,
        finalists: Sequence[Sequence[Record]],
        known: Mapping[str, Verdict],
        keep: Callable[[Verdict], None],
        best: Callable[[], Sequence[Record]],
        out_of_time: Callable[[], bool],
    ) -> None:
        """Time candidates inside the network, and keep the verdicts.

        What cannot be timed there stays as it was measured alone, with a warning.

        Args:
            finalists: of each task, fastest first.
            known: the verdicts so far, by record.
            keep: takes in a new one.
            best: what would be chosen now.
            out_of_time: whether to leave it at the fastest of each task.
        """
        try:
            for rank in range(max(map(len, finalists), default=0)):
                if not (rank and out_of_time()):
                    rivals = [some[rank] for some in finalists if len(some) > rank]
                    self.observer(Settling(rank=rank + 1, kernels=len(rivals)))
                    self._judge(rivals, known, keep)
                    self._forget(rivals)  # AlexNet's libraries have 240 MB each
            self._prove(known, keep, best)
        except BoardUnreachable as error:
            self.observer(
                Warned(
                    message=f"kernels could not be timed inside the network ({error}); "
                    "they are chosen as they were measured before"
                )
            )

    def _prove(
        self,
        known: Mapping[str, Verdict],
        keep: Callable[[Verdict], None],
        best: Callable[[], Sequence[Record]],
    ) -> None:
        """Time what is chosen together, until nothing is chosen that was not timed so."""
        proven: set[str] = set()
        for _ in range(_PROOFS):
            chosen = best()
            keys = {record.key for record in chosen}
            if keys <= proven:
                return
            self.observer(Settling(rank=0, kernels=len(chosen)))
            self._judge(chosen, known, keep)
            proven |= keys

    def _judge(
        self,
        rivals: Sequence[Record],
        known: Mapping[str, Verdict],
        keep: Callable[[Verdict], None],
    ) -> None:
        """Compare a network with the rivals to one without, kernel by kernel.

        Both networks are loaded twice, each first once: where its weights happen to lie is worth
        some percent to a kernel that reads many of them. The worse ratio counts, so that luck
        does not make a record look faster than the default.
        """
        (default, _), (rival, served) = self._library((), known), self._library(rivals, known)
        began = time.monotonic()
        before, after = self.calls.kernel_times(default, rival)
        after_again, before_again = self.calls.kernel_times(rival, default)
        self.clock.measure += time.monotonic() - began
        if before.names != after.names:
            raise BoardUnreachable("with the records it consists of other kernels")
        self._warn_if_unstable([before, before_again])
        first = ratios(before, after, served)
        second = ratios(before_again, after_again, served)
        for key in first:
            keep(replace(known[key], in_network=max(first[key], second[key])))

    def _warn_if_unstable(self, runs: Sequence[KernelTimes]) -> None:
        spread = max(run.spread for run in runs)
        if spread > UNSTABLE and not self._warned:
            self._warned = True
            self.observer(
                Warned(message=f"times of the untuned network spread by {spread:.0%}; {QUIET_IT}")
            )

    def latencies_s(
        self, chosen: Sequence[Record], known: Mapping[str, Verdict]
    ) -> tuple[float, float]:
        """Return the measured cost of the network without and with its records, in turns.

        Raises:
            BoardUnreachable: if the board is lost meanwhile.
        """
        libraries = [self._library(applied, known)[0] for applied in ((), chosen)]
        costs: list[list[float]] = [[] for _ in libraries]
        # Counted instructions are the same every time.
        for _ in range(_TURNS if self.calls.board.measure.unit == "seconds" else 1):
            for library, found in zip(libraries, costs, strict=True):
                found.append(self.calls.network_s(library))
        before_s, after_s = map(statistics.median, costs)
        return before_s, after_s

    def _library(
        self, applied: Sequence[Record], known: Mapping[str, Verdict]
    ) -> tuple[Path, Mapping[str, str]]:
        """Build the network with records, once; return its library and which serves what."""
        keys = frozenset(record.key for record in applied)
        if keys not in self._built:
            began = time.monotonic()
            self._serial += 1
            name = f"network{self._serial}"
            log = self.scratch / f"{name}.json" if applied else None
            if log is not None:
                # Without the ratios so far, by which a build would leave some of them out.
                alone = {key: replace(known[key], in_network=None) for key in keys}
                write_chosen(log, applied, alone)
            library = self.scratch / f"{name}.so"
            self._built[keys] = library, self.build(log, library)
            self.clock.build += time.monotonic() - began
        return self._built[keys]

    def _forget(self, applied: Sequence[Record]) -> None:
        library, _ = self._built.pop(frozenset(record.key for record in applied))
        library.unlink()


def ratios(before: KernelTimes, after: KernelTimes, served: Mapping[str, str]) -> dict[str, float]:
    """Return, for each record, the time of its kernels over that of the defaults.

    To a record's kernels belong those that come right after one of them and are the same in both
    networks: what they lose was lost by the record.
    """
    totals: dict[str, list[float]] = {}
    record = None
    for name, before_s, after_s in zip(before.names, before.seconds, after.seconds, strict=True):
        previous, record = record, served.get(name)
        answerable = record or previous
        if answerable is not None:
            total = totals.setdefault(answerable, [0.0, 0.0])
            total[0] += before_s
            total[1] += after_s
    return {key: after_s / before_s for key, (before_s, after_s) in totals.items()}
