"""Logs: what is read, what is refused, what is chosen."""

from __future__ import annotations

import json
import random
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_shufflenet.boards import Board
from tvm_shufflenet.errors import RecordError
from tvm_shufflenet.tuning import merge, meta, records, verdicts
from tvm_shufflenet.tuning.records import WRONG_ANSWER, Candidate, Log, LogWriter, Record
from tvm_shufflenet.tuning.verdicts import VERIFIED, WRONG, Verdict, VerdictWriter


def _candidate(config: int, workload: int = 0, model: str = "x86-avx512") -> Candidate:
    return Candidate(
        "autotvm",
        {
            "input": [f"llvm -keys=cpu -model={model}", "scale.fixture", [workload], {}],
            "config": {"index": config, "code_hash": None, "entity": [["how", "ot", config]]},
            "version": 0.2,
            "tvm_version": "0.19.0",
        },
    )


def _record(config: int, cost_s: float = 1e-3, *, wrong: bool = False, workload: int = 0) -> Record:
    number = WRONG_ANSWER if wrong else 0
    candidate = _candidate(config, workload)
    return candidate.record((cost_s,), number, all_cost_s=1.0, timestamp=7.0)


def _ansor(workload: str = '["abc", [1, 2]]', model: str = "x86-avx512") -> Record:
    body = {"i": [[workload, f"llvm -model={model}", [1], "", 2, []], [[], []]], "v": "v0.6"}
    return Candidate("ansor", body).record((1e-3,), 0, all_cost_s=1.0, timestamp=7.5)


def _write(path: Path, *found: Record) -> Path:
    writer = LogWriter(path)
    for record in found:
        writer.append(record)
    writer.close()
    return path


def _judge(log: Path, *found: Verdict) -> None:
    writer = VerdictWriter(log)
    for verdict in found:
        writer.append(verdict)
    writer.close()


def _right(record: Record, *costs_s: float) -> Verdict:
    return Verdict(key=record.key, status=VERIFIED, error=1e-7, costs_s=costs_s)


@pytest.mark.parametrize("record", [_record(1), _ansor(), _record(2, wrong=True)])
def test_a_record_is_read_as_it_was_written(record: Record) -> None:
    again = records.parse(record.line())
    assert again.key == record.key
    assert again.costs_s == record.costs_s
    assert (again.tuner, again.error_no, again.model) == (
        record.tuner,
        record.error_no,
        record.model,
    )


def test_the_identity_of_a_candidate_does_not_depend_on_how_the_target_is_spelled() -> None:
    assert _candidate(1).key == _candidate(1, model="bcm2711").key
    assert _candidate(1).key != _candidate(2).key
    assert _candidate(1).key != _candidate(1, workload=1).key


@given(st.integers(1, 60))
def test_an_unfinished_last_line_is_skipped_and_reported(cut: int) -> None:
    line = _record(2).line()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "log.json")
        path.write_text(f"{_record(1).line()}\n{line[:-cut]}", encoding="utf-8")
        log = records.read(path)
    assert [record.key for record in log.records] == [_record(1).key]
    assert log.skipped.endswith(":2: unfinished last line skipped")


def test_appending_cuts_off_an_unfinished_line_and_keeps_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    path.write_text(f"{_record(1).line()}\n{_record(2).line()[:40]}", encoding="utf-8")
    _write(path, _record(3))
    assert [record.key for record in records.read(path).records] == [
        _record(1).key,
        _record(3).key,
    ]
    path.write_text(_record(1).line(), encoding="utf-8")  # whole, but without its newline
    _write(path, _record(3))
    assert len(records.read(path).records) == 2


def test_a_damaged_line_in_the_middle_is_refused_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    text = f"{_record(1).line()}\nnot a record\n{_record(2).line()}\n"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecordError, match=r"log\.json:2 is not a tuning record"):
        records.read(path)
    assert path.read_text(encoding="utf-8") == text


def test_records_of_another_board_are_refused_by_name(tmp_path: Path, board: Board) -> None:
    candidate = _candidate(1, model="bcm2711")
    path = _write(tmp_path / "log.json", candidate.record((1.0,), 0, all_cost_s=1.0, timestamp=1.0))
    with pytest.raises(RecordError, match="tuned for 'bcm2711', but the board 'local'") as caught:
        records.read(path, board)
    assert caught.value.exit_code == 3


def test_a_log_of_two_tuners_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "log.json", _record(1), _ansor())
    with pytest.raises(RecordError, match=":2 was written by ansor"):
        records.read(path)


def test_only_verified_records_are_chosen_whatever_their_speed(tmp_path: Path) -> None:
    unverified, wrong, right, slow = (
        _record(1, 1e-5),
        _record(2, 1e-6, wrong=True),
        _record(3, 2e-3),
        _record(4, 3e-3),
    )
    path = _write(tmp_path / "log.json", unverified, wrong, right, slow)
    _judge(path, Verdict(key=wrong.key, status=WRONG, error=0.5), _right(right), _right(slow))
    log, known = records.read(path), verdicts.load(path)
    assert [record.key for record in verdicts.best(log, known).values()] == [right.key]
    assert verdicts.tally(log.records, known) == {
        "verified": 2,
        "unverified": 1,
        "wrong": 1,
        "failed": 0,
    }


def test_a_time_measured_again_replaces_the_lucky_one(tmp_path: Path) -> None:
    lucky, steady = _record(1, 1.0e-3), _record(2, 1.1e-3)
    path = _write(tmp_path / "log.json", lucky, steady)
    _judge(path, _right(lucky), _right(steady), _right(lucky, 1.4e-3), _right(steady, 1.1e-3))
    best = verdicts.best(records.read(path), verdicts.load(path))
    assert [record.key for record in best.values()] == [steady.key]


