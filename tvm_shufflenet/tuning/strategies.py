"""How AutoTVM's configurations are picked: grid, random, ga, xgb.

A strategy is a function of what was measured until now, so a resumed run needs nothing but its
log. Indices are those of AutoTVM's config space.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tvm_shufflenet.tuning.records import OK, Record

Vector = npt.NDArray[np.float32]

_WARM_UP = 8  # right answers of a task before a model or a population is worth having
_SEEN_TRIES = 200  # random draws for one unseen index before all are looked at
_ENUMERABLE = 6000  # spaces up to this size are predicted completely
_SAMPLED = 2000  # indices drawn from larger ones
_PARENTS = 16
_MUTATION = 0.15  # chance that a knob is drawn anew
_EXPLORE = 0.15  # share of a proposal that ignores the model
_TRAINING_ROWS = 3000


@dataclass
class Knowledge:
    """What is known of a template, over all workloads: rows for the cost model."""

    features: list[Vector] = field(default_factory=list)
    costs_s: list[float] = field(default_factory=list)  # infinite: did not run, or wrong
    workloads: list[str] = field(default_factory=list)

    def add(self, record: Record) -> None:
        """Take in one AutoTVM record."""
        self.features.append(features_of(record.body["input"][2], record.body["config"]["entity"]))
        self.costs_s.append(record.cost_s if record.error_no == OK else math.inf)
        self.workloads.append(record.workload)

    def rows(self, width: int) -> tuple[Vector, Vector]:
        """Return features of `width`, and how close each came to its workload's best (0 to 1).

        Workloads of one template may differ in the number of their arguments.
        """
        best: dict[str, float] = {}
        for workload, cost in zip(self.workloads, self.costs_s, strict=True):
            best[workload] = min(cost, best.get(workload, math.inf))
        fitting = [place for place, row in enumerate(self.features) if row.size == width]
        fitting = fitting[-_TRAINING_ROWS:]
        scores = [
            best[self.workloads[place]] / self.costs_s[place]
            if math.isfinite(self.costs_s[place])
            else 0.0
            for place in fitting
        ]
        rows = np.stack([self.features[place] for place in fitting])
        return rows, np.asarray(scores, dtype=np.float32)


def features_of(arguments: Any, entity: Any) -> Vector:
    """Describe a workload's shapes and a configuration's knobs by numbers."""
    values = [*_numbers(arguments)]
    for _, _, value in entity:
        values += _numbers(value)
    return np.asarray(values, dtype=np.float32)


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, bool | int | float):
        yield float(value)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _numbers(part)


@dataclass
class Space:
    """A task's config space and what was measured of it."""

    config_space: Any  # autotvm.task.space.ConfigSpace
    arguments: Any  # of the task, as JSON has them
    rng: np.random.Generator
    knowledge: Knowledge
    measured: dict[int, float] = field(default_factory=dict)  # index -> cost, infinite if failed
    _features: dict[int, Vector] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Indices, valid or not."""
        return int(self.config_space.range_length)

    @property
    def exhausted(self) -> bool:
        """Whether everything was measured."""
        return len(self.measured) >= len(self.config_space)

    def unseen(self, index: int, taken: Iterable[int]) -> bool:
        """Whether `index` can be proposed."""
        new = index not in self.measured and index not in taken
        return new and bool(self.config_space.is_index_valid(index))

    def features(self, index: int) -> Vector:
        """Return the cost model's view of one configuration."""
        if index not in self._features:
            entity = self.config_space.get(index).to_json_dict()["entity"]
            self._features[index] = features_of(self.arguments, entity)
        return self._features[index]

    def fastest(self, count: int) -> list[int]:
        """Return the best indices measured, best first."""
        right = [index for index, cost in self.measured.items() if math.isfinite(cost)]
        return sorted(right, key=self.measured.__getitem__)[:count]


Strategy = Callable[[Space, int], list[int]]


def grid(space: Space, count: int) -> list[int]:
    """Take the configurations in their order."""
    found: list[int] = []
    for index in range(space.size):
        if len(found) == count:
            break
        if space.unseen(index, ()):
            found.append(index)
    return found


def random(space: Space, count: int) -> list[int]:
    """Draw configurations."""
    found: list[int] = []
    for _ in range(_SEEN_TRIES * count):
        if len(found) == count:
            return found
        index = int(space.rng.integers(space.size))
        if space.unseen(index, found):
            found.append(index)
    left = [index for index in grid(space, space.size) if index not in found]
    space.rng.shuffle(left)
    return [*found, *left[: count - len(found)]]


def ga(space: Space, count: int) -> list[int]:
    """Cross and mutate the fastest configurations measured."""
    if len(space.fastest(_WARM_UP)) < min(_WARM_UP, len(space.config_space)):
        return random(space, count)
    found = _offspring(space, count)
    return [*found, *_more(space, found, count)]


def xgb(space: Space, count: int) -> list[int]:
    """Measure what a gradient-boosted model of all of the template's records promises.

    Raises:
        Exception: whatever xgboost raises; the caller falls back to `ga`.
    """
    if len(space.fastest(_WARM_UP)) < min(_WARM_UP, len(space.config_space)):
        return random(space, count)
    pool = _pool(space)
    if not pool:
        return []
    import xgboost

    rows, scores = space.knowledge.rows(space.features(pool[0]).size)
    parameters = {"max_depth": 6, "eta": 0.2, "subsample": 0.9, "nthread": 1, "verbosity": 0}
    model = xgboost.train(parameters, xgboost.DMatrix(rows, scores), num_boost_round=60)
    predicted = model.predict(xgboost.DMatrix(np.stack([space.features(i) for i in pool])))
    wanted = math.ceil(count * (1 - _EXPLORE))
    found = [pool[place] for place in np.argsort(-predicted, kind="stable")[:wanted]]
    return [*found, *_more(space, found, count)]


def _pool(space: Space) -> list[int]:
    """Return the indices that the model is asked about."""
    if space.size <= _ENUMERABLE:
        return grid(space, space.size)
    drawn = random(space, _SAMPLED)
    known = set(drawn)
    return [*drawn, *(index for index in _offspring(space, _SAMPLED) if index not in known)]


def _offspring(space: Space, count: int) -> list[int]:
    parents = [space.config_space.point2knob(index) for index in space.fastest(_PARENTS)]
    dims: Sequence[int] = space.config_space.dims
    found: dict[int, None] = {}
    for _ in range(4 * count if parents else 0):
        if len(found) == count:
            break
        first, second = (parents[int(space.rng.integers(len(parents)))] for _ in range(2))
        chosen = space.rng.random(len(dims)) < 0.5
        knob = [a if take else b for a, b, take in zip(first, second, chosen, strict=True)]
        for place in np.flatnonzero(space.rng.random(len(dims)) < _MUTATION):
            knob[int(place)] = int(space.rng.integers(dims[int(place)]))
        index = int(space.config_space.knob2point(knob))
        if space.unseen(index, found):
            found[index] = None
    return list(found)


def _more(space: Space, found: list[int], count: int) -> list[int]:
    """Fill a proposal up to `count` with random configurations."""
    missing = count - len(found)
    extra = [index for index in random(space, count) if index not in found]
    return extra[:missing]


STRATEGIES: dict[str, Strategy] = {"xgb": xgb, "ga": ga, "random": random, "grid": grid}
