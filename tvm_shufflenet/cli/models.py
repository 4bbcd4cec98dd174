"""``tvm-shufflenet models``: what can be built, what it costs, and the paper's figure beside."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click

from tvm_shufflenet.cli.sizes import size_option
from tvm_shufflenet.errors import ToolchainError

_MILLION = 1_000_000
_PAPER_SIZE = (224, 224)
_WIDTH = 120  # columns; the table takes what it needs of them


@click.command("models")
@size_option()
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def models_command(size: tuple[int, int], as_json: bool) -> None:
    """List the networks that can be built.

    Multiply-adds are those of one picture, of convolutions and matrix products. The paper's
    figures are for 224x224. Other scales can be built too, such as shufflenet_v1_g3_x0.75.
    """
    from tvm_shufflenet.models import check_input_size, names

    check_input_size(names()[0], size)
    rows = [_row(name, size) for name in names()]
    if as_json:
        click.echo(json.dumps({"size": list(size), "models": rows}, indent=2))
    else:
        _print_table(rows, size)


def _row(name: str, size: tuple[int, int]) -> dict[str, Any]:
    from tvm_shufflenet.models import card, multiply_adds

    facts = card(name)
    row = dataclasses.asdict(facts)
    # AlexNet takes nothing below 63x63, where the others still do.
    row["multiply_adds"] = multiply_adds(name, size) if min(size) >= facts.min_side else None
    row["difference"] = facts.difference
    if size != _PAPER_SIZE:
        row |= {"paper_multiply_adds": None, "difference": None, "note": ""}
    return row


def _print_table(rows: list[dict[str, Any]], size: tuple[int, int]) -> None:
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        raise ToolchainError(
            'the table needs rich; pip install "tvm-shufflenet[host]", or ask for --json'
        ) from None

    table = Table(title=f"Networks at {size[0]}x{size[1]}")
    table.add_column("network", no_wrap=True)
    for heading in ("parameters", "multiply-adds", "paper", "difference", "note"):
        table.add_column(heading, justify="right", no_wrap=True)
    notes = list(dict.fromkeys(row["note"] for row in rows if row["note"]))
    for row in rows:
        number = str(notes.index(row["note"]) + 1) if row["note"] else ""
        table.add_row(
            row["name"],
            f"{row['parameters']:,}",
            _millions(row["multiply_adds"], digits=1),
            _millions(row["paper_multiply_adds"], digits=0),
            "" if row["difference"] is None else f"{row['difference']:+.1%}",
            number,
        )
    # Into a pipe, rich assumes 80 columns and would cut the names short.
    Console(width=_WIDTH).print(table)
    for index, note in enumerate(notes):
        click.echo(f"{index + 1}. {note}")


def _millions(count: int | None, *, digits: int) -> str:
    return "" if count is None else f"{count / _MILLION:.{digits}f} M"
