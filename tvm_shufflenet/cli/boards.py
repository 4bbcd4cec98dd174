"""``tvm-shufflenet boards``: lists, starts, checks and sets up what packages can be built for."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import click

from tvm_shufflenet.cli.console import print_table, progress

if TYPE_CHECKING:
    from tvm_shufflenet.rpc.started import Started

_MARKS = {"good": "ok", "warning": "warning", "broken": "BROKEN"}


@click.command("boards")
@click.option("--check", "checked", metavar="NAME", help="Walk from here to a kernel on the board.")
@click.option("--start", "to_start", metavar="NAME", help="Start an emulated or set-up board.")
@click.option("--stop", "to_stop", metavar="NAME", help="End what runs for a board.")
@click.option("--setup", "host", metavar="USER@HOST", help="Install on a board and start it.")
@click.option("--as", "name", metavar="NAME", help="Which board USER@HOST is.")
@click.option(
    "--tracker",
    metavar="HOST:PORT",
    default="",
    help="Where boards register, by default 127.0.0.1:9190; started if nothing answers there.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def boards_command(
    checked: str | None,
    to_start: str | None,
    to_stop: str | None,
    host: str | None,
    name: str | None,
    tracker: str,
    as_json: bool,
) -> None:
    """List the boards that packages can be built for, or look after one of them.

    A board is a file targets/NAME.toml; a path to a .toml file of your own works as NAME, too.
    """
    chosen = [option for option in (checked, to_start, to_stop, host) if option is not None]
    if len(chosen) > 1:
        raise click.UsageError("give one of --check, --start, --stop and --setup")
    if (host is None) != (name is None):
        raise click.UsageError("--setup USER@HOST and --as NAME go together")
    if checked is not None:
        _check(checked, tracker, as_json=as_json)
    elif to_stop is not None:
        _stop(to_stop)
    elif to_start is not None or host is not None:
        _start(to_start or str(name), host, tracker, as_json=as_json)
    else:
        _list(as_json=as_json)


def _list(*, as_json: bool) -> None:
    from tvm_shufflenet.boards import LOCAL, board_names, load_board
    from tvm_shufflenet.rpc.started import find

    # Describing this machine loads the compiler; the list does without.
    boards = [load_board(name) for name in board_names() if name != LOCAL]
    running = {board.name for board in boards if (found := find(board.name)) and found.alive}
    if as_json:
        rows = [{**dataclasses.asdict(board), "running": board.name in running} for board in boards]
        click.echo(json.dumps(rows, indent=1))
        return
    from rich.table import Table

    table = Table(title="Boards")
    for heading in ("name", "title", "core", "cores", "lanes", "L1/L2 KiB", "threads", "note"):
        table.add_column(heading, no_wrap=True)
    table.add_row(LOCAL, "this machine", "as LLVM says", "", "", "", "", "")
    for board in boards:
        notes = ["compile only"] if board.compile_only else []
        notes += ["emulated"] if board.emulator else []
        notes += ["running"] if board.name in running else []
        cells = [board.name, board.title, board.cpu.name, board.cpu.cores, board.machine.lanes]
        cells += [f"{board.machine.l1d_kib}/{board.machine.l2_kib}", board.run.threads]
        table.add_row(*(str(cell) for cell in cells), ", ".join(notes))
    print_table(table)


def _start(name: str, host: str | None, tracker: str, *, as_json: bool) -> None:
    from tvm_shufflenet.boards import load_board
    from tvm_shufflenet.emulator import service
    from tvm_shufflenet.rpc import remote_board
    from tvm_shufflenet.rpc.tracker import Address

    board, address = load_board(name), Address.parse(tracker or "127.0.0.1")
    with progress() as report:
        if host is not None:
            running = remote_board.set_up(host, board, address, report)
        elif board.emulator:
            running = service.start(board, address, report)
        else:
            running = remote_board.restart(board, address, report)
    _show(running, as_json=as_json)


def _show(running: Started, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(running), indent=1))
        return
    where = f"on {running.host}" if running.host else "in the emulator"
    click.echo(f"{running.board} runs {where}, as {running.key!r} at the tracker {running.tracker}")
    click.echo(f"its log is {running.log}; end it: tvm-shufflenet boards --stop {running.board}")


def _stop(name: str) -> None:
    from tvm_shufflenet.boards import load_board
    from tvm_shufflenet.errors import BoardError
    from tvm_shufflenet.rpc import remote_board, started

    board = load_board(name)
    running = started.find(board.name)
    if running is None:
        raise BoardError(f"nothing was started for {board.name}; 'tvm-shufflenet boards' lists all")
    remote_board.stop(running)
    click.echo(f"{board.name} stopped")


def _check(name: str, tracker: str, *, as_json: bool) -> None:
    from tvm_shufflenet.boards import load_board
    from tvm_shufflenet.rpc.doctor import examine

    rows: list[dict[str, Any]] = []
    broken = None
    for finding in examine(load_board(name), tracker):
        broken = finding.error
        rows.append({"link": finding.link, "state": finding.state, "detail": finding.detail})
        if not as_json and broken is None:
            click.echo(f"{_MARKS[finding.state]:<8} {finding.link:<12} {finding.detail}")
    if as_json:
        click.echo(json.dumps({"board": name, "links": rows}, indent=1))
    if broken is not None:
        if not as_json:
            click.echo(f"{_MARKS['broken']:<8} {rows[-1]['link']}")
        raise broken
