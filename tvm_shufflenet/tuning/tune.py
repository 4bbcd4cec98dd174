"""A tuning run, from tasks to chosen records."""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tvm_shufflenet import linking
from tvm_shufflenet.boards import LOCAL
from tvm_shufflenet.errors import RecordError
from tvm_shufflenet.rpc.session import Link, check_version, link_to, wait_for
from tvm_shufflenet.tuning import choose, meta, records, verdicts
from tvm_shufflenet.tuning.budget import Account, Budget
from tvm_shufflenet.tuning.embedded import Embedded
from tvm_shufflenet.tuning.events import (
    Choosing,
    Event,
    Observer,
    Progress,
    Started,
    TaskProgress,
    Trial,
    Warned,
    ignore,
)
from tvm_shufflenet.tuning.options import DEFAULT_TRIALS, Shares, TuneOptions, TuneResult
from tvm_shufflenet.tuning.pool import Pool
from tvm_shufflenet.tuning.records import ANSOR, AUTOTVM, OK, Candidate, Log, LogWriter, Record
from tvm_shufflenet.tuning.search import AnsorSearch, ConfigSearch, Search
from tvm_shufflenet.tuning.station import Outcome, Station, Subject
from tvm_shufflenet.tuning.strategies import Knowledge
from tvm_shufflenet.tuning.tasks import Network, Task, extract, select
from tvm_shufflenet.tuning.verdicts import VERIFIED, Verdict, VerdictWriter

_BATCH = 12
_ANSOR_ROUND = (8, 32)  # smallest and largest round; a round costs seconds of search
_CHOOSING_SHARE = 0.1  # of a time budget, kept for the finalists


def tune(network: Network, options: TuneOptions, observer: Observer = ignore) -> TuneResult:
    """Tune `network` and leave the verified records in ``options.log``.

    Raises:
        InputError: for unknown tasks, a foreign or damaged log, or one that is there already.
        BoardUnreachable: if the board cannot be reached or stays away; the log is resumable.
    """
    tasks = select(extract(network, options.tuner, options.templates), options.tasks)
    old = _existing(network, options)
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tvm-shufflenet-")))
        link, embedded = _reach(network, options, scratch, stack)
        linker = linking.linker(network.board)
        linker.warm_up()
        station = Station(
            board=network.board,
            link=link,
            linker=linker,
            scratch=scratch,
            observer=observer,
            threads=options.threads or network.board.run.threads,
            builders=options.builders or _cores(),
            servers=wait_for(link, network.board.rpc.connect_timeout_s),
            build_limit_s=options.build_limit_s,
            patience_s=options.patience_s,
            seed=options.seed,
            modules=options.templates,
            revive=embedded.revive if embedded else None,
        )
        stack.callback(station.close)
        machine = station.probe(network.board.rpc.connect_timeout_s)
        check_version(machine, link)
        run = _Run(network, options, observer, tasks, station, scratch, old, machine)
        stack.callback(run.close)
        return run.go()


def _cores() -> int:
    import psutil

    return psutil.cpu_count(logical=False) or 1


def _existing(network: Network, options: TuneOptions) -> Log:
    """Read the log to resume, and refuse to overwrite one."""
    if not options.log.exists():
        return Log(options.log, ())
    log = records.read(options.log, network.board)
    if log.records and not options.resume:
        raise RecordError(
            f"{options.log} has {len(log.records)} records already; go on with --resume, "
            "or give another --log"
        )
    if log.records and log.tuner != options.tuner:
        raise RecordError(
            f"{options.log} was written by {log.tuner}; give another --log for {options.tuner}"
        )
    return log


def _reach(
    network: Network, options: TuneOptions, scratch: Path, stack: contextlib.ExitStack
) -> tuple[Link, Embedded | None]:
    if network.board.name == LOCAL and not (options.tracker or options.host):
        embedded = Embedded(
            options.key or network.board.rpc.key,
            count=options.servers,
            log=scratch / "services.log",
        )
        return stack.enter_context(embedded).link, embedded
    return link_to(network.board, tracker=options.tracker, host=options.host, key=options.key), None


