"""``tvm-shufflenet profile``: where a package's time goes, and what would be possible."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tvm_shufflenet.boards import LOCAL, load_board
from tvm_shufflenet.cli.console import print_table, progress
from tvm_shufflenet.cli.threads import parse_threads, resolve

if TYPE_CHECKING:
    from tvm_shufflenet.benchmark.profile import Profile


@click.command("profile")
@click.argument("package", type=click.Path(path_type=Path))
@click.option(
    "--threads",
    default="1",
    show_default=True,
    metavar="N|all",
    callback=lambda _ctx, _param, text: parse_threads(text),
    help="Number of threads, or all cores.",
)
@click.option("--inferences", type=click.IntRange(1), default=50, show_default=True)
@click.option("--top", type=click.IntRange(1), default=25, show_default=True, help="Rows shown.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, every kernel in order.")
def profile_command(package: Path, threads: int, inferences: int, top: int, as_json: bool) -> None:
    """Time every kernel of PACKAGE in the order of inference, beside measured limits.

    "times bound" is a kernel's time over the time that arithmetic at peak speed, or reading its
    data from cache, would take: 1 is perfect, and the largest shares with the largest factors
    are where to work.
    """
    from tvm_shufflenet.benchmark import tables
    from tvm_shufflenet.benchmark.profile import profile

    with progress() as tell:
        tell("profiling")
        found = profile(package, resolve(threads, load_board(LOCAL)), inferences)
    if as_json:
        click.echo(json.dumps(_plain(found), indent=1))
        return
    print_table(tables.profile_table(found, top))
    click.echo(tables.profile_summary(found))


def _plain(found: Profile) -> dict[str, Any]:
    from tvm_shufflenet.benchmark import environment

    return {
        "model": found.model,
        "threads": found.threads,
        "whole_ms": found.whole_s * 1e3,
        "peaks": dataclasses.asdict(found.peaks),
        "kernels": [
            {
                **dataclasses.asdict(kernel.cost),
                "microseconds": kernel.seconds * 1e6,
                "bound_microseconds": kernel.bound_s(found.peaks) * 1e6,
                "limit": kernel.limit(found.peaks),
                "tuned": kernel.cost.name in found.tuned,
            }
            for kernel in found.kernels
        ],
        "environment": environment.stamp(),
    }
