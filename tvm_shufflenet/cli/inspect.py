"""``tvm-shufflenet inspect``: everything a package says of itself, checked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click


@click.command("inspect")
@click.argument("package", type=click.Path(path_type=Path))
@click.option("--trust", type=click.Path(path_type=Path), metavar="PUBLIC_KEY",
              help="Refuse a package that this Ed25519 key (a PEM file) did not sign.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def inspect_command(package: Path, trust: Path | None, as_json: bool) -> None:
    """Show what PACKAGE holds, after checking that it is whole; loads none of its code.

    Packages for other machines can be inspected too.
    """
    facts = _facts(package, trust)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    manifest = facts.pop("manifest")
    kernels = manifest.pop("kernels")
    for name, value in {**manifest, **facts}.items():
        _print_field(name, value)
    click.echo(f"\nkernels  ({len(kernels)})")
    rows = [("code bytes", "record", "op", "name")]
    rows += [
        (str(k["code_bytes"] or "-"), k["record"] or "none", k["op"], k["name"]) for k in kernels
    ]
    _print_columns(rows)


def _facts(package: Path, trust: Path | None) -> dict[str, Any]:
    from tvm_shufflenet.errors import PackageError
    from tvm_shufflenet.runtime.checked import check_package
    from tvm_shufflenet.runtime.cpu import check_runs_here
    from tvm_shufflenet.runtime.elf import kernel_sizes

    checked = check_package(package, trust)
    try:
        with checked.copies[0].data() as data:
            sizes = kernel_sizes(data)
    finally:
        checked.close()
    fields = checked.manifest.fields()
    fields["kernels"] = [
        {**kernel, "code_bytes": sizes.get(kernel["name"])} for kernel in fields["kernels"]
    ]
    try:
        check_runs_here(checked.manifest)
        obstacle = None
    except PackageError as error:
        obstacle = str(error)
    signed = "yes, by the trusted key" if trust else "yes, but not checked: give --trust"
    return {
        "manifest": fields,
        "signed": signed if checked.signed else "no",
        "runs_here": "yes" if obstacle is None else f"no: {obstacle}",
    }


def _print_field(name: str, value: Any, indent: int = 0) -> None:
    label = " " * indent + name.replace("_", " ")
    if isinstance(value, dict):
        click.echo(label)
        for key, inner in value.items():
            _print_field(key, inner, indent + 2)
    elif isinstance(value, list | tuple) and any(isinstance(part, dict) for part in value):
        for part in value:
            _print_field(name, part, indent)
    else:
        click.echo(f"{label:<18} {_text(value)}".rstrip())


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", " ") if value >= 10_000 else str(value)
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "none"
    return str(value)


def _print_columns(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        cells[0] = row[0].rjust(widths[0])
        click.echo(("  " + "  ".join(cells)).rstrip())
