"""A measuring station for tests, and candidates of the fixture template."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tvm_shufflenet import linking
from tvm_shufflenet.boards import Board
from tvm_shufflenet.rpc.tracker import Address
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


class Cable:
    """Carries TCP connections from a port of this machine to `end`, until it is cut."""

    def __init__(self, end: Address) -> None:
        self._end = end
        self._ends: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = Address("127.0.0.1", self._listener.getsockname()[1])
        self._serve()

    def cut(self) -> None:
        """Drop every connection, and refuse new ones."""
        for end in (self._listener, *self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._ends.clear()

    def mend(self) -> None:
        """Carry again, from the same port."""
        self._listener = socket.create_server(tuple(self.address))
        self._serve()

    def _serve(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(self._end)
                self._ends += [near, far]
                for source, target in ((near, far), (far, near)):
                    carry = threading.Thread(target=_carry, args=(source, target), daemon=True)
                    carry.start()


def _carry(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
