"""Tuning logs: TVM's own records, one JSON line each, read and written without TVM.

A log stays readable for ``autotvm.record`` and ``auto_scheduler``. What we know beyond them lives
beside it: ``LOG.verified.json`` says which records gave right answers (`verdicts`),
``LOG.meta.json`` how they were measured (`meta`).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tvm_shufflenet.boards import Board
from tvm_shufflenet.errors import RecordError

AUTOTVM = "autotvm"
ANSOR = "ansor"
TUNERS = (AUTOTVM, ANSOR)

# MeasureErrorNo of tvm.autotvm and tvm.auto_scheduler
OK = 0
INSTANTIATION_ERROR = 1
COMPILE_HOST = 2
RUNTIME_DEVICE = 4
WRONG_ANSWER = 5
BUILD_TIMEOUT = 6
RUN_TIMEOUT = 7
_FAILED_COST = {AUTOTVM: 1e9, ANSOR: 1e10}


@dataclass(frozen=True)
class Candidate:
    """A workload and one way to schedule it: a record without its result."""

    tuner: str
    body: dict[str, Any]  # TVM's JSON, with "result" or "r" left out

    @cached_property
    def workload(self) -> str:
        """What is computed: operator and shapes, as canonical text."""
        if self.tuner == AUTOTVM:
            return _canonical(self.body["input"][1:3])
        return str(self.body["i"][0][0])

    @cached_property
    def key(self) -> str:
        """Identity: workload and configuration, whatever the target's spelling."""
        config = self.body["config"]["entity"] if self.tuner == AUTOTVM else self.body["i"][1]
        text = _canonical([self.tuner, self.workload, config])
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    @property
    def target(self) -> str:
        """The target, as TVM spells it."""
        return str(self.body["input"][0] if self.tuner == AUTOTVM else self.body["i"][0][1])

    @property
    def model(self) -> str:
        """The board model that it was measured on."""
        found = re.search(r"-model=(\S+)", self.target)
        return found[1] if found else ""

    def record(
        self, costs_s: tuple[float, ...], error_no: int, *, all_cost_s: float, timestamp: float
    ) -> Record:
        """Return the record of having measured this candidate."""
        costs = costs_s if error_no == OK else (_FAILED_COST[self.tuner],)
        return Record(self.tuner, self.body, costs, error_no, all_cost_s, timestamp)


@dataclass(frozen=True)
class Record(Candidate):
    """A candidate and what measuring it gave."""

    costs_s: tuple[float, ...]  # seconds of each repeat; on emulated boards 1e-9 an instruction
    error_no: int
    all_cost_s: float
    timestamp: float
    number: int = 0  # line in its log

    @property
    def cost_s(self) -> float:
        """The middle of its repeats."""
        return statistics.median(self.costs_s)

    def line(self) -> str:
        """Return TVM's JSON, without a newline."""
        costs = list(self.costs_s)
        result: list[Any] = [costs, self.error_no, self.all_cost_s, self.timestamp]
        if self.tuner == AUTOTVM:
            body = {k: v for k, v in self.body.items() if k in ("input", "config")}
            rest = {k: v for k, v in self.body.items() if k not in ("input", "config")}
            return json.dumps({**body, "result": result, **rest})
        # TVM's C++ reader wants a whole number here
        result[3] = int(self.timestamp)
        return json.dumps({"i": self.body["i"], "r": result, "v": self.body["v"]})


def _canonical(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def parse(line: str, number: int = 0) -> Record:
    """Read one line of a log.

    Raises:
        ValueError: if it is no AutoTVM or Ansor record.
    """
    try:
        row = json.loads(line)
        tuner = AUTOTVM if "input" in row else ANSOR
        costs, error_no, all_cost, timestamp = row.pop("result" if tuner == AUTOTVM else "r")
        record = Record(
            tuner,
            row,
            tuple(float(cost) for cost in costs),
            int(error_no),
            float(all_cost),
            float(timestamp),
            number,
        )
        _ = record.key, record.target, record.cost_s
    except (KeyError, TypeError, IndexError, AttributeError, statistics.StatisticsError) as error:
        raise ValueError(f"not a tuning record ({error!r})") from error
    return record


@dataclass(frozen=True)
class Log:
    """The records of a log file, and what could not be read of it."""

    path: Path
    records: tuple[Record, ...]
    skipped: str = ""  # why the last line was skipped, or empty

    @property
    def tuner(self) -> str:
        """Which tuner wrote it; empty if it has no records."""
        return self.records[0].tuner if self.records else ""


def read(path: Path, board: Board | None = None) -> Log:
    """Read a log; an unfinished last line (power loss, kill) is skipped and reported.

    Raises:
        RecordError: if a line is damaged, tuners are mixed, or it belongs to another board.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise RecordError(f"cannot read the tuning log {path}: {error.strerror}") from error
    finished = len(lines) - 1  # what follows the last newline is not finished
    records: list[Record] = []
    skipped = ""
    for number, raw in enumerate(lines, start=1):
        if not raw.strip() or raw.startswith(b"#"):
            continue
        try:
            record = parse(raw.decode("utf-8"), number)
        except ValueError as error:
            if number > finished:
                skipped = f"{path}:{number}: unfinished last line skipped"
                continue
            raise RecordError(
                f"{path}:{number} is not a tuning record ({error}); remove that line"
            ) from error
        _check(record, records, path, board)
        records.append(record)
    return Log(path, tuple(records), skipped)


def _check(record: Record, before: list[Record], path: Path, board: Board | None) -> None:
    where = f"{path}:{record.number}"
    if before and record.tuner != before[0].tuner:
        raise RecordError(
            f"{where} was written by {record.tuner}, the lines before by {before[0].tuner}; "
            "keep one log a tuner"
        )
    if board is not None and record.model != board.model:
        raise RecordError(
            f"{where} was tuned for {record.model or 'an unnamed model'!r}, but the board "
            f"{board.name!r} is {board.model!r}; tune again for this board"
        )


class LogWriter:
    """Appends to a log; each record is on the disk before `append` returns."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        _finish_last_line(path)
        self._file = path.open("ab")

    def append(self, record: Record) -> None:
        """Write one record, whole, and flush it."""
        self._file.write(record.line().encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _finish_last_line(path: Path) -> None:
    """Cut off the unfinished last line that a killed run left, or end it if it is whole."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        content = file.read()
        tail = content[content.rfind(b"\n") + 1 :]
        if not tail:
            return
        try:
            parse(tail.decode("utf-8"))
        except ValueError:
            file.truncate(len(content) - len(tail))
        else:
            file.write(b"\n")


def by_workload(records: Iterator[Record] | tuple[Record, ...]) -> dict[str, list[Record]]:
    """Group records by what they compute, in the order of their first appearance."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.workload, []).append(record)
    return groups
