"""What there is to tune, how often it runs, and how it is named."""

from __future__ import annotations

import pytest

from tvm_shufflenet.boards import load_board
from tvm_shufflenet.errors import InputError
from tvm_shufflenet.tuning.options import TuneOptions
from tvm_shufflenet.tuning.tasks import extract, select

from .nets import small_network


def test_a_task_is_weighted_by_the_calls_of_one_inference() -> None:
    for tuner in ("autotvm", "ansor"):
        weights = {task.title.split()[0]: task.weight for task in extract(small_network(), tuner)}
        assert sorted(weights.values())[-2:] == [1, 2], tuner


def test_an_arm_board_gets_no_template_of_another_family() -> None:
    tasks = extract(small_network(load_board("rpi4b")), "autotvm")
    assert {task.handle.name.split(".")[-1] for task in tasks} == {"arm_cpu"}


def test_tasks_come_in_the_same_order_every_time_with_the_most_work_first() -> None:
    first, second = (extract(small_network(), "autotvm") for _ in range(2))
    assert [task.workload for task in first] == [task.workload for task in second]
    assert first[0].flops * first[0].weight == max(task.flops * task.weight for task in first)


def test_tasks_are_selected_by_name_or_operator() -> None:
    tasks = extract(small_network(), "autotvm")
    assert select(tasks, ()) == tasks
    assert [task.name for task in select(tasks, ["t01"])] == ["t01"]
    assert {task.title.split()[0] for task in select(tasks, ["dense"])} == {
        "dense_nopack.x86",
        "dense_pack.x86",
    }
    with pytest.raises(InputError, match=r"no task 't09'; did you mean 't0"):
        select(tasks, ["t09"])


def test_the_candidate_of_a_config_is_a_record_that_tvm_decodes() -> None:
    from tvm import autotvm

    task = extract(small_network(), "autotvm")[0]
    config = task.handle.config_space.get(3)
    record = task.candidate(config).record((1e-3,), 0, all_cost_s=0.5, timestamp=1.0)
    inp, result = autotvm.record.decode(record.line())
    assert str(inp.config) == str(config)
    assert inp.task.workload == task.handle.workload
    assert result.costs == (1e-3,)
    assert record.workload == task.workload


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"tuner": "autotvn"}, "did you mean 'autotvm'"),
        ({"search": "xgboost"}, "did you mean 'xgb'"),
        ({"trials": 0}, "trials must be positive"),
        ({"time_s": -1.0}, "time_s must be positive"),
    ],
)
def test_options_that_cannot_be_are_refused_in_one_sentence(wrong, said, tmp_path) -> None:
    with pytest.raises(InputError, match=said) as caught:
        TuneOptions(log=tmp_path / "log.json", **wrong)
    assert caught.value.exit_code == 3
