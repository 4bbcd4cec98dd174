"""Searches: what to measure next of one task. AutoTVM's spaces, and Ansor's in a child process."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tvm_shufflenet.tuning import ansor_round
from tvm_shufflenet.tuning.events import Observer, Warned
from tvm_shufflenet.tuning.pool import DIED, DONE, Job, Pool
from tvm_shufflenet.tuning.records import OK, Candidate, Record
from tvm_shufflenet.tuning.strategies import STRATEGIES, Knowledge, Space
from tvm_shufflenet.tuning.tasks import Task

_SEEDS = 8  # configurations of earlier logs that are tried first
_ROUND_LIMIT_S = 600.0
_ABORTS = 3  # rounds of a task that may abort before it is searched without a cost model


class Search(Protocol):
    """What to measure next of one task."""

    @property
    def exhausted(self) -> bool:
        """Whether there is nothing left to propose."""

    def propose(self, count: int) -> list[Candidate]:
        """Return up to `count` candidates that were not learned of yet."""

    def learn(self, record: Record) -> None:
        """Take in a measured record of this task."""


class ConfigSearch:
    """Search of an AutoTVM config space."""

    def __init__(
        self, task: Task, strategy: str, knowledge: Knowledge, seed: int, observer: Observer
    ) -> None:
        self._task = task
        self._strategy = strategy
        self._observer = observer
        self._space = Space(
            task.handle.config_space,
            json.loads(task.workload)[1],
            np.random.default_rng(seed),
            knowledge,
        )
        # The default comes first: no log is slower than building without one.
        default = self._default()
        self._seeds: list[int] = [] if default is None else [default]

    @property
    def exhausted(self) -> bool:
        """Whether every configuration was measured."""
        return self._space.exhausted

    def start_from(self, records: Sequence[Record]) -> None:
        """Try the configurations of `records`, best first, before anything else."""
        for record in records:
            index = self._index(record.body["config"])
            if index is not None and index not in self._seeds and len(self._seeds) < _SEEDS:
                self._seeds.append(index)

    def propose(self, count: int) -> list[Candidate]:
        """Return up to `count` configurations that were not measured."""
        seeds = [index for index in self._seeds if self._space.unseen(index, ())][:count]
        self._seeds = [index for index in self._seeds if index not in seeds]
        chosen = seeds
        if len(seeds) < count:
            more = [index for index in self._pick(count) if index not in seeds]
            chosen = [*seeds, *more[: count - len(seeds)]]
        entities = (self._space.config_space.get(index) for index in chosen)
        return [self._task.candidate(entity) for entity in entities]

    def _pick(self, count: int) -> list[int]:
        try:
            return STRATEGIES[self._strategy](self._space, count)
        except Exception as error:
            if self._strategy != "xgb":
                raise
            self._observer(
                Warned(
                    message=f"{self._task.name}: the cost model failed ({error}); "
                    "this task goes on with the genetic search"
                )
            )
            self._strategy = "ga"
            return self._pick(count)

    def learn(self, record: Record) -> None:
        """Take in a measured record."""
        self._space.knowledge.add(record)
        index = self._index(record.body["config"])
        if index is not None:
            self._space.measured[index] = record.cost_s if record.error_no == OK else math.inf

    def _default(self) -> int | None:
        """Find what the template does without a record; None if that is not in its space."""
        from tvm.autotvm.task.space import FallbackConfigEntity

        config = FallbackConfigEntity()
        try:
            with self._task.handle.target:
                self._task.handle.instantiate(config)
        except Exception:  # stock templates may raise anything where they have no default
            return None
        chosen = config._entity_map  # a fallback has no JSON form
        return self._at({name: _value(entity) for name, entity in chosen.items()})

    def _index(self, config: dict[str, Any]) -> int | None:
        """Find a recorded configuration in this space; None if the space does not have it."""
        return self._at({name: _without_rest(value) for name, _, value in config["entity"]})

    def _at(self, values: dict[str, Any]) -> int | None:
        """Return the index of the configuration with these values."""
        knobs = []
        space = self._space.config_space
        if values.keys() != space.space_map.keys():
            return None
        for name, axis in space.space_map.items():
            places = [
                place
                for place, entity in enumerate(axis.entities)
                if _value(entity) == values[name]
            ]
            if not places:
                return None
            knobs.append(places[0])
        index = int(space.knob2point(knobs))
        return index if space.is_index_valid(index) else None


def _value(entity: Any) -> Any:
    """Return a knob's value the way records have it."""
    for name in ("size", "perm", "anns", "val"):
        if hasattr(entity, name):
            return _without_rest(json.loads(json.dumps(getattr(entity, name), default=int)))
    return None


def _without_rest(value: Any) -> Any:
    """Drop a split's first factor: -1 for "the rest", in another shape another number."""
    return value[1:] if isinstance(value, list) and value and value[0] == -1 else value


class AnsorSearch:
    """Search of Ansor's generated schedules, one round at a time in a process of its own."""

    def __init__(
        self, task: Task, registry: dict[str, Any], pool: Pool, scratch: Path, observer: Observer
    ) -> None:
        self._task = task
        self._registry = registry  # of all tasks: the cost model learns from all of them
        self._pool = pool
        self._scratch = scratch
        self._observer = observer
        self._records: list[Record] = []
        self._others: list[Record] = []
        self._known: set[str] = set()
        self._round = 0
        self._aborts = 0
        self._empty = 0

    @property
    def exhausted(self) -> bool:
        """Whether two rounds in a row found nothing new."""
        return self._empty >= 2

    def propose(self, count: int) -> list[Candidate]:
        """Return up to `count` schedules that were not measured."""
        while self._aborts <= _ABORTS:
            self._round += 1
            job = Job(ansor_round.FUNCTION, (self._round_job(count),), {"start": _ROUND_LIMIT_S})
            done = self._pool.call(job)
            if done.outcome == DONE:
                found = [Candidate(self._task.tuner, json.loads(line)) for line in done.value]
                new = [candidate for candidate in found if candidate.key not in self._known]
                self._known.update(candidate.key for candidate in new)
                self._empty = 0 if new else self._empty + 1
                return new
            self._aborts += 1
            how = "aborted" if done.outcome == DIED else "failed"
            self._observer(
                Warned(
                    message=f"{self._task.name}: Ansor's search {how} ({done.message}); "
                    f"searching again with another seed, {_ABORTS + 1 - self._aborts} tries left"
                )
            )
        self._empty = 2
        return []

    def _round_job(self, count: int) -> ansor_round.RoundJob:
        path = self._scratch / f"ansor-{self._task.name}.json"
        lines = [record.line() for record in ansor_round.sample(self._records, self._others)]
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        state = self._task.handle.compute_dag.init_state
        example = self._task.candidate(state).record((0.0,), OK, all_cost_s=0.0, timestamp=0.0)
        return ansor_round.RoundJob(
            line=example.line(),
            registry=tuple(self._registry.values()),
            records=str(path),
            count=count,
            seed=1000 * self._round + self._aborts + 1,
            cost_model=self._aborts < _ABORTS,
        )

    def learn(self, record: Record) -> None:
        """Take in a measured record."""
        self._known.add(record.key)
        self._records.append(record)

    def learn_of_others(self, record: Record) -> None:
        """Take in a record of another task, for the cost model."""
        self._others.append(record)
