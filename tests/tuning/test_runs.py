"""Whole tuning runs over RPC: tracker, server, builders, measurements, verdicts, logs."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tvm_shufflenet.boards import Board
from tvm_shufflenet.compiler import PASS_CONFIG, load_tvm
from tvm_shufflenet.errors import BoardUnreachable, RecordError
from tvm_shufflenet.rpc.server import server
from tvm_shufflenet.rpc.tracker import Address, tracker
from tvm_shufflenet.tuning import history, meta, records, verdicts
from tvm_shufflenet.tuning.events import Event, Started, Trial
from tvm_shufflenet.tuning.options import TuneOptions
from tvm_shufflenet.tuning.tune import tune
from tvm_shufflenet.tuning.verify import verify

from .nets import small_network

pytestmark = pytest.mark.slow


def _build(log: Path | None, board: Board) -> history.HistoryReport:
    tvm = load_tvm()
    from tvm import relay

    network = small_network(board)
    with history.apply(log, board) as applied:
        config = {**PASS_CONFIG, **applied.pass_config}
        with tvm.transform.PassContext(opt_level=3, config=config):
            relay.build(network.mod, network.target)
    return applied.report()


def test_autotvm_leaves_a_verified_log_that_serves_every_kernel_and_can_be_resumed(
    board: Board, tmp_path: Path
) -> None:
    log = tmp_path / "small.autotvm.json"
    network = small_network(board)
    result = tune(network, TuneOptions(log=log, trials=60))
    assert result.trials == 60
    assert not result.untuned
    assert result.estimate_s is not None
    assert sum(task.trials for task in result.tasks) == 60
    report = _build(log, board)
    assert not report.untuned
    best = verdicts.best(records.read(log, board), verdicts.load(log))
    assert {served.record for served in report.served} <= {r.key for r in best.values()}
    facts = meta.load(log)
    assert facts["board"] == "local"
    assert facts["machine"]["tvm"] == facts["versions"]["tvm"]
    assert facts["threads"] == board.run.threads

    with pytest.raises(RecordError, match="--resume"):
        tune(network, TuneOptions(log=log, trials=10))

    events: list[Event] = []
    before = {record.key for record in records.read(log).records}
    again = tune(network, TuneOptions(log=log, trials=12, resume=True), events.append)
    assert again.measured == 72
    assert {event.resumed for event in events if isinstance(event, Started)} == {60}
    assert not before & {event.key for event in events if isinstance(event, Trial)}


def test_ansor_leaves_a_verified_log_that_serves_its_kernels(board: Board, tmp_path: Path) -> None:
    log = tmp_path / "small.ansor.json"
    options = TuneOptions(log=log, tuner="ansor", trials=24, tasks=("conv2d_nn_relu", "dense"))
    result = tune(small_network(board), options)
    assert not result.untuned
    report = _build(log, board)
    assert len(report.served) == len(result.tasks)
    assert report.tuner == "ansor"
    assert report.untuned  # those that were not asked for


def test_a_log_of_plain_tvm_is_used_only_after_it_was_verified(
    board: Board, tmp_path: Path
) -> None:
    log = tmp_path / "small.autotvm.json"
    options = TuneOptions(log=log, trials=12, tasks=("t00",))
    tune(small_network(board), options)
    verdicts.verdicts_path(log).unlink()
    assert not _build(log, board).served
    verify(board, TuneOptions(log=log))
    assert len(_build(log, board).served) == 1


def test_a_run_killed_at_any_moment_loses_nothing_that_it_said(tmp_path: Path) -> None:
    log = tmp_path / "small.autotvm.json"
    rng = random.Random(0)
    said: list[str] = []
    for _ in range(3):
        said += _run_and_kill(log, rng.uniform(0.2, 6.0))
    command = [sys.executable, "-m", "tuning.tune_small", str(log), "6"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    said += done.stdout.split()
    found = [record.key for record in records.read(log).records]
    assert set(said) <= set(found)
    assert len(found) == len(set(found)), "something was measured twice"
    assert verdicts.best(records.read(log), verdicts.load(log))


def _run_and_kill(log: Path, seconds: float) -> list[str]:
    """Start a run, kill it some time after its first trial, and return what it printed."""
    command = [sys.executable, "-m", "tuning.tune_small", str(log), "500"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = [process.stdout.readline().strip()]
    children = psutil.Process(process.pid).children(recursive=True)
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    said += process.stdout.read().split()
    process.wait()
    timer.join()
    assert process.returncode == -signal.SIGKILL
    assert len(children) >= 4  # tracker, server, builders, runner
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive, "processes outlived the run that started them"
    return said


def test_a_remote_board_is_reached_through_its_tracker_or_directly(
    board: Board, tmp_path: Path
) -> None:
    remote = replace(board, name="remote")
    network = replace(small_network(), board=remote)
    with tracker() as desk, server(key="remote", tracker=Address(*desk.address)):
        through = TuneOptions(
            log=tmp_path / "a.json",
            trials=4,
            tasks=("t00",),
            tracker=str(Address(*desk.address)),
            key="remote",
        )
        assert not tune(network, through).untuned
    with server(key="alone") as lone:
        direct = TuneOptions(
            log=tmp_path / "b.json",
            trials=4,
            tasks=("t00",),
            host=str(Address(*lone.address)),
            key="alone",
        )
        assert not tune(network, direct).untuned


def test_a_board_that_goes_away_for_good_leaves_a_log_to_resume(
    board: Board, tmp_path: Path
) -> None:
    log = tmp_path / "a.json"
    rpc = replace(board.rpc, connect_timeout_s=5)  # what a request to a board that died may wait
    network = replace(small_network(), board=replace(board, name="remote", rpc=rpc))
    with tracker() as desk, server(key="remote", tracker=Address(*desk.address)) as service:
        trials: list[Event] = []

        def pull_the_plug(event: Event) -> None:
            trials.extend([event] if isinstance(event, Trial) else [])
            if len(trials) == 5:
                os.killpg(service.pid, signal.SIGKILL) if service.alive else None

        options = TuneOptions(
            log=log,
            trials=200,
            search="random",
            tracker=str(Address(*desk.address)),
            key="remote",
            patience_s=1.0,
        )
        with pytest.raises(BoardUnreachable, match="--resume"):
            tune(network, options, pull_the_plug)
        measured = {record.key for record in records.read(log).records}
        assert {event.key for event in trials if isinstance(event, Trial)} == measured
        service.restart()
        time.sleep(0.1)
        resumed = tune(network, replace(options, trials=4, resume=True))
        assert resumed.measured == len(measured) + 4