@dataclass
class _Run:
    network: Network
    options: TuneOptions
    outside: Observer
    tasks: tuple[Task, ...]
    station: Station
    scratch: Path
    old: Log
    machine: dict[str, Any]
    began: float = field(default_factory=time.monotonic)
    trials: int = 0
    warnings: list[str] = field(default_factory=list)
    search_s: float = 0.0
    choose_s: float = 0.0

    def __post_init__(self) -> None:
        self.station.observer = self.observe
        if self.old.skipped:
            self.observe(Warned(message=self.old.skipped))
        self.known = verdicts.load(self.options.log)
        self.meta = meta.load(self.options.log)
        self.station.strikes.update(self.meta.get("suspects", {}))
        self.log = LogWriter(self.options.log)
        self.verdicts = VerdictWriter(self.options.log)
        self.records = list(self.old.records)
        self.accounts = {task.workload: Account(task) for task in self.tasks}
        self.budget = Budget(tuple(self.accounts.values()), self.options.early_stop)
        self.searcher = Pool(1, self.options.templates, self.scratch / "workers.log")
        registry = {task.workload: _registry(task) for task in self.tasks if task.tuner == ANSOR}
        self.subjects = {task.workload: _subject(task, registry) for task in self.tasks}
        self.searches = self._searches(registry)
        self._replay()

    def close(self) -> None:
        self.searcher.close()
        self.log.close()
        self.verdicts.close()
        self._save_meta()

    def observe(self, event: Event) -> None:
        if isinstance(event, Warned):
            self.warnings.append(event.message)
        self.outside(event)

    def _save_meta(self) -> None:
        suspects = {key: count for key, count in self.station.strikes.items() if count}
        content = meta.describe(
            self.network.name,
            self.network.board,
            str(self.network.target),
            self.options,
            self.machine,
        )
        meta.save(self.options.log, {**content, "suspects": suspects})

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
                shared.setdefault(f"{template} {len(task.workload.split(','))}", Knowledge()),
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

    def _replay(self) -> None:
        """Take in the records of earlier runs as if they had just been measured."""
        for record in self.old.records:
            self._learn(record, count=False)

    def _learn(self, record: Record, *, count: bool = True) -> None:
        account = self.accounts.get(record.workload)
        if account is None:
            return
        right = record.error_no == OK
        account.add(record.cost_s if right else None)
        if right:
            subject = self.subjects[record.workload]
            subject.best_s = min(subject.best_s, record.cost_s)
        self.searches[record.workload].learn(record)
        for workload, search in self.searches.items():
            if workload != record.workload and isinstance(search, AnsorSearch):
                search.learn_of_others(record)
        self.trials += count

    def go(self) -> TuneResult:
        self._save_meta()
        self.observe(self._started())
        while (account := self.budget.next()) is not None:
            size = self._batch_size()
            if size <= 0:
                break
            self._batch(account, size)
        self._choose()
        self._save_meta()
        return self._result()

    def _started(self) -> Started:
        return Started(
            network=self.network.name,
            board=self.network.board.name,
            tuner=self.options.tuner,
            tasks=len(self.tasks),
            trials=self._trial_budget,
            time_s=self.options.time_s,
            resumed=len(self.old.records),
            servers=self.station.servers,
        )

    @property
    def _trial_budget(self) -> int | None:
        if self.options.trials is None and self.options.time_s is None:
            return DEFAULT_TRIALS
        return self.options.trials

    def _batch_size(self) -> int:
        """Return how many trials come next; 0 if the budget is spent."""
        time_s = self.options.time_s or math.inf
        if self._elapsed() >= time_s * (1 - _CHOOSING_SHARE):
            return 0
        size = _BATCH * self.station.servers
        budget = self._trial_budget
        if self.options.tuner == ANSOR:
            per_task = (budget or DEFAULT_TRIALS) // (3 * len(self.tasks))
            size = min(max(per_task, _ANSOR_ROUND[0]), _ANSOR_ROUND[1])
        return size if budget is None else min(size, budget - self.trials)

    def _elapsed(self) -> float:
        return time.monotonic() - self.began

    def _batch(self, account: Account, size: int) -> None:
        workload = account.task.workload
        search, subject = self.searches[workload], self.subjects[workload]
        began = time.monotonic()
        candidates = search.propose(size)
        self.search_s += time.monotonic() - began
        account.exhausted = not candidates
        pairs: list[tuple[Candidate, Subject]] = [(candidate, subject) for candidate in candidates]
        for outcome in self.station.measure(pairs):
            self._keep(account.task, outcome)
        account.close_batch()
        account.exhausted = account.exhausted or search.exhausted
        self.observe(self._progress())

    def _keep(self, task: Task, outcome: Outcome) -> None:
        """Write an outcome down before anybody is told of it."""
        record = outcome.record
        self.log.append(record)
        if outcome.verdict is not None:
            self._judge(outcome.verdict)
        self.records.append(record)
        self._learn(record)
        self.observe(
            Trial(
                task=task.name,
                key=record.key,
                status=verdicts.status(record, self.known),
                cost_s=record.cost_s if record.error_no == OK else None,
                message=outcome.message,
            )
        )

    def _judge(self, verdict: Verdict) -> None:
        self.verdicts.append(verdict)
        self.known[verdict.key] = verdict

    def _choose(self) -> None:
        """Re-measure and verify the fastest candidates of each task."""
        began = time.monotonic()
        groups = records.by_workload(tuple(self.records))
        for task in self.tasks:
            rivals = choose.finalists(
                groups.get(task.workload, []), self.known, self.options.finalists
            )
            while rivals:
                self.observe(Choosing(task=task.name, candidates=len(rivals)))
                subject = self.subjects[task.workload]
                choose.settle(self.station, subject, rivals, self.known, self._judge)
                if any(verdicts.status(r, self.known) == VERIFIED for r in rivals):
                    break
                rivals = choose.finalists(groups[task.workload], self.known, self.options.finalists)
        self.choose_s = time.monotonic() - began

    def _progress(self) -> Progress:
        elapsed = self._elapsed()
        budget = self._trial_budget
        left = None
        if self.options.time_s is not None:
            left = max(0.0, self.options.time_s - elapsed)
        elif budget is not None and self.trials:
            left = elapsed / self.trials * max(0, budget - self.trials)
        return Progress(
            tasks=self._table(),
            trials=self.trials,
            elapsed_s=elapsed,
            left_s=left,
            estimate_s=self.budget.estimate_s(),
        )

    def _table(self) -> tuple[TaskProgress, ...]:
        total = sum(self._loss(account) for account in self.budget.accounts) or 1.0
        rows = []
        for account in self.budget.accounts:
            known = math.isfinite(account.best_s)
            task = account.task
            rows.append(
                TaskProgress(
                    name=task.name,
                    title=task.title,
                    weight=task.weight,
                    trials=account.trials,
                    best_s=account.best_s if known else None,
                    gflops=task.flops / account.best_s / 1e9 if known else None,
                    share=self._loss(account) / total,
                    done=self.budget.done(account),
                )
            )
        return tuple(rows)

    def _loss(self, account: Account) -> float:
        """Return the seconds an inference spends in a task, if it is the operator's best."""
        best = self.budget.site_best_s(account.task.site)
        used = math.isfinite(account.best_s) and account.best_s == best
        return account.task.weight * best if used else 0.0

    def _result(self) -> TuneResult:
        log = Log(self.options.log, tuple(self.records))
        best = verdicts.best(log, self.known)
        served = {task.site for task in self.tasks if task.workload in best}
        counts = verdicts.tally(log.records, self.known)
        for workload, account in self.accounts.items():
            chosen = best.get(workload)
            account.best_s = verdicts.cost_s(chosen, self.known) if chosen else math.inf
        clock = self.station.clock
        return TuneResult(
            log=self.options.log,
            tasks=self._table(),
            trials=self.trials,
            measured=len(log.records),
            wrong=counts[verdicts.WRONG],
            failed=counts[verdicts.FAILED],
            untuned=tuple(task.name for task in self.tasks if task.site not in served),
            estimate_s=self.budget.estimate_s(),
            warnings=tuple(self.warnings),
            shares=Shares(
                search=self.search_s,
                build=clock.build,
                measure=clock.measure,
                choose=self.choose_s,
                wait=clock.wait,
                total=self._elapsed(),
            ),
        )


def _registry(task: Task) -> Any:
    from tvm.auto_scheduler.workload_registry import serialize_workload_registry_entry

    return serialize_workload_registry_entry(task.workload)


def _subject(task: Task, registry: dict[str, Any]) -> Subject:
    if task.tuner == AUTOTVM:
        config = task.handle.config_space.get(_first_valid(task.handle.config_space))
    else:
        config = task.handle.compute_dag.init_state
    return Subject(
        name=task.name,
        tuner=task.tuner,
        flops=task.flops,
        example=task.candidate(config),
        registry=registry.get(task.workload),
    )


def _first_valid(space: Any) -> int:
    return next(index for index in range(space.range_length) if space.is_index_valid(index))
