"""``tvm-shufflenet bench``: our packages beside every other runtime, in one interleaved run."""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tvm_shufflenet.boards import LOCAL, load_board
from tvm_shufflenet.cli.boards_bench import CountRequest, count, opener_on, show_counts
from tvm_shufflenet.cli.console import print_table, progress
from tvm_shufflenet.cli.sizes import size_option
from tvm_shufflenet.cli.threads import ALL_CORES, parse_threads, resolve
from tvm_shufflenet.errors import InputError, TvmShufflenetError

if TYPE_CHECKING:
    from tvm_shufflenet.benchmark.measure import Opener, Progress
    from tvm_shufflenet.benchmark.results import Report, Result
    from tvm_shufflenet.boards import Board


@dataclass(frozen=True, kw_only=True)
class _Request:
    models: tuple[str, ...]
    size: tuple[int, int]
    threads: tuple[int, ...]
    rounds: int
    untuned: bool
    peers: tuple[str, ...]
    board: str
    tracker: str


@click.command("bench")
@click.argument("models", nargs=-1, metavar="MODEL...")
@size_option()
@click.option("--peers/--no-peers", "with_peers", default=True, help="Measure other runtimes too.")
@click.option("--peer", "chosen", multiple=True, metavar="NAME", help="Only this peer; repeatable.")
@click.option(
    "--threads",
    multiple=True,
    default=("1", ALL_CORES),
    show_default=True,
    metavar="N|all",
    callback=lambda _ctx, _param, texts: tuple(map(parse_threads, texts)),
    help="Number of threads, or all cores; repeatable.",
)
@click.option("--rounds", type=click.IntRange(1), default=20, show_default=True)
@click.option("--untuned", is_flag=True, help="Compile ours without tuning records.")
@click.option("--board", default=LOCAL, show_default=True, help="Where to measure.")
@click.option("--tracker", default="", metavar="HOST:PORT", help="Where the board registers.")
@click.option("--cycles", is_flag=True, help="Emulated board: estimate cycles (llvm-mca) too.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write raw samples.")
@click.option("--plot", type=click.Path(path_type=Path), help="Write a bar chart (PNG, SVG, PDF).")
@click.option(
    "--from",
    "earlier",
    type=click.Path(path_type=Path),
    help="Show a --json file; measure nothing.",
)
def bench_command(
    models: tuple[str, ...],
    with_peers: bool,
    chosen: tuple[str, ...],
    json_file: Path | None,
    plot: Path | None,
    earlier: Path | None,
    cycles: bool,
    **options: Any,
) -> None:
    """Measure MODEL... beside other runtimes, float32, batch 1.

    Every runtime's output is checked against PyTorch first. Each runs in a process of its own
    and only while it is its turn. On a board reached over RPC our packages are timed there, and
    on an emulated board instructions are counted.
    """
    from tvm_shufflenet.benchmark import packages, results

    if earlier is None and not models:
        raise click.UsageError("name at least one network; 'tvm-shufflenet models' lists them")
    if earlier is not None:
        report = results.read(earlier)
    elif load_board(options["board"]).emulator:
        if plot is not None:
            raise click.UsageError("--plot draws times, and an emulated board has none")
        request = CountRequest(
            models=models,
            size=options["size"],
            peers=chosen if with_peers else None,
            untuned=options["untuned"],
            cycles=cycles,
        )
        _bench_emulated(load_board(options["board"]), request, json_file)
        return
    else:
        peers = packages.check_peers(chosen) if with_peers and options["board"] == LOCAL else ()
        report = _measure(_Request(models=models, peers=peers, **options))
    show(report)
    if json_file is not None:
        write_text(json_file, report.to_json())
    if plot is not None:
        from tvm_shufflenet.benchmark.plot import write_chart

        write_chart(report, plot)
    fail_if_ours_is_wrong(report)


