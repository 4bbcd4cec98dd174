"""The ``--threads`` option of the commands that measure."""

from __future__ import annotations

import click

from tvm_shufflenet.boards import LOCAL, Board

ALL_CORES = "all"
_ALL = 0
_MOST = 1024


def parse_threads(text: str) -> int:
    """Return a thread count; 0 for ``all``, which `resolve` turns into the board's cores.

    Raises:
        click.BadParameter: for anything but ``all`` and a number from 1 to 1024.
    """
    if text == ALL_CORES:
        return _ALL
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= _MOST):
        raise click.BadParameter(f"{text!r} is neither a number of threads nor 'all'")
    return int(text)


def resolve(threads: int, board: Board) -> int:
    """Return the number of threads on `board`: its cores, of this machine those we may use."""
    from tvm_shufflenet.benchmark.environment import usable_cores

    if threads != _ALL:
        return threads
    return usable_cores() if board.name == LOCAL else board.cpu.cores
