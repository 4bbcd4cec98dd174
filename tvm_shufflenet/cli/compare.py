"""``tvm-shufflenet compare``: Table 8 of the paper anew, ShuffleNet beside AlexNet."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tvm_shufflenet.boards import LOCAL, load_board
from tvm_shufflenet.cli.bench import (
    command_line,
    fail_if_ours_is_wrong,
    opening,
    print_warnings,
)
from tvm_shufflenet.cli.console import print_table, progress
from tvm_shufflenet.cli.sizes import parse_size
from tvm_shufflenet.cli.threads import parse_threads, resolve
from tvm_shufflenet.errors import InputError

if TYPE_CHECKING:
    from tvm_shufflenet.benchmark.measure import Entry, Progress
    from tvm_shufflenet.benchmark.results import Report, Result

Size = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class _Request:
    sizes: tuple[Size, ...]
    threads: int
    rounds: int
    untuned: bool
    board: str
    tracker: str


@click.command("compare")
@click.option(
    "--size",
    "sizes",
    multiple=True,
    default=("224x224",),
    show_default=True,
    metavar="HxW",
    callback=lambda _ctx, _param, texts: tuple(dict.fromkeys(map(parse_size, texts))),
    help="Size of the input; repeatable. The paper has 224x224, 480x640 and 720x1280.",
)
@click.option(
    "--packages",
    "folders",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A package made earlier, instead of compiling that network; repeatable.",
)
@click.option("--board", default=LOCAL, show_default=True, help="Where to compile for and run.")
@click.option("--tracker", default="", metavar="HOST:PORT", help="Where the board registers.")
@click.option(
    "--threads",
    default="1",
    show_default=True,
    metavar="N|all",
    callback=lambda _ctx, _param, text: parse_threads(text),
    help="Number of threads, or all cores.",
)
@click.option("--rounds", type=click.IntRange(1), default=20, show_default=True)
@click.option("--untuned", is_flag=True, help="Compile without tuning records.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, raw samples included.")
@click.option(
    "--from",
    "earlier",
    type=click.Path(path_type=Path),
    help="Show what --json printed; measure nothing.",
)
def compare_command(
    folders: tuple[Path, ...], as_json: bool, earlier: Path | None, **options: Any
) -> None:
    """Time ShuffleNet 0.5x (arch2), ShuffleNet 1x and AlexNet in turn and print Table 8 anew.

    Every package is checked against PyTorch before it is timed.
    """
    from tvm_shufflenet.benchmark import results

    if earlier is not None:
        report = results.read(earlier)
    else:
        report = _measure(_Request(**options), folders)
    if as_json:
        click.echo(report.to_json(), nl=False)
    else:
        _show(report)
    print_warnings(report)
    fail_if_ours_is_wrong(report)


def _measure(request: _Request, folders: tuple[Path, ...]) -> Report:
    from tvm_shufflenet.benchmark import environment
    from tvm_shufflenet.benchmark.interleave import Plan
    from tvm_shufflenet.benchmark.measure import measure
    from tvm_shufflenet.benchmark.results import Report

    board = load_board(request.board)
    if board.emulator:
        raise InputError(
            f"compare is about time, which means nothing on {request.board}; "
            f"'tvm-shufflenet bench --board {request.board}' counts instructions there"
        )
    request = replace(request, threads=resolve(request.threads, board))
    found: list[Result] = []
    with (
        tempfile.TemporaryDirectory(prefix="tvm-shufflenet-") as scratch,
        progress() as tell,
        opening(board, request.tracker, request.threads) as (opener, stamp),
    ):
        given = _given(folders, request)
        for size in request.sizes:
            entries = _entries(size, given, request, Path(scratch), tell)
            found += measure(entries, Plan(rounds=request.rounds), tell, opener)
    return Report(command_line(), stamp, tuple(found), environment.load_warnings(stamp))


def _given(folders: tuple[Path, ...], request: _Request) -> dict[tuple[str, Size], Entry]:
    """Return the user's packages by network and size; one that has no row is refused."""
    from tvm_shufflenet.benchmark import packages, table8

    found = {}
    for folder in folders:
        entry = packages.recognize(folder, request.threads)
        size = (entry.export.height, entry.export.width)
        if entry.export.network not in table8.NETWORKS or size not in request.sizes:
            raise InputError(
                f"{folder} is {entry.export.network} at {size[0]}x{size[1]}, which is not in this "
                f"table; it has {', '.join(table8.NETWORKS)} at the sizes given by --size"
            )
        found[entry.export.network, size] = entry
    return found


def _entries(
    size: Size,
    given: dict[tuple[str, Size], Entry],
    request: _Request,
    scratch: Path,
    tell: Progress,
) -> list[Entry]:
    from tvm_shufflenet.benchmark import packages, table8
    from tvm_shufflenet.benchmark.export import export
    from tvm_shufflenet.benchmark.measure import Entry
    from tvm_shufflenet.benchmark.runners import OURS

    entries = []
    for network in table8.NETWORKS:
        if (network, size) in given:
            entries.append(given[network, size])
            continue
        tell(f"{network} at {size[0]}x{size[1]}: compiling")
        case = packages.Case(network=network, size=size, threads=request.threads)
        package = packages.compile_package(case, request.board, scratch, untuned=request.untuned)
        exported = export(network, *size, case.seed)
        entries.append(Entry(OURS, packages.MERGED, exported, request.threads, package))
    return entries


def _show(report: Report) -> None:
    from tvm_shufflenet import models
    from tvm_shufflenet.benchmark import table8, tables

    for size in dict.fromkeys((result.height, result.width) for result in report.results):
        results = [entry for entry in report.results if (entry.height, entry.width) == size]
        counted = {name: models.multiply_adds(name, size) for name in table8.NETWORKS}
        print_table(tables.paper_table(table8.rows(results, counted)))
        click.echo("")
