"""The board ``local``: tracker and servers as processes of this machine, reached like any board."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import TracebackType
from typing import Self

from tvm_shufflenet.rpc.processes import Service
from tvm_shufflenet.rpc.server import server
from tvm_shufflenet.rpc.session import Link, wait_for
from tvm_shufflenet.rpc.tracker import Address, tracker

_REGISTER_LIMIT_S = 60.0


class Embedded:
    """A tracker and `count` servers on free ports of 127.0.0.1; ended when the context is left."""

    def __init__(
        self, key: str, *, count: int = 1, init: str = "", log: Path | None = None
    ) -> None:
        self._key = key
        self._count = count
        self._init = init
        self._log = log
        self._stack = contextlib.ExitStack()
        self.tracker: Service
        self.servers: list[Service] = []
        self.link: Link

    def __enter__(self) -> Self:
        try:
            self.tracker = self._stack.enter_context(tracker(log=self._log))
            self.link = Link(address=Address(*self.tracker.address), key=self._key)
            for _ in range(self._count):
                self.servers.append(self._stack.enter_context(self._server(0)))
            wait_for(self.link, _REGISTER_LIMIT_S)
        except BaseException:
            self._stack.close()
            raise
        return self

    def _server(self, port: int) -> Service:
        return server(
            key=self._key, tracker=self.link.address, port=port, init=self._init, log=self._log
        )

    def revive(self) -> None:
        """Start again what has ended, the tracker on its old port."""
        if not self.tracker.alive:
            port = self.link.address.port
            self.tracker.stop()
            self.tracker = self._stack.enter_context(tracker(port=port, log=self._log))
        for number, service in enumerate(self.servers):
            if not service.alive:
                service.stop()
                self.servers[number] = self._stack.enter_context(self._server(0))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()
