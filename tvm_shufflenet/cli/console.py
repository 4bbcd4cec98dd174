"""Tables on stdout, progress on stderr; needs rich, which the host extra brings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tvm_shufflenet.errors import ToolchainError

if TYPE_CHECKING:
    from rich.table import Table

_PIPE_COLUMNS = 1000


def print_table(table: Table) -> None:
    """Print a table; into a pipe at its full width, where rich would assume 80 columns."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=_PIPE_COLUMNS)
    console.print(table)


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Give a function that shows what is going on: one changing line, or nothing in a pipe.

    Raises:
        ToolchainError: if rich is not installed.
    """
    try:
        from rich.console import Console
    except ImportError:
        raise ToolchainError(
            'this command needs rich: pip install "tvm-shufflenet[host]"'
        ) from None
    with Console(stderr=True).status("starting", spinner="line") as status:
        yield status.update
