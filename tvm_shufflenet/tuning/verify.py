"""Verifying a log after the fact: records of plain TVM, or of a run that was killed."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tvm_shufflenet.boards import Board
from tvm_shufflenet.errors import RecordError
from tvm_shufflenet.tuning import choose, records, verdicts
from tvm_shufflenet.tuning.events import Observer, ignore
from tvm_shufflenet.tuning.options import TuneOptions
from tvm_shufflenet.tuning.records import ANSOR, Log, Record
from tvm_shufflenet.tuning.tasks import Task, registry_entry
from tvm_shufflenet.tuning.tune import open_station
from tvm_shufflenet.tuning.verdicts import VERIFIED, VerdictWriter
from tvm_shufflenet.tuning.work import Subject

_FLOPS = 280e6  # of an unknown task, for its time limit


def verify(
    board: Board, options: TuneOptions, tasks: Sequence[Task] = (), observer: Observer = ignore
) -> Log:
    """Compare the fastest records of ``options.log`` with a reference until one of each is right.

    Ansor's records do not say what they compute: `tasks` of their network do.

    Raises:
        RecordError: if the log is damaged or another board's, or an Ansor log comes without tasks.
        BoardUnreachable: if the board cannot be reached.
    """
    log = records.read(options.log, board)
    if log.tuner == ANSOR and not tasks:
        raise RecordError(f"{options.log} is Ansor's: name the network it was tuned for")
    known = verdicts.load(options.log)
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tvm-shufflenet-")))
        station = open_station(board, options, scratch, stack, observer)
        writer = VerdictWriter(options.log)
        stack.callback(writer.close)

        def judge(verdict: verdicts.Verdict) -> None:
            writer.append(verdict)
            known[verdict.key] = verdict

        for number, group in enumerate(records.by_workload(log.records).values()):
            subject = _subject(f"workload {number}", group[0], tasks)
            while rivals := choose.finalists(group, known, 1):
                choose.check(station, subject, rivals, known, judge)
                if verdicts.status(rivals[0], known) == VERIFIED:
                    break
    return log


def _subject(name: str, example: Record, tasks: Sequence[Task]) -> Subject:
    task = next((task for task in tasks if task.workload == example.workload), None)
    if task is None and example.tuner == ANSOR:
        raise RecordError(
            f"line {example.number} of the log is not of this network; name the one it was "
            "tuned for, at the same input size"
        )
    return Subject(
        name=task.name if task else name,
        tuner=example.tuner,
        flops=task.flops if task else _FLOPS,
        example=example,
        registry=registry_entry(task) if task and example.tuner == ANSOR else None,
    )
