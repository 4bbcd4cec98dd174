"""Worker processes: real runtimes on a tiny network, and runtimes that misbehave."""

from __future__ import annotations

import os
import time

import psutil
import pytest

from tvm_shufflenet.benchmark import process, runners
from tvm_shufflenet.benchmark.interleave import ContestantFailed, Plan
from tvm_shufflenet.benchmark.measure import Entry, measure
from tvm_shufflenet.benchmark.process import Worker
from tvm_shufflenet.benchmark.runners import Setup
from tvm_shufflenet.errors import InputError

PLAN = Plan(rounds=3, turn_s=0.01, max_number=5)


def run(tiny, *names):
    entries = [Entry(name, name, tiny, 1) for name in names]
    return {result.title: result for result in measure(entries, PLAN)}


@pytest.fixture(scope="module")
def real(tiny):
    return run(tiny, "torch_eager", "stock_tvm", "onnx_runtime")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torch_eager", "stock_tvm", "onnx_runtime"])
def test_a_real_runtime_is_right_and_timed_in_every_round(real, name) -> None:
    result = real[name]
    assert (result.status, result.detail) == ("measured", "")
    assert result.strict
    assert result.samples is not None
    assert len(result.samples.rounds) == PLAN.rounds
    assert all(len(warmups) == PLAN.warmup for warmups in result.samples.warmups)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in runners.peer_names() if name != "stock_tvm"])
def test_every_peer_computes_float32_on_all_cores(tiny, name) -> None:
    entry = Entry(name, name, tiny, len(os.sched_getaffinity(0)))
    (result,) = measure([entry], Plan(rounds=1, max_number=3))
    assert (result.status, result.detail) == ("measured", "")
    assert result.difference_of_scale is not None
    assert result.difference_of_scale < 1e-5


def test_a_fast_runtime_that_answers_zeros_is_wrong_and_gets_no_time(tiny, fakes) -> None:
    found = run(tiny, "zeros", "honest")
    assert found["zeros"].status == "wrong"
    assert found["zeros"].samples is None
    assert "differs from PyTorch by 1.0e+00" in found["zeros"].detail
    assert found["honest"].status == "measured"


def test_a_runtime_that_ignores_its_input_is_found_out(tiny, fakes) -> None:
    assert run(tiny, "deaf")["deaf"].status == "wrong"


def test_a_peer_that_rounds_is_measured_and_its_difference_told(tiny, fakes) -> None:
    result = run(tiny, "rounded")["rounded"]
    assert result.status == "measured"
    assert result.strict is False
    assert "3.3e-04 of the outputs' scale" in result.detail


def test_our_own_packages_must_meet_the_strict_tolerance(tiny, fakes, monkeypatch) -> None:
    monkeypatch.setattr(runners, "OURS", "rounded")
    assert run(tiny, "rounded")["rounded"].status == "wrong"


def test_a_runtime_that_dies_is_failed_by_its_signal_and_the_others_go_on(tiny, fakes) -> None:
    found = run(tiny, "crashing", "honest")
    assert found["crashing"].status == "failed"
    assert found["crashing"].detail.startswith("its process died (killed by SIGSEGV)")
    assert found["honest"].status == "measured"


def test_a_runtime_that_cannot_load_is_failed_with_one_line(tiny, fakes) -> None:
    result = run(tiny, "unloadable")["unloadable"]
    assert result.status == "failed"
    assert result.detail == "RuntimeError: operator Shuffle"


def test_a_runtime_that_is_not_installed_says_what_to_install(tiny, fakes) -> None:
    result = run(tiny, "absent")["absent"]
    assert result.status == "not installed"
    assert result.detail == 'no module no_such_module: pip install "tvm-shufflenet[host,bench]"'


def test_an_unknown_runtime_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match=r"unknown runtime 'onnxruntime'; did you mean"):
        runners.card("onnxruntime")


def test_what_a_runtime_prints_does_not_disturb_the_protocol(tiny, fakes) -> None:
    with Worker("honest", Setup(tiny, 1)) as worker:
        worker.load()
        assert worker.check().strict
        burst = worker.run(2, 3)
    assert (len(burst.warmup_s), len(burst.seconds)) == (2, 3)


def test_a_paused_worker_is_stopped_and_a_resumed_one_answers(tiny, fakes) -> None:
    with Worker("honest", Setup(tiny, 1)) as worker:
        worker.load()
        worker.pause()
        state = psutil.Process(worker._process.pid)
        deadline = time.monotonic() + 5
        while state.status() != psutil.STATUS_STOPPED and time.monotonic() < deadline:
            time.sleep(0.01)
        assert state.status() == psutil.STATUS_STOPPED
        worker.resume()
        assert worker.check().strict


def test_no_worker_outlives_its_use_even_a_stopped_one(tiny, fakes) -> None:
    with Worker("honest", Setup(tiny, 1)) as worker:
        worker.pause()
    assert not psutil.pid_exists(worker._process.pid)


def test_a_worker_that_does_not_answer_is_given_up(tiny, fakes) -> None:
    with Worker("honest", Setup(tiny, 1)) as worker:
        worker.pause()
        with pytest.raises(ContestantFailed, match=r"no answer to 'load' within 0 s"):
            worker.ask("load", 0.2)


def test_workers_get_their_thread_count_in_every_librarys_words() -> None:
    changed = process.environment("stock_tvm", 3, compiler=False)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TVM_NUM_THREADS")
    assert [changed[name] for name in names] == ["3"] * 3
    assert changed["TVM_USE_RUNTIME_LIB"] == "1"
    assert "TVM_USE_RUNTIME_LIB" not in process.environment("stock_tvm", 3, compiler=True)
