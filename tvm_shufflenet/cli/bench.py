"""``tvm-shufflenet bench``: our packages beside every other runtime, in one interleaved run."""

from __future__ import annotations

import shlex
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tvm_shufflenet.boards import LOCAL
from tvm_shufflenet.cli.console import print_table, progress
from tvm_shufflenet.cli.sizes import size_option
from tvm_shufflenet.cli.threads import ALL_CORES, parse_threads
from tvm_shufflenet.errors import InputError, TvmShufflenetError

if TYPE_CHECKING:
    from tvm_shufflenet.benchmark.measure import Progress
    from tvm_shufflenet.benchmark.results import Report, Result


@dataclass(frozen=True, kw_only=True)
class _Request:
    models: tuple[str, ...]
    size: tuple[int, int]
    threads: tuple[int, ...]
    peers: tuple[str, ...]
    rounds: int
    untuned: bool


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
    callback=lambda _ctx, _param, texts: tuple(dict.fromkeys(map(parse_threads, texts))),
    help="Number of threads, or all cores; repeatable.",
)
@click.option("--rounds", type=click.IntRange(1), default=20, show_default=True)
@click.option("--untuned", is_flag=True, help="Compile ours without tuning records.")
@click.option("--board", default=LOCAL, show_default=True, help="Where to measure.")
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
    size: tuple[int, int],
    with_peers: bool,
    chosen: tuple[str, ...],
    threads: tuple[int, ...],
    rounds: int,
    untuned: bool,
    board: str,
    json_file: Path | None,
    plot: Path | None,
    earlier: Path | None,
) -> None:
    """Measure MODEL... beside other runtimes, float32, batch 1.

    Every runtime's output is checked against PyTorch first. Each runs in a process of its own
    and only while it is its turn.
    """
    from tvm_shufflenet.benchmark import packages, results

    if earlier is not None:
        report = results.read(earlier)
    elif not models:
        raise click.UsageError("name at least one network; 'tvm-shufflenet models' lists them")
    else:
        request = _Request(
            models=models,
            size=size,
            threads=threads,
            peers=packages.check_peers(chosen) if with_peers else (),
            rounds=rounds,
            untuned=untuned,
        )
        report = _measure_on(board, request)
    show(report)
    _write(report, json_file, plot)
    fail_if_ours_is_wrong(report)


def _measure_on(board: str, request: _Request) -> Report:
    if board != LOCAL:
        raise InputError(f"bench measures on this machine; it cannot run on {board!r}")
    return _measure(request)


def _measure(request: _Request) -> Report:
    from tvm_shufflenet import models
    from tvm_shufflenet.benchmark import environment
    from tvm_shufflenet.benchmark.results import Report

    for name in request.models:
        models.check_input_size(name, request.size)
    stamped = environment.stamp()
    found: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="tvm-shufflenet-") as scratch, progress() as tell:
        for name in request.models:
            for threads in request.threads:
                found += _measure_case(request, name, threads, Path(scratch), tell)
    return Report(command_line(), stamped, tuple(found), environment.load_warnings(stamped))


def _measure_case(
    request: _Request, name: str, threads: int, scratch: Path, tell: Progress
) -> tuple[Result, ...]:
    from tvm_shufflenet.benchmark import packages
    from tvm_shufflenet.benchmark.interleave import Plan
    from tvm_shufflenet.benchmark.measure import measure

    case = packages.Case(network=name, size=request.size, threads=threads)
    entries = packages.our_entries(case, LOCAL, scratch, tell, untuned=request.untuned)
    entries += packages.peer_entries(case, entries[0].export, request.peers)
    return measure(entries, Plan(rounds=request.rounds), tell)


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


def _write(report: Report, json_file: Path | None, plot: Path | None) -> None:
    if json_file is not None:
        try:
            json_file.write_text(report.to_json(), encoding="utf-8")
        except OSError as error:
            raise InputError(f"cannot write {json_file}: {error.strerror}") from None
    if plot is not None:
        from tvm_shufflenet.benchmark.plot import write_chart

        write_chart(report, plot)


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
