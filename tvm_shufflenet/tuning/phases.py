"""How a job in a worker process tells its parent which phase it is in."""

from __future__ import annotations

from multiprocessing.connection import Connection

_parents: list[Connection] = []  # one in a worker, none elsewhere


def report_to(parent: Connection) -> None:
    """Send this process's phases to `parent`."""
    _parents[:] = [parent]


def phase(name: str) -> None:
    """Enter phase `name`, which has a time limit of its own; does nothing outside a worker."""
    for parent in _parents:
        parent.send(("phase", name))
