"""``tvm-shufflenet logs``: look into tuning logs, and make logs of logs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tvm_shufflenet.cli.sizes import size_option

if TYPE_CHECKING:
    from tvm_shufflenet.boards import Board

_PATH = click.Path(path_type=Path)
_LOG = click.argument("log", type=_PATH)
_BOARD = click.option("--board", default="", help="Refuse records of any other board.")


@click.group("logs")
def logs_command() -> None:
    """Show, verify, merge tuning logs, and pick their best records."""


def _board(name: str) -> Board | None:
    from tvm_shufflenet.boards import load_board

    return load_board(name) if name else None


@logs_command.command("show")
@_LOG
@_BOARD
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def show_command(log: Path, board: str, as_json: bool) -> None:
    """Say what LOG holds: workloads, records by status, the best of each, circumstances."""
    from tvm_shufflenet.tuning import meta, records, verdicts

    content = records.read(log, _board(board))
    known = verdicts.load(log)
    rows: list[dict[str, Any]] = []
    for workload, group in records.by_workload(content.records).items():
        fastest = verdicts.fastest(group, known)
        default_is_best = verdicts.default_is_best(group, known)
        chosen = None if default_is_best else fastest
        rows.append(
            {
                "workload": workload,
                "records": len(group),
                **verdicts.tally(group, known),
                "default_is_best": default_is_best,
                "best": chosen.key if chosen else None,
                "cost_s": verdicts.cost_s(chosen, known) if chosen else None,
                "in_network": verdicts.in_network(fastest, known) if fastest else None,
            }
        )
    if content.skipped:
        click.echo(f"note: {content.skipped}", err=True)
    if as_json:
        facts = {"log": str(log), "tuner": content.tuner, "workloads": rows}
        click.echo(json.dumps({**facts, "meta": meta.load(log)}))
        return
    circumstances = meta.load(log)
    _print(log, content.tuner, rows, (circumstances.get("measure") or {}).get("unit", "seconds"))
    if circumstances.get("estimated"):
        click.echo("estimated on an emulated board: a start for tuning on a real one, no more")
    if circumstances:
        machine = circumstances.get("machine") or {}
        click.echo(
            f"network {circumstances.get('network')}, board {circumstances.get('board')} "
            f"({machine.get('cpu') or 'CPU unknown'}, governor {machine.get('governor')}), "
            f"{circumstances.get('threads')} thread(s), updated {circumstances.get('updated')}"
        )


def _print(log: Path, tuner: str, rows: list[dict[str, Any]], unit: str) -> None:
    from rich.table import Table

    from tvm_shufflenet.cli.console import print_table
    from tvm_shufflenet.cli.tune_display import cost_text

    table = Table(title=f"{log}: {tuner or 'no records'}")
    table.add_column("workload", no_wrap=True, max_width=72)
    for heading in ("records", "verified", "unverified", "wrong", "failed", "best", "in network"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        counts = [str(row[name]) for name in ("verified", "unverified", "wrong", "failed")]
        cost = "default" if row["default_is_best"] else cost_text(row["cost_s"], unit)
        ratio = "-" if row["in_network"] is None else f"{row['in_network'] - 1:+.1%}"
        table.add_row(row["workload"], str(row["records"]), *counts, cost, ratio)
    print_table(table)


@logs_command.command("best")
@_LOG
@_BOARD
@click.option("-o", "--output", type=_PATH, required=True, help="Log to write.")
def best_command(log: Path, board: str, output: Path) -> None:
    """Write the best verified record of each workload of LOG into a log of its own."""
    from tvm_shufflenet.tuning.merge import write_best

    count = write_best(log, output, _board(board))
    click.echo(f"{output}: the best of {count} workloads")


@logs_command.command("merge")
@click.argument("logs", type=_PATH, nargs=-1, required=True)
@_BOARD
@click.option("-o", "--output", type=_PATH, required=True, help="Log to write.")
def merge_command(logs: tuple[Path, ...], board: str, output: Path) -> None:
    """Write the records of several LOGS of one tuner and board model into one."""
    from tvm_shufflenet.tuning.merge import merge

    click.echo(f"{output}: {merge(logs, output, _board(board))} records")


@logs_command.command("verify")
@_LOG
@click.option("--board", default="local", show_default=True, help="Board to verify on.")
@click.option("--model", default="", help="The network; needed for Ansor's logs.")
@size_option()
@click.option("--tracker", default="", metavar="HOST:PORT", help="Reach the board through it.")
@click.option("--key", default="", help="Key at the tracker.")
@click.option("--host", default="", metavar="HOST:PORT", help="Reach the board's server directly.")
def verify_command(log: Path, board: str, model: str, size: tuple[int, int], **reach: Any) -> None:
    """Compare the fastest records of LOG with a reference, on the board."""
    from tvm_shufflenet.boards import load_board
    from tvm_shufflenet.cli.tune import network_of
    from tvm_shufflenet.tuning import records, verdicts
    from tvm_shufflenet.tuning.options import TuneOptions
    from tvm_shufflenet.tuning.tasks import extract
    from tvm_shufflenet.tuning.verify import verify

    chosen = load_board(board)
    content = records.read(log, chosen)
    tasks = extract(network_of(model, board, size), content.tuner) if model else ()
    verify(chosen, TuneOptions(log=log, **reach), tasks)
    known = verdicts.load(log)
    best = verdicts.best(content, known)
    click.echo(f"{log}: a verified record for {len(best)} of {_workloads(content)} workloads")


def _workloads(content: Any) -> int:
    from tvm_shufflenet.tuning.records import by_workload

    return len(by_workload(content.records))
