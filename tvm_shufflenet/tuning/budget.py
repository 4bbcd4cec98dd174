"""Which task gets the next trials: the one whose expected gain for the network is largest.

After Ansor's task scheduler (Zheng et al., OSDI 2020, Sec. 6): the gain of a task is its number of
calls times what it won lately, mixed with what it could still win.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from tvm_shufflenet.tuning.tasks import Task

_WINDOW = 3  # batches looked back upon
_PAST = 0.2  # weight of what was won lately; the rest is what could still be won
_PEERS = 2.0  # a task may hope to reach the rate of its kind, that is worth this much


@dataclass
class Account:
    """What was spent on a task and what came of it."""

    task: Task
    trials: int = 0
    best_s: float = math.inf
    since_best: int = 0  # trials since the best was found
    exhausted: bool = False
    _history: list[tuple[int, float]] = field(default_factory=list)  # trials, best, batch by batch

    def add(self, cost_s: float | None) -> None:
        """Count one trial; `cost_s` is None if it gave no right answer."""
        self.trials += 1
        self.since_best += 1
        if cost_s is not None and cost_s < self.best_s:
            self.best_s, self.since_best = cost_s, 0

    def close_batch(self) -> None:
        """Note where the task stands after a batch."""
        self._history.append((self.trials, self.best_s))

    def lately_s(self) -> float:
        """Return the seconds won a trial over the last batches."""
        known = [(trials, best) for trials, best in self._history if math.isfinite(best)]
        if len(known) < 2:
            return 0.0
        (before, slow), (after, fast) = known[max(0, len(known) - 1 - _WINDOW)], known[-1]
        return (slow - fast) / max(1, after - before)


@dataclass
class Budget:
    """Deals out batches of trials."""

    accounts: Sequence[Account]
    early_stop: int

    def done(self, account: Account) -> bool:
        """Whether a task gets no more trials."""
        return account.exhausted or account.since_best >= self.early_stop

    def next(self) -> Account | None:
        """Return the task to spend the next batch on; None if all are done."""
        open_ones = [account for account in self.accounts if not self.done(account)]
        fresh = [account for account in open_ones if not account.trials]
        if fresh:  # most work first
            return fresh[0]
        return max(open_ones, key=self.gain_s, default=None)

    def gain_s(self, account: Account) -> float:
        """Return the seconds an inference is expected to win by one more trial of the task."""
        rival = self.site_best_s(account.task.site)
        if not math.isfinite(account.best_s):
            # Nothing of it runs yet: as urgent as an untried task, less so the longer it fails.
            known = [other.best_s for other in self.accounts if math.isfinite(other.best_s)]
            return account.task.weight * max(known, default=1.0) / account.trials
        optimism = account.best_s / account.trials
        reachable = max(0.0, account.best_s - self._at_peers_rate_s(account))
        future = min(optimism, max(_PEERS * reachable / account.trials, 0.1 * optimism))
        gain = _PAST * account.lately_s() + (1 - _PAST) * future
        # Of several templates for one operator only the fastest counts.
        return account.task.weight * gain * (rival / account.best_s) ** 2

    def _at_peers_rate_s(self, account: Account) -> float:
        operator = account.task.title.split()[0]
        rates = [
            other.task.flops / other.best_s
            for other in self.accounts
            if other.task.title.split()[0] == operator and math.isfinite(other.best_s)
        ]
        fastest = max(rates, default=0.0)
        return account.task.flops / fastest if fastest else account.best_s

    def site_best_s(self, site: str) -> float:
        """Return the best time of any template for the operator at `site`."""
        return min(account.best_s for account in self.accounts if account.task.site == site)

    def estimate_s(self) -> float | None:
        """Return the time of one inference in the tuned operators; None while some have none."""
        sites = {account.task.site: account.task.weight for account in self.accounts}
        total = sum(weight * self.site_best_s(site) for site, weight in sites.items())
        return total if math.isfinite(total) else None
