"""What `bench` and `compare` do for boards that are not this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tvm_shufflenet.cli.console import print_table, progress
from tvm_shufflenet.errors import TvmShufflenetError

if TYPE_CHECKING:
    from tvm_shufflenet.benchmark.emulated import CountedReport
    from tvm_shufflenet.benchmark.measure import Entry, Opener, Progress
    from tvm_shufflenet.boards import Board


@contextmanager
def opener_on(board: Board, tracker: str, threads: int) -> Iterator[tuple[Opener, dict[str, Any]]]:
    """Hold an RPC session on a real board; gives how entries are opened there, and its stamp.

    Raises:
        BoardUnreachable: if there is no such board at the tracker.
    """
    from tvm_shufflenet.benchmark import environment
    from tvm_shufflenet.benchmark.remote import on_board
    from tvm_shufflenet.rpc.session import link_to

    with on_board(board, link_to(board, tracker=tracker), threads) as (opener, described):
        named = {"board": board.name, "target": board.target_string()}
        yield opener, {**named, "versions": environment.versions(), **described}


@dataclass(frozen=True, kw_only=True)
class CountRequest:
    """What to count on an emulated board."""

    models: tuple[str, ...]
    size: tuple[int, int]
    peers: tuple[str, ...] | None  # None: no peers; empty: all
    untuned: bool
    cycles: bool


def count(board: Board, request: CountRequest, command: str) -> CountedReport:
    """Count instructions on an emulated board.

    Raises:
        InputError: for networks, sizes or peers that cannot be counted.
        ToolchainError: if the emulator cannot be prepared.
    """
    from tvm_shufflenet import models
    from tvm_shufflenet.benchmark import emulated

    for name in request.models:
        models.check_input_size(name, request.size)
    peers = () if request.peers is None else emulated.check_peers(request.peers)
    found = []
    with tempfile.TemporaryDirectory(prefix="tvm-shufflenet-") as scratch, progress() as tell:
        for name in request.models:
            for entry in _entries(board, request, name, peers, Path(scratch), tell):
                found.append(emulated.count(entry, board, tell, cycles=request.cycles))
    return emulated.CountedReport(
        command=command, board=board.name, cpu=board.cpu.name, results=tuple(found)
    )


def _entries(
    board: Board,
    request: CountRequest,
    network: str,
    peers: Sequence[str],
    scratch: Path,
    tell: Progress,
) -> list[Entry]:
    from tvm_shufflenet.benchmark import packages

    case = packages.Case(network=network, size=request.size, threads=1)
    entries = packages.our_entries(case, board.name, scratch, tell, untuned=request.untuned)
    return entries + packages.peer_entries(case, entries[0].export, peers)


def show_counts(report: CountedReport) -> None:
    """Print a report: a table a network; a failure of ours is an error.

    Raises:
        TvmShufflenetError: if a package of ours failed or was wrong, after everything was printed.
    """
    from tvm_shufflenet.benchmark.count_tables import count_groups, count_table

    for group in count_groups(report):
        print_table(count_table(group, report.board))
        click.echo("")
    for counted in report.results:
        if counted.ours and counted.instructions is None:
            raise TvmShufflenetError(
                f"{counted.network}: {counted.title}: {counted.status}: {counted.detail}; "
                "this is a bug of ours, please report it"
            )
