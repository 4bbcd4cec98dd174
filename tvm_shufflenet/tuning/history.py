"""Applying tuning logs to a build: the best verified record of each workload, and nothing else.

``with apply(log, board) as applied:`` around ``relay.build`` inside
``PassContext(config={**PASS_CONFIG, **applied.pass_config})``; afterwards `Applied.report` says
which record served each kernel and which kernels were built untuned.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from tvm_shufflenet.boards import Board
from tvm_shufflenet.compiler import load_tvm
from tvm_shufflenet.tuning import records, templates, verdicts
from tvm_shufflenet.tuning.records import ANSOR as ANSOR
from tvm_shufflenet.tuning.records import TUNERS, Record


@dataclass(frozen=True, kw_only=True)
class Served:
    """A workload and the record that served it."""

    workload: str
    record: str  # key of the record
    cost_s: float


@dataclass(frozen=True, kw_only=True)
class HistoryReport:
    """Which kernels a build took from a log."""

    log: Path | None
    tuner: str
    served: tuple[Served, ...]
    defaults: tuple[str, ...]  # workloads whose default is faster than the log's records
    untuned: tuple[str, ...]  # workloads that could be tuned but had no verified record
    skipped: str = ""  # an unfinished last line of the log, if there was one


@dataclass
class Applied:
    """What `apply` set up; fills up while kernels are built."""

    log: Path | None
    tuner: str
    pass_config: dict[str, Any]
    skipped: str = ""
    best: dict[str, Record] = field(default_factory=dict)
    costs_s: dict[str, float] = field(default_factory=dict)
    defaults: frozenset[str] = frozenset()  # workloads whose default no record beats
    asked: dict[str, tuple[str, bool]] = field(default_factory=dict)  # workload -> (site, served)
    derived: set[str] = field(default_factory=set)  # workloads in a layout that a template chose

    def note(self, workload: str, site: str, served: bool) -> None:
        """Note that a build asked for `workload` at `site`, an operator with its shapes."""
        if not self.asked.get(workload, ("", False))[1]:
            self.asked[workload] = (site, served)

    def report(self) -> HistoryReport:
        """Say what was served until now.

        An operator may have several templates; it counts as untuned only if none was served, and
        none is known to lose against its default.
        """
        served_sites = {site for site, served in self.asked.values() if served}
        served_sites |= {site for name, (site, _) in self.asked.items() if name in self.defaults}
        return HistoryReport(
            log=self.log,
            tuner=self.tuner,
            served=tuple(
                Served(workload=name, record=self.best[name].key, cost_s=self.costs_s[name])
                for name, (_, served) in self.asked.items()
                if served and name in self.best
            ),
            defaults=tuple(name for name in self.asked if name in self.defaults),
            untuned=tuple(
                name
                for name, (site, served) in self.asked.items()
                if not served and site not in served_sites
            ),
            skipped=self.skipped,
        )


def log_name(model: str, size: tuple[int, int], tuner: str) -> str:
    """Return what the log of a network at an input size is called."""
    stem = Path(model).stem if model.endswith(".onnx") else model
    return f"{stem}-{size[0]}x{size[1]}.{tuner}.json"


def shipped(board: Board, model: str, size: tuple[int, int]) -> Path | None:
    """Return the log that ships for a network on `board`'s model, AutoTVM's if both do."""
    folder = resources.files("tvm_shufflenet.tuning_logs") / board.model
    for tuner in TUNERS:
        path = Path(str(folder / log_name(model, size, tuner)))
        if path.is_file():
            return path
    return None


@contextmanager
def apply(log: Path | None, board: Board) -> Iterator[Applied]:
    """Serve builds inside this context from the verified records of `log` (None: untuned).

    Raises:
        RecordError: if the log is damaged or belongs to another board.
    """
    load_tvm()
    if log is None:
        applied = Applied(log=None, tuner="", pass_config={})
    else:
        content = records.read(log, board)
        known = verdicts.load(log)
        best = verdicts.best(content, known)
        use_ansor = content.tuner == ANSOR
        applied = Applied(
            log=log,
            tuner=content.tuner,
            pass_config={"relay.backend.use_auto_scheduler": True} if use_ansor else {},
            skipped=content.skipped,
            best=best,
            costs_s={name: verdicts.cost_s(record, known) for name, record in best.items()},
            defaults=frozenset(
                name
                for name, group in records.by_workload(content.records).items()
                if verdicts.default_is_best(group, known)
            ),
        )
    context = _ansor_context(applied) if applied.tuner == ANSOR else _autotvm_context(applied)
    with context, _no_warnings():
        yield applied


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Keep AutoTVM from warning of untuned workloads: `Applied.report` lists them."""
    from tvm.autotvm import GLOBAL_SCOPE

    before, GLOBAL_SCOPE.silent = GLOBAL_SCOPE.silent, True
    try:
        yield
    finally:
        GLOBAL_SCOPE.silent = before


def _autotvm_context(applied: Applied) -> Any:
    from tvm import autotvm

    templates.register()  # records of templates nobody registered would find nothing

    class History(autotvm.task.ApplyHistoryBest):
        """Serves from the log and notes what was asked for."""

        def query(self, target: Any, workload: Any) -> Any:
            config = super().query(target, workload)
            name = autotvm_workload(workload)
            if name not in applied.derived:
                applied.note(name, _site(workload), not config.is_fallback)
            return config

        def update(self, target: Any, workload: Any, cfg: Any) -> None:
            # A template gave its operator another layout; it was noted under the original one.
            applied.derived.add(autotvm_workload(workload))
            super().update(target, workload, cfg)

    pairs = []
    for name, record in applied.best.items():
        inp, result = autotvm.record.decode(record.line())
        inp.config.cost = applied.costs_s[name]
        pairs.append((inp, result._replace(costs=(applied.costs_s[name],))))
    return History(pairs)


def autotvm_workload(workload: tuple[Any, ...]) -> str:
    """Return an AutoTVM workload tuple the way `Candidate.workload` spells it."""
    name, *arguments = workload
    return records._canonical([name, arguments])


def _site(workload: tuple[Any, ...]) -> str:
    """Name the operator behind a workload: templates for the same operator share its tensors."""
    tensors = [part for part in workload if isinstance(part, tuple) and part[:1] == ("TENSOR",)]
    return str(tensors)


def _ansor_context(applied: Applied) -> Any:
    from tvm import auto_scheduler

    class History(auto_scheduler.ApplyHistoryBest):
        """Serves from the log and notes what was asked for."""

        def query(
            self, target: Any, workload_key: str, has_complex_op: bool, dag: Any, func_name: str
        ) -> Any:
            found = self._query_inside(target, workload_key, func_name)
            rewritten = workload_key not in applied.best and found is not None
            if (has_complex_op or found is not None) and not rewritten:
                applied.note(workload_key, workload_key, found is not None)
            return found

    load = auto_scheduler.measure_record.load_record_from_string
    return History([load(record.line()) for record in applied.best.values()])
