"""Counts from an emulated board as rich tables, always in instructions and never in time."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from tvm_shufflenet.benchmark.emulated import Counted, CountedReport


def count_table(group: Sequence[Counted], board: str) -> Table:
    """Return what one inference of one network executes, the least instructions first.

    The last column says what share of that runtime's instructions our first package executes.
    """
    first = group[0]
    table = Table(
        title=f"{first.network}, {first.height}x{first.width}, one inference on {board}: "
        "millions of executed instructions (not a time)",
        title_justify="left",
    )
    table.add_column("runtime", no_wrap=True)
    kinds = list(dict.fromkeys(kind for counted in group for kind in counted.classes or {}))
    cycles = any(counted.estimated_cycles is not None for counted in group)
    headings = ["instructions", *kinds, "L1 misses", "L2 misses"]
    for heading in (*headings, *(["estimated cycles"] if cycles else []), "error / scale"):
        table.add_column(heading, justify="right")
    table.add_column("ours executes")
    ours = next((counted for counted in group if counted.ours), first)
    for counted in sorted(group, key=lambda one: (one.instructions is None, one.instructions or 0)):
        cells = _cells(counted, kinds, ours, cycles=cycles)
        table.add_row(*cells, style="bold" if counted.ours else None)
    return table


def count_groups(report: CountedReport) -> list[list[Counted]]:
    """Split a report by network and size, in its order."""
    found: dict[tuple[str, int, int], list[Counted]] = {}
    for counted in report.results:
        found.setdefault((counted.network, counted.height, counted.width), []).append(counted)
    return list(found.values())


def _cells(counted: Counted, kinds: Sequence[str], ours: Counted, *, cycles: bool) -> list[str]:
    difference = counted.difference_of_scale
    error = "" if difference is None else f"{difference:.0e}"
    if counted.instructions is None:
        empty = [""] * (len(kinds) + 2 + cycles)
        return [counted.title, counted.status.upper(), *empty, error, counted.detail]
    share = ""
    if ours.instructions is not None and counted is not ours:
        share = f"{ours.instructions / counted.instructions:.0%} of it"
    classes = counted.classes or {}
    return [
        counted.title,
        _millions(counted.instructions),
        *(_millions(classes.get(kind, 0)) for kind in kinds),
        _millions(counted.l1_misses, digits=3),
        _millions(counted.l2_misses, digits=3),
        *([_millions(counted.estimated_cycles)] if cycles else []),
        error,
        share,
    ]


def _millions(count: float | None, digits: int = 1) -> str:
    return "" if count is None else f"{count / 1e6:.{digits}f}"