def _bench_emulated(board: Board, request: CountRequest, json_file: Path | None) -> None:
    counted = count(board, request, command_line())
    if json_file is not None:
        write_text(json_file, counted.to_json())
    show_counts(counted)


def _measure(request: _Request) -> Report:
    from tvm_shufflenet import models
    from tvm_shufflenet.benchmark import environment
    from tvm_shufflenet.benchmark.results import Report

    for name in request.models:
        models.check_input_size(name, request.size)
    stamp: dict[str, Any] = {}
    found: list[Result] = []
    board = load_board(request.board)
    counts = dict.fromkeys(resolve(threads, board) for threads in request.threads)
    with tempfile.TemporaryDirectory(prefix="tvm-shufflenet-") as scratch, progress() as tell:
        for threads in counts:
            with opening(board, request.tracker, threads) as (opener, described):
                stamp = stamp or described
                for name in request.models:
                    found += _measure_case(request, name, threads, Path(scratch), opener, tell)
    # Results of one network stand together, whichever order the sessions asked for.
    found.sort(key=lambda result: request.models.index(result.network))
    return Report(command_line(), stamp, tuple(found), environment.load_warnings(stamp))


@contextmanager
def opening(board: Board, tracker: str, threads: int) -> Iterator[tuple[Opener, dict[str, Any]]]:
    """Give how entries are opened on `board`, and the stamp of the machine before measuring."""
    from tvm_shufflenet.benchmark import environment
    from tvm_shufflenet.benchmark.measure import open_worker

    if board.name == LOCAL:
        yield open_worker, environment.stamp()
        return
    with opener_on(board, tracker, threads) as opened:
        yield opened


def _measure_case(
    request: _Request, name: str, threads: int, scratch: Path, opener: Opener, tell: Progress
) -> tuple[Result, ...]:
    from tvm_shufflenet.benchmark import packages
    from tvm_shufflenet.benchmark.interleave import Plan
    from tvm_shufflenet.benchmark.measure import measure

    case = packages.Case(network=name, size=request.size, threads=threads)
    entries = packages.our_entries(case, request.board, scratch, tell, untuned=request.untuned)
    entries += packages.peer_entries(case, entries[0].export, request.peers)
    return measure(entries, Plan(rounds=request.rounds), tell, opener)


def command_line() -> str:
    """Return the command that is running, for the report."""
    return shlex.join(["tvm-shufflenet", *sys.argv[1:]])


def show(report: Report) -> None:
    """Print a report: a table and a verdict for each group, then the warnings."""
    from tvm_shufflenet.benchmark import results, tables

    for group in results.groups(report.results):
        print_table(tables.benchmark_table(group))
        click.echo(tables.verdict(group) + "\n")
    print_warnings(report)


def print_warnings(report: Report) -> None:
    """Say on stderr what makes the figures doubtful, and what to do about it."""
    for warning in report.warnings:
        click.echo(f"warning: {warning}", err=True)
    measured = [(result, result.samples) for result in report.results if result.samples]
    shaky = [(result, samples) for result, samples in measured if samples.warnings()]
    if shaky:
        result, samples = max(shaky, key=lambda pair: pair[1].deviation)
        click.echo(
            f"warning: {len(shaky)} of {len(measured)} measurements are unsteady, "
            f"{result.title} on {result.network} the most: {samples.warnings()[0]}",
            err=True,
        )


def write_text(path: Path, text: str) -> None:
    """Write a report.

    Raises:
        InputError: if that is not possible.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None


def fail_if_ours_is_wrong(report: Report) -> None:
    """Turn a wrong or failed package of ours into exit code 1, after everything was printed.

    Raises:
        TvmShufflenetError: naming the first.
    """
    for result in report.results:
        if result.ours and result.samples is None:
            raise TvmShufflenetError(
                f"{result.network}: {result.title}: {result.status}: {result.detail}; "
                "this is a bug of ours, please report it"
            )
