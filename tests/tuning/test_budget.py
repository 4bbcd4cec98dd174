"""Trials go where the network still loses time."""

from __future__ import annotations

from typing import Any

from tvm_shufflenet.tuning.budget import Account, Budget
from tvm_shufflenet.tuning.tasks import Task


def _account(name: str, *, site: str = "", weight: int = 1, flops: float = 1e6) -> Account:
    options: dict[str, Any] = {"tuner": "autotvm", "title": name, "workload": name}
    task = Task(
        name=name, site=site or name, weight=weight, flops=flops, handle=None, space=9, **options
    )
    return Account(task)


def _spend(account: Account, *costs_s: float | None) -> Account:
    for cost in costs_s:
        account.add(cost)
    account.close_batch()
    return account


def test_every_task_is_tried_before_any_gets_more() -> None:
    first, second = _spend(_account("a"), 1.0), _account("b")
    assert Budget([first, second], 100).next() is second


def test_the_task_called_more_often_comes_first_when_all_else_is_equal() -> None:
    rare, often = _spend(_account("a"), 1.0), _spend(_account("b", weight=7), 1.0)
    assert Budget([rare, often], 100).next() is often


def test_a_task_that_no_longer_improves_yields_to_one_that_does() -> None:
    stuck = _spend(_spend(_account("a"), *[1.0] * 50), *[1.0] * 50)
    moving = _spend(_spend(_account("b"), *[2.0] * 50), *[1.0] * 50)
    assert Budget([stuck, moving], 1000).next() is moving


def test_a_template_that_is_far_behind_its_rival_at_the_same_operator_is_left_alone() -> None:
    behind = _spend(_account("a", site="s"), 5.0)
    ahead = _spend(_account("b", site="s"), 1.0)
    assert Budget([behind, ahead], 100).next() is ahead


def test_a_task_stops_early_and_the_run_ends_when_all_have() -> None:
    account = _spend(_account("a"), *[1.0] * 11)
    assert Budget([account], 12).next() is account
    assert Budget([account], 10).next() is None


def test_a_task_without_a_single_right_answer_stays_in_the_race() -> None:
    broken, fine = _spend(_account("a"), None, None), _spend(_account("b"), 1e-3, 1e-3)
    assert Budget([broken, fine], 100).next() is broken


def test_the_estimate_counts_each_operator_once_with_its_best_template() -> None:
    slow = _spend(_account("a", site="s", weight=3), 5.0)
    fast = _spend(_account("b", site="s", weight=3), 1.0)
    other = _spend(_account("c"), 0.5)
    assert Budget([slow, fast, other], 100).estimate_s() == 3.5
    assert Budget([slow, fast, _account("d")], 100).estimate_s() is None
