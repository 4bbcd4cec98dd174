"""What is proposed next, and what happens when a search breaks."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xgboost

from tvm_shufflenet.boards import Board
from tvm_shufflenet.tuning import ansor_round
from tvm_shufflenet.tuning.events import Event, Warned
from tvm_shufflenet.tuning.pool import Pool
from tvm_shufflenet.tuning.search import AnsorSearch, ConfigSearch
from tvm_shufflenet.tuning.strategies import STRATEGIES, Knowledge
from tvm_shufflenet.tuning.tasks import Task, extract, registry_entry

from .nets import small_network
from .stations import scale_task

WAYS = [f"right {number}" for number in range(60)]


def _search(
    task: Task, strategy: str, events: list[Event] | None = None, knowledge: Knowledge | None = None
) -> ConfigSearch:
    sink = events if events is not None else []
    return ConfigSearch(task, strategy, knowledge or Knowledge(), 0, sink.append)


def _cost(entity: Any) -> float:
    """Pretend that later ways are faster."""
    return 1e-3 / (1 + int(entity[0][2].split()[1]))


def _exhaust(search: ConfigSearch) -> list[str]:
    seen: list[str] = []
    while not search.exhausted:
        for candidate in search.propose(7):
            entity = candidate.body["config"]["entity"]
            seen.append(entity[0][2])
            search.learn(candidate.record((_cost(entity),), 0, all_cost_s=0.0, timestamp=0.0))
    return seen


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_every_configuration_is_proposed_exactly_once(board: Board, strategy: str) -> None:
    events: list[Event] = []
    seen = _exhaust(_search(scale_task(board, WAYS), strategy, events))
    assert sorted(seen) == sorted(WAYS)
    assert not events


def test_what_a_log_has_is_not_proposed_again(board: Board) -> None:
    task = scale_task(board, WAYS)
    before, after = _search(task, "random"), _search(task, "random")
    first = before.propose(30)
    for candidate in first:
        after.learn(candidate.record((1e-3,), 0, all_cost_s=0.0, timestamp=0.0))
    known = {candidate.key for candidate in first}
    assert not known & {candidate.key for candidate in after.propose(60)}


def test_a_failing_cost_model_falls_back_to_the_genetic_search_and_says_so(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise TypeError("train() got an unexpected keyword argument")

    monkeypatch.setattr(xgboost, "train", broken)
    events: list[Event] = []
    seen = _exhaust(_search(scale_task(board, WAYS), "xgb", events))
    assert sorted(seen) == sorted(WAYS)
    assert [type(event) for event in events] == [Warned]
    assert "genetic" in events[0].message


def test_configurations_of_an_earlier_log_are_tried_first(board: Board) -> None:
    task = scale_task(board, WAYS)
    best = [
        task.candidate(task.handle.config_space.get(index)).record(
            (1e-3,), 0, all_cost_s=0.0, timestamp=0.0
        )
        for index in (41, 17)
    ]
    search = _search(task, "random")
    search.start_from(best)
    # The default configuration stands before them.
    assert [candidate.key for candidate in search.propose(12)][1:3] == [r.key for r in best]


def test_a_configuration_the_space_does_not_have_is_no_seed(board: Board) -> None:
    foreign = scale_task(board, ["right elsewhere"])
    record = foreign.candidate(foreign.handle.config_space.get(0)).record(
        (1e-3,), 0, all_cost_s=0.0, timestamp=0.0
    )
    search = _search(scale_task(board, WAYS), "grid")
    search.start_from([record])
    assert search.propose(1)[0].body["config"]["index"] == 0


def test_the_cost_model_scores_each_record_against_its_own_workload(board: Board) -> None:
    knowledge = Knowledge()
    for size, unit in ((256, 1e-3), (512, 1.0)):
        task = scale_task(board, ["right 0", "right 1"], size=size)
        for index in (0, 1):
            candidate = task.candidate(task.handle.config_space.get(index))
            knowledge.add(candidate.record((unit * (index + 1),), 0, all_cost_s=0.0, timestamp=0.0))
    _, scores = knowledge.rows(knowledge.features[0].size)
    assert scores.tolist() == [1.0, 0.5, 1.0, 0.5]
    assert all(math.isfinite(score) for score in scores)


def abort(_job: ansor_round.RoundJob) -> None:
    """Die as Ansor's C++ search did."""
    os.kill(os.getpid(), signal.SIGABRT)


@pytest.fixture
def ansor(tmp_path: Path) -> Callable[[list[Event]], AnsorSearch]:
    def make(events: list[Event]) -> AnsorSearch:
        task = extract(small_network(), "ansor")[0]
        pool = Pool(1, (), tmp_path / "workers.log")
        pools.append(pool)
        registry = {task.workload: registry_entry(task)}
        return AnsorSearch(task, registry, pool, tmp_path, events.append)

    pools: list[Pool] = []
    yield make
    for pool in pools:
        pool.close()


@pytest.mark.slow
def test_ansor_proposes_schedules_that_were_not_measured(
    ansor: Callable[[list[Event]], AnsorSearch],
) -> None:
    events: list[Event] = []
    search = ansor(events)
    first = search.propose(6)
    assert len({candidate.key for candidate in first}) == 6
    for candidate in first:
        search.learn(candidate.record((1e-3,), 0, all_cost_s=0.0, timestamp=0.0))
    second = search.propose(6)
    assert second
    assert not {c.key for c in first} & {c.key for c in second}
    assert not events


@pytest.mark.slow
def test_a_search_that_aborts_its_process_is_tried_again_and_then_given_up(
    ansor: Callable[[list[Event]], AnsorSearch], monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[Event] = []
    search = ansor(events)
    monkeypatch.setattr(ansor_round, "FUNCTION", f"{__name__}:abort")
    assert search.propose(6) == []
    assert search.exhausted
    assert len(events) == 4
    assert all("aborted" in event.message for event in events if isinstance(event, Warned))
