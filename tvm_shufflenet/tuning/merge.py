"""Logs into logs: the best of one, or several as one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tvm_shufflenet.boards import Board
from tvm_shufflenet.errors import RecordError
from tvm_shufflenet.tuning import meta, records, verdicts
from tvm_shufflenet.tuning.records import Log, LogWriter, Record
from tvm_shufflenet.tuning.verdicts import UNVERIFIED, Verdict, VerdictWriter


def write_best(source: Path, target: Path, board: Board | None = None) -> int:
    """Write the best verified record of each workload of `source`; return how many there are.

    Where the default is faster inside the network, the log says so with the record that comes
    next to it.

    Raises:
        RecordError: if `source` is damaged, another board's, has nothing verified, or `target`
            is there already.
    """
    log, known = records.read(source, board), verdicts.load(source)
    groups = records.by_workload(log.records).values()
    fastest = [verdicts.fastest(group, known) for group in groups]
    best = [record for record in fastest if record is not None]
    if not best:
        raise RecordError(
            f"{source} has no verified record; run 'tvm-shufflenet logs verify {source}'"
        )
    _write(target, best, known, {**meta.load(source), "suspects": {}})
    return len(best)


def merge(sources: Sequence[Path], target: Path, board: Board | None = None) -> int:
    """Write the records of all `sources` into `target`; return how many there are.

    A candidate that several logs have is taken from the one that verified it, else from the first.

    Raises:
        RecordError: if a source is damaged, or they differ in tuner or board model.
    """
    logs = [records.read(path, board) for path in sources]
    _check_kin(logs)
    chosen: dict[str, Record] = {}
    known: dict[str, Verdict] = {}
    for log in logs:
        theirs = verdicts.load(log.path)
        for record in log.records:
            mine = chosen.get(record.key)
            better = verdicts.status(record, theirs) != UNVERIFIED and record.key not in known
            if mine is None or better:
                chosen[record.key] = record
                known.update({record.key: theirs[record.key]} if record.key in theirs else {})
    content: dict[str, Any] = {**meta.load(sources[0]), "suspects": {}}
    content["merged"] = [path.name for path in sources]
    _write(target, chosen.values(), known, content)
    return len(chosen)


def _check_kin(logs: Sequence[Log]) -> None:
    first = next((log for log in logs if log.records), None)
    if first is None:
        raise RecordError(f"{logs[0].path if logs else 'the log'} has no records to merge")
    for log in logs:
        for record in log.records[:1]:
            if (record.tuner, record.model) != (first.tuner, first.records[0].model):
                raise RecordError(
                    f"{log.path} is for {record.model!r} by {record.tuner}, {first.path} for "
                    f"{first.records[0].model!r} by {first.tuner}; merge only logs that agree"
                )


def _write(
    target: Path, chosen: Iterable[Record], known: Mapping[str, Verdict], content: dict[str, Any]
) -> None:
    if target.exists():
        raise RecordError(f"{target} is there already; give another name")
    write_chosen(target, chosen, known)
    meta.save(target, content)


def write_chosen(target: Path, chosen: Iterable[Record], known: Mapping[str, Verdict]) -> None:
    """Write records and their verdicts as a log."""
    log, judge = LogWriter(target), VerdictWriter(target)
    try:
        for record in chosen:
            log.append(record)
            if record.key in known:
                judge.append(known[record.key])
    finally:
        log.close()
        judge.close()
