"""A measuring station for tests, and candidates of the fixture template."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tvm_shufflenet import linking
from tvm_shufflenet.boards import Board
from tvm_shufflenet.tuning import templates
from tvm_shufflenet.tuning.embedded import Embedded
from tvm_shufflenet.tuning.events import Event
from tvm_shufflenet.tuning.station import Station
from tvm_shufflenet.tuning.tasks import Task
from tvm_shufflenet.tuning.work import Outcome, Subject

MODULES = ("tuning.fixture_templates",)


def scale_task(board: Board, ways: Sequence[str], name: str = "t00", size: int = 256) -> Task:
    """Return the task of the fixture template with these ways to behave."""
    templates.register(MODULES)
    from tvm import autotvm

    from tvm_shufflenet.tuning.history import autotvm_workload

    arguments = (size, tuple(ways))
    handle = autotvm.task.create("scale.fixture", arguments, board.target())
    return Task(
        name=name,
        tuner="autotvm",
        title=f"scale.fixture {size}",
        workload=autotvm_workload(("scale.fixture", *arguments)),
        site=name,
        weight=1,
        flops=float(size),
        handle=handle,
        space=len(handle.config_space),
    )


class Bench:
    """A station on the embedded services, with a record of its events."""

    def __init__(self, board: Board, services: Embedded, scratch: Path, servers: int = 1) -> None:
        self.board = board
        self.services = services
        self.events: list[Event] = []
        self.station = Station(
            board=board,
            link=services.link,
            linker=linking.linker(board),
            scratch=scratch,
            observer=self.events.append,
            threads=1,
            builders=2,
            servers=servers,
            patience_s=60.0,
            modules=MODULES,
            revive=services.revive,
        )

    def measure(self, ways: Sequence[str], **options: Any) -> dict[str, Outcome]:
        """Measure each way to behave once; the first one is the reference."""
        task = scale_task(self.board, ways)
        space = task.handle.config_space
        candidates = [task.candidate(space.get(index)) for index in range(len(space))]
        subject = Subject("t00", "autotvm", task.flops, candidates[0], None, checked_each=True)
        outcomes: dict[str, Outcome] = {}
        pairs = [(candidate, subject) for candidate in candidates]
        for outcome in self.station.measure(pairs, **options):
            outcomes[outcome.record.body["config"]["entity"][0][2]] = outcome
        return outcomes
