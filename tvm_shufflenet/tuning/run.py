"""The loop of a tuning run: propose, measure, write down, and conclude."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tvm_shufflenet.tuning import meta, records, verdicts
from tvm_shufflenet.tuning.budget import Account
from tvm_shufflenet.tuning.conclude import Conclusion
from tvm_shufflenet.tuning.events import (
    Event,
    Observer,
    Progress,
    Started,
    Trial,
    Warned,
)
from tvm_shufflenet.tuning.ledger import Ledger
from tvm_shufflenet.tuning.options import DEFAULT_TRIALS, Shares, TuneOptions, TuneResult
from tvm_shufflenet.tuning.pool import Pool
from tvm_shufflenet.tuning.records import ANSOR, AUTOTVM, OK, Candidate, Log, Record
from tvm_shufflenet.tuning.search import AnsorSearch, ConfigSearch, Search
from tvm_shufflenet.tuning.station import Station
from tvm_shufflenet.tuning.strategies import Knowledge
from tvm_shufflenet.tuning.tasks import Network, Task, registry_entry
from tvm_shufflenet.tuning.work import Outcome, Subject

_BATCH = 12
_ANSOR_ROUND = (8, 32)  # smallest and largest round; each costs seconds of search
_CHOOSING_SHARE = 0.25  # of a time budget, kept for settling on the best
_COMPARED_BYTES = 16e6  # with more input than this, only finalists are compared on a remote board


@dataclass
class Run:
    """One tuning run; `close` it in any case."""

    network: Network
    options: TuneOptions
    outside: Observer
    tasks: tuple[Task, ...]
    station: Station
    scratch: Path
    old: Log
    machine: dict[str, Any]  # what the board says of itself
    warnings: list[str] = field(default_factory=list)
    search_s: float = 0.0

    def __post_init__(self) -> None:
        self.station.observer = self.observe
        if self.old.skipped:
            self.observe(Warned(message=self.old.skipped))
        self.ledger = Ledger(
            self.options.log, self.tasks, self.options.early_stop, list(self.old.records)
        )
        self.station.strikes.update(meta.load(self.options.log).get("suspects", {}))
        self.searcher = Pool(1, self.options.templates, self.scratch / "workers.log")
        registry = {
            task.workload: registry_entry(task) for task in self.tasks if task.tuner == ANSOR
        }
        self.subjects = {task.workload: self._subject(task, registry) for task in self.tasks}
        self.searches = self._searches(registry)
        for record in self.old.records:
            self._learn(record)

    def close(self) -> None:
        """End the search process, close the log and write down the circumstances."""
        self.searcher.close()
        self.ledger.close()
        self._save_meta()

    def observe(self, event: Event) -> None:
        """Pass an event on, and keep what was warned of for the result."""
        if isinstance(event, Warned):
            self.warnings.append(event.message)
        self.outside(event)

    def go(self) -> TuneResult:
        """Spend the budget, settle on the best, and report.

        Raises:
            BoardUnreachable: if the board stays away.
        """
        self._save_meta()
        self._announce()
        while (account := self.ledger.budget.next()) is not None:
            size = self._batch_size()
            if size <= 0:
                break
            self._batch(account, size)
        conclusion = Conclusion(
            self.network,
            self.options,
            self.tasks,
            self.station,
            self.ledger,
            self.subjects,
            self.scratch,
            self.observe,
        )
        choose_s = conclusion.choose()
        clock = self.station.clock
        shares = Shares(
            search=self.search_s,
            build=clock.build,
            measure=clock.measure,
            choose=choose_s,
            wait=clock.wait,
            total=self.ledger.elapsed_s,
        )
        before_s, after_s = conclusion.latencies_s()
        return self.ledger.result(self.warnings, shares, before_s, after_s)

    def _announce(self) -> None:
        self.observe(
            Started(
                network=self.network.name,
                board=self.network.board.name,
                tuner=self.options.tuner,
                tasks=len(self.tasks),
                trials=self._trial_budget,
                time_s=self.options.time_s,
                resumed=len(self.old.records),
                servers=self.station.servers,
                unit=self.network.board.measure.unit,
            )
        )

    def _save_meta(self) -> None:
        content = meta.describe(
            self.network.name,
            self.network.board,
            str(self.network.target),
            self.options,
            self.machine,
        )
        suspects = {key: count for key, count in self.station.strikes.items() if count}
        meta.save(self.options.log, {**content, "suspects": suspects})

    def _subject(self, task: Task, registry: dict[str, Any]) -> Subject:
        if task.tuner == ANSOR:
            state = task.handle.compute_dag.init_state
            entry = registry[task.workload]
            return Subject(task.name, task.tuner, task.flops, task.candidate(state), entry)
        space = task.handle.config_space
        valid = next(i for i in range(space.range_length) if space.is_index_valid(i))
        tensors = [part for part in json.loads(task.workload)[1] if _is_tensor(part)]
        size = 4 * sum(math.prod(shape) for _, shape, _ in tensors)
        near = self.station.revive is not None
        return Subject(
            name=task.name,
            tuner=task.tuner,
            flops=task.flops,
            example=task.candidate(space.get(valid)),
            registry=None,
            checked_each=near or size <= _COMPARED_BYTES,
        )

    def _searches(self, registry: dict[str, Any]) -> dict[str, Search]:
        searches: dict[str, Search] = {}
        shared: dict[str, Knowledge] = {}
        earlier = self._earlier()
        for number, task in enumerate(self.tasks):
            if task.tuner == ANSOR:
                searches[task.workload] = AnsorSearch(
                    task, registry, self.searcher, self.scratch, self.observe
                )
                continue
            template = task.handle.name
            search = ConfigSearch(
                task,
                self.options.search,
                shared.setdefault(template, Knowledge()),
                self.options.seed + number,
                self.observe,
            )
            same = [record for record in earlier if record.workload == task.workload]
            kin = [record for record in earlier if record.body["input"][1] == template]
            search.start_from([*same, *kin])
            searches[task.workload] = search
        return searches

    def _earlier(self) -> list[Record]:
        """Return the right records of the logs to transfer from, fastest first."""
        found: list[Record] = []
        for path in self.options.transfer:
            log = records.read(path, self.network.board)
            if log.tuner == self.options.tuner == AUTOTVM:
                found += verdicts.best(log, verdicts.load(path)).values()
            else:
                self.observe(Warned(message=f"{path}: no {AUTOTVM} records to start from"))
        return sorted(found, key=lambda record: record.cost_s)

    def _learn(self, record: Record) -> None:
        subject = self.subjects.get(record.workload)
        if subject is None:
            return
        if record.error_no == OK:
            subject.best_s = min(subject.best_s, record.cost_s)
        self.searches[record.workload].learn(record)
        for workload, search in self.searches.items():
            if workload != record.workload and isinstance(search, AnsorSearch):
                search.learn_of_others(record)

    @property
    def _trial_budget(self) -> int | None:
        if self.options.trials is None and self.options.time_s is None:
            return DEFAULT_TRIALS
        return self.options.trials

    def _batch_size(self) -> int:
        """Return how many trials come next; 0 if the budget is spent."""
        time_s = self.options.time_s or math.inf
        if self.ledger.elapsed_s >= time_s * (1 - _CHOOSING_SHARE):
            return 0
        size = _BATCH * self.station.servers
        budget = self._trial_budget
        if self.options.tuner == ANSOR:
            per_task = (budget or DEFAULT_TRIALS) // (3 * len(self.tasks))
            size = min(max(per_task, _ANSOR_ROUND[0]), _ANSOR_ROUND[1])
        return size if budget is None else min(size, budget - self.ledger.trials)

    def _batch(self, account: Account, size: int) -> None:
        workload = account.task.workload
        search, subject = self.searches[workload], self.subjects[workload]
        began = time.monotonic()
        candidates = search.propose(size)
        self.search_s += time.monotonic() - began
        pairs: list[tuple[Candidate, Subject]] = [(candidate, subject) for candidate in candidates]
        for outcome in self.station.measure(pairs):
            self._keep(account.task, outcome)
        account.close_batch()
        account.exhausted = not candidates or search.exhausted
        self.observe(self._progress())

    def _keep(self, task: Task, outcome: Outcome) -> None:
        record = outcome.record
        status = self.ledger.add(record, outcome.verdict)
        self._learn(record)
        self.observe(
            Trial(
                task=task.name,
                key=record.key,
                status=status,
                cost_s=record.cost_s if record.error_no == OK else None,
                message=outcome.message,
            )
        )

    def _progress(self) -> Progress:
        elapsed = self.ledger.elapsed_s
        budget = self._trial_budget
        left = math.inf
        if budget is not None and self.ledger.trials:
            left = elapsed / self.ledger.trials * max(0, budget - self.ledger.trials)
        if self.options.time_s is not None:
            left = min(left, max(0.0, self.options.time_s - elapsed))
        return Progress(
            tasks=self.ledger.table(),
            trials=self.ledger.trials,
            elapsed_s=elapsed,
            left_s=left if math.isfinite(left) else None,
            estimate_s=self.ledger.budget.estimate_s(),
        )


def _is_tensor(part: Any) -> bool:
    return isinstance(part, list) and part[:1] == ["TENSOR"]
