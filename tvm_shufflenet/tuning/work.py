"""What passes through the measuring station: tasks, candidates under way, outcomes, limits."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm_shufflenet.boards import Board
from tvm_shufflenet.tuning import measure
from tvm_shufflenet.tuning.build import Built
from tvm_shufflenet.tuning.measure import Measured
from tvm_shufflenet.tuning.records import OK, WRONG_ANSWER, Candidate, Record
from tvm_shufflenet.tuning.verdicts import VERIFIED, WRONG, Verdict

_NETWORK_FLOPS = 280e6  # what `Rpc.session_timeout_s` is meant for: 140 M multiply-adds
_BASE_SHARE = 0.1  # of that limit, for a kernel of no work at all
UPLOAD_BYTES_PER_S = 1e6  # slowest connection to a board that we allow for


@dataclass
class Subject:
    """A task as the station sees it: what it takes to build, check and time its candidates."""

    name: str
    tuner: str
    flops: float
    example: Candidate  # any candidate: describes the task
    registry: tuple[Any, ...] | None  # Ansor: its entry of TVM's workload registry
    data: str = ""  # .npz with inputs and expected output, once prepared
    reference: str = ""  # what the expected output was computed with
    # Every trial is compared; Ansor's own layouts need a build of their own for that.
    checked_each: bool = False
    best_s: float = math.inf


@dataclass(frozen=True)
class Outcome:
    """A candidate after measuring."""

    record: Record
    verdict: Verdict | None
    message: str = ""


@dataclass(eq=False)
class Work:
    """A candidate on its way through the station."""

    candidate: Candidate
    subject: Subject
    built: Built | None = None
    build_s: float = 0.0
    rounds: int = 1  # measurements to come
    original_layouts: bool = False


@dataclass
class Clock:
    """Where the time went, seconds."""

    build: float = 0.0
    measure: float = 0.0
    wait: float = 0.0


def session_limit_s(board: Board, subject: Subject, built: Built) -> float:
    """Return how long a kernel may take on the board: grows with its work and its data."""
    size = 4 * sum(math.prod(argument.shape) for argument in built.arguments)
    share = _BASE_SHARE + subject.flops / _NETWORK_FLOPS
    return board.rpc.session_timeout_s * share + size / UPLOAD_BYTES_PER_S


def measured(work: Work, result: Measured) -> Outcome:
    """Return the outcome of a measurement that went well, be its answer right or wrong."""
    wrong = measure.is_wrong(result.error)
    record = work.candidate.record(
        result.costs,
        WRONG_ANSWER if wrong else OK,
        all_cost_s=work.build_s + result.seconds,
        timestamp=time.time(),
    )
    if result.error is None:
        return Outcome(record, None)
    verdict = Verdict(
        key=work.candidate.key,
        status=WRONG if wrong else VERIFIED,
        error=result.error,
        reference=work.subject.reference,
    )
    message = f"output differs by {result.error:.1e} of its range" if wrong else ""
    return Outcome(record, verdict, message)


def failed(work: Work, error_no: int, message: str) -> Outcome:
    """Return the outcome of a candidate that did not build or run."""
    record = work.candidate.record((), error_no, all_cost_s=work.build_s, timestamp=time.time())
    return Outcome(record, None, message)


def line(candidate: Candidate) -> str:
    """Return a candidate as a line of a log, for a worker to decode."""
    return candidate.record((0.0,), OK, all_cost_s=0.0, timestamp=0.0).line()


def remove(work: Work) -> None:
    """Delete the library of a candidate that is done."""
    if work.built is not None:
        Path(work.built.path).unlink(missing_ok=True)
