"""``tvm-shufflenet tasks``: what there is to tune in a network."""

from __future__ import annotations

import json

import click

from tvm_shufflenet.cli.sizes import size_option


@click.command("tasks")
@click.argument("model")
@click.option("--board", default="local", show_default=True, help="Board to tune for.")
@size_option()
@click.option("--tuner", default="autotvm", show_default=True, help="autotvm or ansor.")
@click.option("--no-merge", is_flag=True, help="Keep each shuffle as a kernel of its own.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def tasks_command(
    model: str, board: str, size: tuple[int, int], tuner: str, no_merge: bool, as_json: bool
) -> None:
    """List the tuning tasks of MODEL: operators, calls in one inference, work, configurations."""
    from tvm_shufflenet.cli.tune import network_of
    from tvm_shufflenet.tuning.options import check_tuner
    from tvm_shufflenet.tuning.tasks import extract

    check_tuner(tuner)
    tasks = extract(network_of(model, board, size, merge=not no_merge), tuner)
    if as_json:
        rows = [
            {
                "name": task.name,
                "title": task.title,
                "calls": task.weight,
                "flops": task.flops,
                "configurations": task.space or None,
            }
            for task in tasks
        ]
        click.echo(json.dumps({"model": model, "board": board, "tuner": tuner, "tasks": rows}))
        return
    from rich.table import Table

    from tvm_shufflenet.cli.console import print_table

    table = Table(title=f"{len(tasks)} tasks of {model} on {board} for {tuner}")
    table.add_column("task", no_wrap=True)
    table.add_column("operator", no_wrap=True)
    for heading in ("calls", "MFLOP a call", "configurations"):
        table.add_column(heading, justify="right", no_wrap=True)
    for task in tasks:
        space = f"{task.space:,}" if task.space else "unbounded"
        table.add_row(task.name, task.title, str(task.weight), f"{task.flops / 1e6:.2f}", space)
    print_table(table)
