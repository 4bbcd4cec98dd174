"""What a tuning run is asked to do, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tvm_shufflenet.errors import InputError, did_you_mean
from tvm_shufflenet.rpc.tracker import Address
from tvm_shufflenet.tuning.events import TaskProgress
from tvm_shufflenet.tuning.records import AUTOTVM, TUNERS

SEARCHES = ("xgb", "ga", "random", "grid")
DEFAULT_TRIALS = 1000


def check_tuner(name: str) -> None:
    """Refuse an unknown tuner.

    Raises:
        InputError: naming the known ones.
    """
    if name not in TUNERS:
        near = did_you_mean(name, TUNERS)
        raise InputError(f"unknown tuner {name!r}{near}; take {' or '.join(TUNERS)}")


@dataclass(frozen=True, kw_only=True)
class TuneOptions:
    """How to tune."""

    log: Path  # where the records go
    tuner: str = AUTOTVM  # "autotvm": our templates; "ansor": generated schedules
    trials: int | None = None  # budget of measurements, all tasks together
    time_s: float | None = None  # budget of seconds; neither: DEFAULT_TRIALS
    search: str = "xgb"  # AutoTVM's search; Ansor has its own
    threads: int = 0  # threads a kernel runs on; 0: as the board file says
    tracker: str = ""  # HOST:PORT; empty: 127.0.0.1:9190 (board "local" starts its own)
    host: str = ""  # HOST:PORT of a server that is reached directly
    key: str = ""  # key at the tracker; empty: the board file's
    tasks: tuple[str, ...] = ()  # names of tasks, or of operators; empty: all
    resume: bool = False  # go on with the records already in the log
    transfer: tuple[Path, ...] = ()  # earlier logs of the board's model to start from
    builders: int = 0  # processes that build kernels; 0: one a core of this machine
    servers: int = 1  # board "local": servers that measure at the same time
    early_stop: int = 200  # trials of a task without improvement after which it gets no more
    finalists: int = 6  # candidates of a task that are measured again, in turns, at the end
    patience_s: float = 300.0  # how long the board may be away before the run ends
    build_limit_s: float = 30.0  # for one kernel
    seed: int = 0
    templates: tuple[str, ...] = ()  # modules that register further templates when imported

    def __post_init__(self) -> None:
        check_tuner(self.tuner)
        if self.search not in SEARCHES:
            near = did_you_mean(self.search, SEARCHES)
            raise InputError(f"unknown search {self.search!r}{near}; take {', '.join(SEARCHES)}")
        for name in ("trials", "time_s"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise InputError(f"{name} must be positive, not {value}; leave it out for all")
        for address in filter(None, (self.tracker, self.host)):
            Address.parse(address)


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Where the wall time went, seconds."""

    search: float
    build: float
    measure: float  # the board was at work, or at least one server of a farm
    choose: float  # settling on the best at the end; its own builds and measurements are above
    wait: float  # the board was away
    total: float

    @property
    def overhead(self) -> float:
        """Share of the wall time in which nothing was measured."""
        return 1.0 - self.measure / self.total if self.total else 0.0


@dataclass(frozen=True, kw_only=True)
class TuneResult:
    """What a tuning run found."""

    log: Path
    tasks: tuple[TaskProgress, ...]
    trials: int  # measured in this run
    measured: int  # records in the log, with those of earlier runs
    wrong: int  # records whose kernel computed something else
    failed: int  # records whose kernel did not build or run
    defaults: tuple[str, ...]  # tasks whose default kernel no record beats inside the network
    untuned: tuple[str, ...]  # tasks without a verified record
    estimate_s: float | None  # sum of the tasks' best times, weighted
    before_s: float | None  # measured time of one inference of the untuned network
    after_s: float | None  # and of the network built from the log
    warnings: tuple[str, ...]
    shares: Shares
