"""What a benchmark found, as frozen data that goes to JSON and back."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm_shufflenet.benchmark.statistics import Samples
from tvm_shufflenet.errors import InputError

SCHEMA = 1
MEASURED = "measured"
WRONG = "wrong"  # it ran, but did not compute what PyTorch computes
FAILED = "failed"
NOT_INSTALLED = "not installed"


@dataclass(frozen=True, kw_only=True)
class Result:
    """One runtime on one network, size and thread count."""

    network: str
    height: int
    width: int
    threads: int
    runner: str
    title: str
    ours: bool
    version: str | None
    settings: str
    status: str  # MEASURED, WRONG, FAILED or NOT_INSTALLED
    detail: str = ""  # why it was not measured, or what is remarkable
    difference_of_scale: float | None = None  # largest error / the logits' scale
    strict: bool | None = None  # within the project's own tolerance
    samples: Samples | None = None  # present exactly if measured

    @property
    def median_ms(self) -> float | None:
        """Median of one inference in milliseconds."""
        return self.samples.median_s * 1e3 if self.samples else None


@dataclass(frozen=True)
class Report:
    """All results of one command with the circumstances of the measurement."""

    command: str
    environment: dict[str, Any]
    results: tuple[Result, ...]
    warnings: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the report as JSON text, raw samples included."""
        results = [_plain(result) for result in self.results]
        content = {
            "schema": SCHEMA,
            "command": self.command,
            "environment": self.environment,
            "warnings": list(self.warnings),
            "results": results,
        }
        return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _plain(result: Result) -> dict[str, Any]:
    plain = {
        field.name: getattr(result, field.name)
        for field in dataclasses.fields(result)
        if field.name != "samples"
    }
    if plain["difference_of_scale"] is not None and math.isinf(plain["difference_of_scale"]):
        plain["difference_of_scale"] = None  # JSON has no infinity; `detail` says what happened
    if result.samples is not None:
        samples = result.samples
        plain["unit"] = "seconds"
        plain["median_ms"] = samples.median_s * 1e3
        plain["p90_ms"] = samples.p90_s * 1e3
        plain["p99_ms"] = samples.p99_s * 1e3
        plain["warnings"] = samples.warnings()
        plain["rounds"] = samples.rounds
        plain["warmups"] = samples.warmups
    return plain


def read(path: Path) -> Report:
    """Read a report written earlier.

    Raises:
        InputError: if the file is missing or is not such a report.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise InputError(
                f"{path} has schema {content['schema']!r}, this version reads {SCHEMA}"
            )
        results = tuple(_result(entry) for entry in content["results"])
        return Report(
            content["command"], content["environment"], results, tuple(content["warnings"])
        )
    except OSError as error:
        raise InputError(f"cannot read the report {path}: {error.strerror}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not a report of 'tvm-shufflenet bench': {error}") from None


def _result(entry: dict[str, Any]) -> Result:
    known = {field.name for field in dataclasses.fields(Result)} - {"samples"}
    samples = None
    if entry["status"] == MEASURED:
        samples = Samples(_tuples(entry["rounds"]), _tuples(entry["warmups"]))
    return Result(**{name: entry[name] for name in known}, samples=samples)


def _tuples(rounds: Iterable[Iterable[float]]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(value) for value in values) for values in rounds)


def groups(results: Iterable[Result]) -> list[list[Result]]:
    """Split results into those that were measured against each other, in their order."""
    found: dict[tuple[str, int, int, int], list[Result]] = {}
    for result in results:
        key = (result.network, result.height, result.width, result.threads)
        found.setdefault(key, []).append(result)
    return list(found.values())


def fastest(results: Iterable[Result]) -> Result | None:
    """Return the measured result with the smallest median."""
    measured = [result for result in results if result.samples is not None]
    return min(measured, key=lambda result: result.median_ms or math.inf, default=None)


def best_peer(group: Iterable[Result]) -> Result | None:
    """Return the fastest peer whose output was right."""
    return fastest(result for result in group if not result.ours)
