"""The books of a tuning run: records and verdicts on the disk, and what they say of each task."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tvm_shufflenet.tuning import records, verdicts
from tvm_shufflenet.tuning.budget import Account, Budget
from tvm_shufflenet.tuning.events import TaskProgress
from tvm_shufflenet.tuning.options import Shares, TuneResult
from tvm_shufflenet.tuning.records import OK, Log, LogWriter, Record
from tvm_shufflenet.tuning.tasks import Task
from tvm_shufflenet.tuning.verdicts import Verdict, VerdictWriter


@dataclass
class Ledger:
    """Writes everything down before anybody is told of it."""

    path: Path
    tasks: Sequence[Task]
    early_stop: int
    records: list[Record]  # those of earlier runs to begin with
    trials: int = 0  # of this run
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.known = verdicts.load(self.path)
        self._log = LogWriter(self.path)
        self._verdicts = VerdictWriter(self.path)
        self.accounts = {task.workload: Account(task) for task in self.tasks}
        self.budget = Budget(tuple(self.accounts.values()), self.early_stop)
        for record in self.records:
            self._count(record)

    def close(self) -> None:
        """Close the files."""
        self._log.close()
        self._verdicts.close()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.began

    def add(self, record: Record, verdict: Verdict | None) -> str:
        """Write down a trial; return its status."""
        self._log.append(record)
        if verdict is not None:
            self.judge(verdict)
        self.records.append(record)
        self._count(record)
        self.trials += 1
        return verdicts.status(record, self.known)

    def _count(self, record: Record) -> None:
        account = self.accounts.get(record.workload)
        if account is not None:
            account.add(record.cost_s if record.error_no == OK else None)

    def judge(self, verdict: Verdict) -> None:
        """Write down a verdict."""
        self._verdicts.append(verdict)
        self.known[verdict.key] = verdict

    def best(self) -> tuple[Record, ...]:
        """Return the records that would be chosen now."""
        log = Log(self.path, tuple(self.records))
        return tuple(verdicts.best(log, self.known).values())

    def of_task(self, task: Task) -> list[Record]:
        """Return the records of one task."""
        return records.by_workload(tuple(self.records)).get(task.workload, [])

    def table(self) -> tuple[TaskProgress, ...]:
        """Return where each task stands."""
        total = sum(self._loss_s(account) for account in self.budget.accounts) or 1.0
        return tuple(
            TaskProgress(
                name=account.task.name,
                title=account.task.title,
                weight=account.task.weight,
                trials=account.trials,
                best_s=account.best_s if math.isfinite(account.best_s) else None,
                gflops=account.task.flops / account.best_s / 1e9
                if math.isfinite(account.best_s)
                else None,
                share=self._loss_s(account) / total,
                done=self.budget.done(account),
            )
            for account in self.budget.accounts
        )

    def _loss_s(self, account: Account) -> float:
        """Return the seconds an inference spends in a task, if it is its operator's best."""
        best = self.budget.site_best_s(account.task.site)
        used = math.isfinite(account.best_s) and account.best_s == best
        return account.task.weight * best if used else 0.0

    def result(
        self,
        warnings: Sequence[str],
        shares: Shares,
        before_s: float | None,
        after_s: float | None,
    ) -> TuneResult:
        """Return what the run found; the tasks' times are those of the records that stay."""
        log = Log(self.path, tuple(self.records))
        counts = verdicts.tally(log.records, self.known)
        found = records.by_workload(log.records)
        groups = {task.workload: found.get(task.workload, []) for task in self.tasks}
        fastest = {name: verdicts.fastest(group, self.known) for name, group in groups.items()}
        served = {task.site for task in self.tasks if fastest[task.workload] is not None}
        for workload, account in self.accounts.items():
            record = fastest[workload]
            account.best_s = verdicts.cost_s(record, self.known) if record else math.inf
        return TuneResult(
            log=self.path,
            tasks=self.table(),
            trials=self.trials,
            measured=len(log.records),
            wrong=counts[verdicts.WRONG],
            failed=counts[verdicts.FAILED],
            defaults=tuple(
                task.name
                for task in self.tasks
                if verdicts.default_is_best(groups[task.workload], self.known)
            ),
            untuned=tuple(task.name for task in self.tasks if task.site not in served),
            estimate_s=self.budget.estimate_s(),
            before_s=before_s,
            after_s=after_s,
            warnings=tuple(warnings),
            shares=shares,
        )
