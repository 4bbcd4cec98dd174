"""``tvm-shufflenet tune``, ``tasks`` and ``logs``: what they print and how they refuse."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import click
import psutil
import pytest
from click.testing import CliRunner

from tvm_shufflenet.cli.tune import parse_time
from tvm_shufflenet.tuning import records, verdicts
from tvm_shufflenet.tuning.records import Candidate, LogWriter
from tvm_shufflenet.tuning.verdicts import VERIFIED, Verdict, VerdictWriter

_NETWORK = "shufflenet_v1_g3_x0.25"


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from tvm_shufflenet.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def _log(path: Path, model: str = "x86-avx512") -> Path:
    writer, judge = LogWriter(path), VerdictWriter(path)
    for number in (1, 2):
        body = {
            "input": [f"llvm -keys=cpu -model={model}", "scale.fixture", [0], {}],
            "config": {"index": number, "code_hash": None, "entity": [["how", "ot", number]]},
        }
        record = Candidate("autotvm", body).record(
            (number * 1e-3,), 0, all_cost_s=1.0, timestamp=1.0
        )
        writer.append(record)
        judge.append(Verdict(key=record.key, status=VERIFIED, error=1e-7))
    writer.close()
    judge.close()
    return path


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90.0), ("30m", 1800.0), ("1.5h", 5400.0)])
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "m", "0s", "-1s", "1d"])
def test_what_is_no_duration_is_a_usage_error(text: str) -> None:
    with pytest.raises(click.BadParameter, match="30m"):
        parse_time(text)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--tuner", "autotvn"], 3, "did you mean 'autotvm'"),
        (["--search", "gaa"], 3, "did you mean 'ga'"),
        (["--time", "5"], 2, "is not a duration"),
        (["--tracker", "127.0.0.1:1"], 4, "no tracker answers at 127.0.0.1:1"),
        (["--tracker", "not an address"], 3, "write HOST or HOST:PORT"),
        (["--board", "rpi"], 3, "unknown board 'rpi'"),
    ],
)
@pytest.mark.slow
def test_a_run_that_cannot_be_is_refused_in_one_sentence(
    arguments: list[str], code: int, said: str, tmp_path: Path
) -> None:
    log = tmp_path / "log.json"
    done = _run("tune", _NETWORK, "--size", "64x64", "--log", str(log), "--trials", "2", *arguments)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not log.exists()


@pytest.mark.slow
def test_tuning_prints_events_as_json_lines_and_compiles_from_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    size = ("--size", "64x64")
    done = _run(
        "tune", _NETWORK, *size, "--log", str(log), "--trials", "8", "--tasks", "t00,t01",
        "--json-lines",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in events][:1] == ["started"]
    trials = [event["key"] for event in events if event["event"] == "trial"]
    assert len(trials) == 8
    assert trials == [record.key for record in records.read(log).records]
    result = events[-1]
    assert result["event"] == "result"
    assert result["before_s"] > 0
    assert result["after_s"] > 0
    assert set(verdicts.load(log)) <= set(trials)
    package = tmp_path / "package"
    compiled = _run("compile", _NETWORK, *size, "--log", str(log), "-o", str(package))
    assert compiled.returncode == 0, compiled.stderr
    assert "kernels tuned (log.json)" in compiled.stdout


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_with_130_and_a_whole_log(
    sign: signal.Signals, tmp_path: Path
) -> None:
    log = tmp_path / "log.json"
    main = "from tvm_shufflenet.cli import main; main()"
    options = ("--size", "64x64", "--log", str(log), "--tasks", "t00", "--json-lines")
    process = subprocess.Popen(
        [sys.executable, "-c", main, "tune", _NETWORK, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lines = [json.loads(process.stdout.readline()) for _ in range(4)]
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(sign)
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.strip().endswith("interrupted")
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    said = [line["key"] for line in lines if line["event"] == "trial"]
    said += [json.loads(line).get("key") for line in rest.splitlines() if '"trial"' in line]
    assert said == [record.key for record in records.read(log).records]


@pytest.mark.slow
def test_tasks_are_listed_as_json() -> None:
    done = _run("tasks", _NETWORK, "--size", "64x64", "--json")
    assert done.returncode == 0, done.stderr
    tasks = json.loads(done.stdout)["tasks"]
    assert [task["name"] for task in tasks][:2] == ["t00", "t01"]
    assert all(task["calls"] >= 1 for task in tasks)


def test_a_log_is_shown_with_its_best_and_its_counts(tmp_path: Path) -> None:
    from tvm_shufflenet.cli.logs import logs_command

    log = _log(tmp_path / "log.json")
    done = CliRunner().invoke(logs_command, ["show", str(log), "--json"])
    assert done.exit_code == 0
    (workload,) = json.loads(done.stdout)["workloads"]
    assert (workload["records"], workload["verified"], workload["cost_s"]) == (2, 2, 1e-3)
    table = CliRunner().invoke(logs_command, ["show", str(log)])
    assert "1.000 ms" in table.stdout


def test_best_and_merge_write_logs_of_their_own(tmp_path: Path) -> None:
    from tvm_shufflenet.cli.logs import logs_command

    log = _log(tmp_path / "log.json")
    best, both = tmp_path / "best.json", tmp_path / "both.json"
    assert CliRunner().invoke(logs_command, ["best", str(log), "-o", str(best)]).exit_code == 0
    assert len(records.read(best).records) == 1
    merged = CliRunner().invoke(logs_command, ["merge", str(best), str(log), "-o", str(both)])
    assert merged.exit_code == 0
    assert len(records.read(both).records) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "missing.json"], "cannot read the tuning log"),
        (["show", "foreign.json", "--board", "rpi4b"], "tuned for 'x86-avx512'"),
        (["best", "damaged.json", "-o", "out.json"], "damaged.json:1 is not a tuning record"),
    ],
)
def test_a_log_that_cannot_be_used_is_refused_with_exit_code_3(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    _log(tmp_path / "foreign.json")
    (tmp_path / "damaged.json").write_text("{}\n\n", encoding="utf-8")
    named = [str(tmp_path / a) if a.endswith(".json") else a for a in arguments]
    done = _run("logs", *named)
    assert done.returncode == 3
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out.json").exists()
