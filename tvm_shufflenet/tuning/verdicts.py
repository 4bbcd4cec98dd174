"""What is known of a record beyond its time: did it compute the right thing?

One JSON line a verdict in ``LOG.verified.json``, appended as soon as it is known; a later line
about the same record replaces an earlier one. A record without a verdict is never chosen.
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tvm_shufflenet.errors import RecordError
from tvm_shufflenet.tuning.records import OK, WRONG_ANSWER, Log, Record, by_workload

VERIFIED = "verified"  # compared on the board with a reference, and equal
WRONG = "wrong"  # compared, and different: kept as data, never chosen
FAILED = "failed"  # did not build or did not run
UNVERIFIED = "unverified"  # measured, not compared yet


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What verification and re-measuring said of one record."""

    key: str  # `Record.key`
    status: str  # VERIFIED, WRONG or FAILED
    error: float | None = None  # largest difference over the reference's largest value
    reference: str = ""  # what it was compared with
    costs_s: tuple[float, ...] = ()  # re-measured in turns with its rivals; empty: not yet
    # Its time inside the network over that of the default there, in turns; None: not measured.
    in_network: float | None = None

    @property
    def cost_s(self) -> float | None:
        """Middle of the re-measured times; None if it was not re-measured."""
        return statistics.median(self.costs_s) if self.costs_s else None


def verdicts_path(log: Path) -> Path:
    """Return where the verdicts of the records in `log` are kept."""
    return log.with_suffix(".verified.json")


def load(log: Path) -> dict[str, Verdict]:
    """Return the verdicts beside `log` by record key; an unfinished last line is skipped.

    Raises:
        RecordError: if another line is damaged.
    """
    path = verdicts_path(log)
    if not path.exists():
        return {}
    lines = path.read_bytes().split(b"\n")
    found: dict[str, Verdict] = {}
    for number, raw in enumerate(lines, start=1):
        if not raw.strip():
            continue
        try:
            row: dict[str, Any] = json.loads(raw)
            row["costs_s"] = tuple(float(cost) for cost in row.get("costs_s", ()))
            verdict = Verdict(**row)
        except (ValueError, TypeError, AttributeError) as error:
            if number == len(lines):
                continue
            raise RecordError(
                f"{path}:{number} is not a verdict ({error}); remove that line, "
                "then run 'tvm-shufflenet logs verify'"
            ) from error
        found[verdict.key] = verdict
    return found


class VerdictWriter:
    """Appends verdicts; each is on the disk before `append` returns."""

    def __init__(self, log: Path) -> None:
        path = verdicts_path(log)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            content = path.read_bytes()
            with path.open("r+b") as file:
                file.truncate(content.rfind(b"\n") + 1)
        self._file = path.open("ab")

    def append(self, verdict: Verdict) -> None:
        """Write one verdict, whole, and flush it."""
        self._file.write(dump(verdict).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def dump(verdict: Verdict) -> str:
    """Return a verdict as one line of JSON."""
    return json.dumps({k: v for k, v in asdict(verdict).items() if v not in ("", (), None)})


def status(record: Record, verdicts: Mapping[str, Verdict]) -> str:
    """Return what is known of `record`: one of the four words above."""
    if record.error_no == WRONG_ANSWER:
        return WRONG
    if record.error_no != OK:
        return FAILED
    verdict = verdicts.get(record.key)
    return verdict.status if verdict else UNVERIFIED


def cost_s(record: Record, verdicts: Mapping[str, Verdict]) -> float:
    """Return a record's time: re-measured against its rivals if it was, as measured otherwise."""
    verdict = verdicts.get(record.key)
    again = verdict.cost_s if verdict else None
    return record.cost_s if again is None else again


def best(log: Log, verdicts: Mapping[str, Verdict]) -> dict[str, Record]:
    """Return the fastest verified record of each workload that is faster than the default.

    Depends on the records and verdicts alone, so an interrupted and resumed run chooses as an
    uninterrupted one would have.
    """
    groups = by_workload(log.records)
    found = {workload: fastest(records, verdicts) for workload, records in groups.items()}
    return {
        workload: record
        for workload, record in found.items()
        if record is not None and not _loses(record, verdicts)
    }


def fastest(records: Iterable[Record], verdicts: Mapping[str, Verdict]) -> Record | None:
    """Return the fastest verified record of one workload, be the default faster or not.

    Records that were timed inside the network go before those timed alone.
    """
    usable = [record for record in records if status(record, verdicts) == VERIFIED]
    placed = [(r, ratio) for r in usable if (ratio := in_network(r, verdicts)) is not None]
    if placed:
        return min(placed, key=lambda pair: (pair[1], pair[0].key))[0]
    return min(usable, key=lambda r: (cost_s(r, verdicts), r.key), default=None)


def in_network(record: Record, verdicts: Mapping[str, Verdict]) -> float | None:
    """Return a record's time inside the network over the default's; None if not measured."""
    verdict = verdicts.get(record.key)
    return verdict.in_network if verdict else None


def default_is_best(records: Iterable[Record], verdicts: Mapping[str, Verdict]) -> bool:
    """Whether the records of one workload were timed in the network, and none beat the default."""
    record = fastest(records, verdicts)
    return record is not None and _loses(record, verdicts)


def _loses(record: Record, verdicts: Mapping[str, Verdict]) -> bool:
    ratio = in_network(record, verdicts)
    return ratio is not None and ratio >= 1.0


def tally(records: Iterable[Record], verdicts: Mapping[str, Verdict]) -> dict[str, int]:
    """Count records by status."""
    counts = {VERIFIED: 0, UNVERIFIED: 0, WRONG: 0, FAILED: 0}
    for record in records:
        counts[status(record, verdicts)] += 1
    return counts
