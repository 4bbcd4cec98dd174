"""What a tuning run tells its observer; the command line turns it into tables or JSON lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TaskProgress:
    """Where one task stands."""

    name: str
    title: str
    weight: int
    trials: int  # measured, those of earlier runs included
    best_s: float | None  # fastest right answer of one call
    gflops: float | None
    share: float  # of the estimated time of the network, 0 to 1
    done: bool  # no more trials: exhausted or stopped early


@dataclass(frozen=True, kw_only=True)
class Started:
    """The run begins."""

    network: str
    board: str
    tuner: str
    tasks: int
    trials: int | None  # budget; None: limited by time
    time_s: float | None
    resumed: int  # records taken over from the log
    servers: int
    unit: str  # of all costs: "seconds", or "instructions" on an emulated board


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A candidate was measured; its record is on the disk."""

    task: str
    key: str
    status: str
    cost_s: float | None
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A batch was measured."""

    tasks: tuple[TaskProgress, ...]
    trials: int  # of this run
    elapsed_s: float
    left_s: float | None  # estimate of the time to the end of the budget
    estimate_s: float | None  # sum of the best times of the tasks; None while some have none


@dataclass(frozen=True, kw_only=True)
class Warned:
    """Something is not as it should be, but the run goes on."""

    message: str


@dataclass(frozen=True, kw_only=True)
class BoardLost:
    """The board does not answer; the run waits for it."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class BoardBack:
    """The board answers again."""

    after_s: float


@dataclass(frozen=True, kw_only=True)
class Choosing:
    """The fastest candidates of a task are measured again in turns, and verified."""

    task: str
    candidates: int


@dataclass(frozen=True, kw_only=True)
class Settling:
    """Candidates are timed inside the network, in turns with the default kernels."""

    rank: int  # 1: the fastest of each task; 0: what was chosen, together
    kernels: int


Event = Started | Trial | Progress | Warned | BoardLost | BoardBack | Choosing | Settling
Observer = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Observe nothing."""
