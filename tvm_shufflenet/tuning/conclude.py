"""The end of a tuning run: which record of each task is the best, and what the network won."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tvm_shufflenet.tuning import choose, verdicts
from tvm_shufflenet.tuning.events import Choosing, Observer, Warned
from tvm_shufflenet.tuning.in_network import WholeNetwork
from tvm_shufflenet.tuning.ledger import Ledger
from tvm_shufflenet.tuning.options import TuneOptions
from tvm_shufflenet.tuning.records import AUTOTVM, Record
from tvm_shufflenet.tuning.station import Station
from tvm_shufflenet.tuning.tasks import Network, Task
from tvm_shufflenet.tuning.verdicts import VERIFIED
from tvm_shufflenet.tuning.work import Subject

_NEGLIGIBLE = 0.01  # tasks with a smaller share of the network's time are not measured again

_SETTLED_BY = 1.5  # times what the run took so far: few trials are not worth many builds
_WORSE = 1.02  # times the untuned network's time that cannot be noise alone


@dataclass
class Conclusion:
    """What there is to settle when the budget is spent."""

    network: Network
    options: TuneOptions
    tasks: Sequence[Task]
    station: Station
    ledger: Ledger
    subjects: Mapping[str, Subject]  # by workload
    scratch: Path
    observer: Observer

    def __post_init__(self) -> None:
        self._whole: WholeNetwork | None = None
        # Counts of instructions are the same every time, and everywhere.
        self._noisy = self.network.board.measure.unit == "seconds"
        if self.network.build is not None:
            calls, clock = self.station.calls, self.station.clock
            self._whole = WholeNetwork(
                self.network.build, calls, clock, self.scratch, self.observer
            )

    def choose(self) -> float:
        """Settle on the best record of each task: right, and faster than its rivals.

        Where the network can be run as a whole, rivals are compared inside it; else one by one.

        Returns:
            The seconds that it took.

        Raises:
            BoardUnreachable: if the board stays away.
        """
        began = time.monotonic()
        # Ansor's build takes other weights all over the network.
        inside = self._whole if self._noisy and self.options.tuner == AUTOTVM else None
        shares = {row.name: row.share for row in self.ledger.table()}
        finalists: list[Sequence[Record]] = []
        for task in self.tasks:
            worth_it = self._noisy and shares[task.name] >= _NEGLIGIBLE
            count = self.options.finalists if worth_it else 1
            finalists.append(self._right_ones(task, count, one_by_one=inside is None))
        if inside is not None:
            until_s = min(self.options.time_s or math.inf, _SETTLED_BY * self.ledger.elapsed_s)
            inside.settle(
                finalists,
                self.ledger.known,
                self.ledger.judge,
                best=self.ledger.best,
                out_of_time=lambda: self.ledger.elapsed_s >= until_s,
            )
        return time.monotonic() - began

    def _right_ones(self, task: Task, count: int, *, one_by_one: bool) -> Sequence[Record]:
        """Return the verified ones of the `count` fastest; if none is, of the next ones."""
        subject, known = self.subjects[task.workload], self.ledger.known
        while rivals := choose.finalists(self.ledger.of_task(task), known, count):
            if one_by_one:
                self.observer(Choosing(task=task.name, candidates=len(rivals)))
                choose.settle(self.station, subject, rivals, known, self.ledger.judge)
            else:
                choose.check(self.station, subject, rivals, known, self.ledger.judge)
            right = [r for r in rivals if verdicts.status(r, known) == VERIFIED]
            if right:
                return right
        return ()

    def latencies_s(self) -> tuple[float | None, float | None]:
        """Return the cost of an inference without and with the log; None if it cannot be built.

        Raises:
            BoardUnreachable: if the board is lost meanwhile.
        """
        if self._whole is None:
            return None, None
        before_s, after_s = self._whole.latencies_s(self.ledger.best(), self.ledger.known)
        if after_s > _WORSE * before_s:
            self.observer(
                Warned(
                    message=f"with this log the network is {after_s / before_s:.2f} times as slow "
                    "as without: kernels that are fast one by one need not be so together; go on "
                    "with --resume, or compile with --untuned"
                )
            )
        return before_s, after_s
