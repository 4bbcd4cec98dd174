"""The ``--threads`` option of the commands that measure."""

from __future__ import annotations

import click

ALL_CORES = "all"
_MOST = 1024


def parse_threads(text: str) -> int:
    """Return a thread count; ``all`` is every core that this process may use.

    Raises:
        click.BadParameter: for anything but ``all`` and a number from 1 to 1024.
    """
    if text == ALL_CORES:
        from tvm_shufflenet.benchmark.environment import usable_cores

        return usable_cores()
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= _MOST):
        raise click.BadParameter(f"{text!r} is neither a number of threads nor 'all'")
    return int(text)