def _placed(record: Record, ratio: float) -> Verdict:
    return replace(_right(record), in_network=ratio)


def test_what_was_timed_inside_the_network_goes_before_what_is_fast_alone(tmp_path: Path) -> None:
    alone, slow_inside, fast_inside = _record(1, 1e-3), _record(2, 2e-3), _record(3, 3e-3)
    path = _write(tmp_path / "log.json", alone, slow_inside, fast_inside)
    _judge(path, _right(alone), _placed(slow_inside, 0.99), _placed(fast_inside, 0.9))
    best = verdicts.best(records.read(path), verdicts.load(path))
    assert [record.key for record in best.values()] == [fast_inside.key]


def test_a_record_that_does_not_beat_the_default_inside_the_network_serves_nothing(
    tmp_path: Path,
) -> None:
    fast_alone, other = _record(1, 1e-6), _record(2, 1e-3, workload=1)
    path = _write(tmp_path / "log.json", fast_alone, other)
    _judge(path, _placed(fast_alone, 1.0), _placed(other, 0.97))
    log, known = records.read(path), verdicts.load(path)
    assert [record.key for record in verdicts.best(log, known).values()] == [other.key]
    assert verdicts.default_is_best([fast_alone], known)
    assert not verdicts.default_is_best([other], known)
    assert not verdicts.default_is_best([_record(5)], known)


def test_the_best_of_a_log_tells_where_the_default_is_the_fastest(tmp_path: Path) -> None:
    far, near = _record(1), _record(2)
    path = _write(tmp_path / "log.json", far, near)
    _judge(path, _placed(far, 1.2), _placed(near, 1.01))
    target = tmp_path / "best.json"
    assert merge.write_best(path, target) == 1
    (record,) = records.read(target).records
    assert record.key == near.key
    known = verdicts.load(target)
    assert verdicts.default_is_best([record], known)
    assert not verdicts.best(records.read(target), known)


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(1e-6, 1e-2)), min_size=1, max_size=20))
def test_the_choice_does_not_depend_on_the_order_of_the_records(
    pairs: list[tuple[int, float]],
) -> None:
    found = [_record(n, cost, workload=workload) for n, (workload, cost) in enumerate(pairs)]
    known = {record.key: _right(record) for record in found}
    shuffled = random.Random(0).sample(found, len(found))
    first = verdicts.best(Log(Path("a"), tuple(found)), known)
    second = verdicts.best(Log(Path("b"), tuple(shuffled)), known)
    assert {r.key for r in first.values()} == {r.key for r in second.values()}


def test_an_unfinished_verdict_is_skipped_and_a_damaged_one_refused(tmp_path: Path) -> None:
    log = _write(tmp_path / "log.json", _record(1))
    _judge(log, _right(_record(1)))
    path = verdicts.verdicts_path(log)
    with path.open("a", encoding="utf-8") as file:
        file.write('{"key": "ab')
    assert list(verdicts.load(log)) == [_record(1).key]
    path.write_text(f'{{"nonsense": 1}}\n{path.read_text(encoding="utf-8")}', encoding="utf-8")
    with pytest.raises(RecordError, match=":1 is not a verdict"):
        verdicts.load(log)


def test_the_best_of_a_log_is_a_log_that_chooses_the_same(tmp_path: Path) -> None:
    found = [_record(n, (n + 1) * 1e-4, workload=n % 2) for n in range(6)]
    path = _write(tmp_path / "log.json", *found)
    _judge(path, *(_right(record) for record in found[2:]))
    meta.save(path, {"board": "local", "suspects": {"x": 1}})
    target = tmp_path / "best.json"
    assert merge.write_best(path, target) == 2
    before = verdicts.best(records.read(path), verdicts.load(path))
    after = verdicts.best(records.read(target), verdicts.load(target))
    assert {r.key for r in before.values()} == {r.key for r in after.values()}
    assert len(records.read(target).records) == 2
    assert meta.load(target) == {"board": "local", "suspects": {}}


def test_a_log_without_a_verified_record_has_no_best(tmp_path: Path) -> None:
    path = _write(tmp_path / "log.json", _record(1))
    with pytest.raises(RecordError, match="logs verify"):
        merge.write_best(path, tmp_path / "best.json")
    assert not (tmp_path / "best.json").exists()


def test_merging_keeps_every_candidate_once_and_prefers_the_verified_copy(tmp_path: Path) -> None:
    first = _write(tmp_path / "a.json", _record(1, 1e-3), _record(2, 2e-3))
    second = _write(tmp_path / "b.json", _record(2, 3e-3), _record(3, 4e-3))
    _judge(second, _right(_record(2)))
    target = tmp_path / "c.json"
    assert merge.merge([first, second], target) == 3
    merged = {record.key: record for record in records.read(target).records}
    assert merged[_record(2).key].cost_s == 3e-3
    assert list(verdicts.load(target)) == [_record(2).key]
    with pytest.raises(RecordError, match="is there already"):
        merge.merge([first], target)


def test_logs_of_different_tuners_are_not_merged(tmp_path: Path) -> None:
    first = _write(tmp_path / "a.json", _record(1))
    second = _write(tmp_path / "b.json", _ansor())
    with pytest.raises(RecordError, match="merge only logs that agree"):
        merge.merge([first, second], tmp_path / "c.json")


def test_a_line_stays_what_tvm_itself_writes() -> None:
    row = json.loads(_record(1).line())
    assert row["result"] == [[1e-3], 0, 1.0, 7.0]
    assert json.loads(_ansor().line())["r"] == [[1e-3], 0, 1.0, 7]
    failed = replace(_record(1)).record((), 4, all_cost_s=1.0, timestamp=1.0)
    assert json.loads(failed.line())["result"][0] == [1e9]
