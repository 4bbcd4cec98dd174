"""How a tuning run is shown: a live table, plain lines, JSON lines, or the result alone."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from tvm_shufflenet.tuning.events import Event, Progress, TaskProgress
    from tvm_shufflenet.tuning.options import TuneResult


@dataclass(frozen=True)
class Display:
    """What shows events, and what shows the result; `unit` is the board's unit of measure."""

    observe: Callable[[Event], None]
    finish: Callable[[TuneResult, str], None]


@contextlib.contextmanager
def choose_display(*, quiet: bool, json_lines: bool) -> Iterator[Display]:
    """Give the display that fits: for a terminal, a pipe, a program, or nobody."""
    if json_lines:
        yield Display(_json_event, _json_result)
    elif quiet:
        yield Display(_only_warnings, _summary)
    else:
        with _live() as observe:
            yield Display(observe, _summary)


def _json_event(event: Event) -> None:
    click.echo(json.dumps({"event": type(event).__name__.lower(), **dataclasses.asdict(event)}))


def _json_result(result: TuneResult, unit: str) -> None:
    row = {**dataclasses.asdict(result), "overhead": result.shares.overhead, "unit": unit}
    click.echo(json.dumps({"event": "result", **row}, default=str))


def _only_warnings(event: Event) -> None:
    from tvm_shufflenet.tuning.events import Warned

    if isinstance(event, Warned):
        click.echo(f"warning: {event.message}", err=True)


@contextlib.contextmanager
def _live() -> Iterator[Callable[[Event], None]]:
    from rich.console import Console
    from rich.live import Live

    from tvm_shufflenet.tuning.events import Progress, Started

    unit = "seconds"
    console = Console(stderr=True)
    with contextlib.ExitStack() as stack:
        live = Live(console=console, auto_refresh=False, transient=True)
        if console.is_terminal:
            stack.enter_context(live)

        def observe(event: Event) -> None:
            nonlocal unit
            if isinstance(event, Started):
                unit = event.unit
            if isinstance(event, Progress) and console.is_terminal:
                live.update(_table(event.tasks, _headline(event, unit), unit), refresh=True)
                return
            text = _headline(event, unit) if isinstance(event, Progress) else describe(event)
            if text:
                console.print(text, highlight=False, markup=False, soft_wrap=True)

        yield observe


def describe(event: Event) -> str:
    """Say what happened in one line; empty for what is of no interest by itself."""
    from tvm_shufflenet.tuning import events

    match event:
        case events.Started():
            budget = f"{event.trials} trials" if event.trials else f"{event.time_s:.0f} s"
            taken = f", {event.resumed} records taken over" if event.resumed else ""
            return (
                f"tuning {event.network} on {event.board}: {event.tasks} tasks, {event.tuner}, "
                f"{budget}, {event.servers} server(s){taken}"
            )
        case events.Trial(status="wrong"):
            return f"{event.task}: {event.key} is wrong: {event.message}"
        case events.Warned():
            return f"warning: {event.message}"
        case events.BoardLost():
            return f"the board does not answer ({event.reason}); waiting for it"
        case events.BoardBack():
            return f"the board is back after {event.after_s:.0f} s"
        case events.Choosing(candidates=count) if count > 1:
            return f"{event.task}: measuring the {count} fastest again, in turns"
        case events.Settling():
            which = f"number {event.rank} of each task" if event.rank else "the choice, together"
            return f"timing {event.kernels} kernels inside the network, in turns: {which}"
    return ""


def _headline(progress: Progress, unit: str) -> str:
    parts = [f"{progress.trials} trials", _clock(progress.elapsed_s)]
    if progress.left_s is not None:
        parts.append(f"{_clock(progress.left_s)} left")
    if progress.estimate_s is not None:
        parts.append(f"estimate {cost_text(progress.estimate_s, unit)}")
    return ", ".join(parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def cost_text(seconds: float | None, unit: str) -> str:
    """Show a cost; boards that count give 1e-9 an instruction, so a thousandth is a million."""
    if seconds is None:
        return "-"
    return f"{seconds * 1e3:.3f} {'ms' if unit == 'seconds' else f'M {unit}'}"


def _table(tasks: tuple[TaskProgress, ...], title: str, unit: str) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column("task", no_wrap=True)
    table.add_column("operator", no_wrap=True, max_width=56)
    for heading in ("calls", "trials", "best", "GFLOPS", "share"):
        table.add_column(heading, justify="right", no_wrap=True)
    for task in tasks:
        rate = task.gflops if unit == "seconds" else None
        table.add_row(
            task.name,
            task.title,
            str(task.weight),
            f"{task.trials}{'.' if task.done else ''}",
            cost_text(task.best_s, unit),
            "-" if rate is None else f"{rate:.1f}",
            f"{task.share:.1%}",
        )
    return table


def _summary(result: TuneResult, unit: str) -> None:
    from tvm_shufflenet.cli.console import print_table

    title = f"{result.trials} trials, {result.measured} records in {result.log}"
    print_table(_table(result.tasks, title, unit))
    for line in _lines(result, unit):
        click.echo(line)


def _lines(result: TuneResult, unit: str) -> Iterator[str]:
    yield f"tasks together, estimated: {cost_text(result.estimate_s, unit)}"
    if result.after_s is not None and result.before_s is not None:
        gain = result.before_s / result.after_s
        yield (
            f"network, measured: {cost_text(result.before_s, unit)} untuned, "
            f"{cost_text(result.after_s, unit)} tuned ({gain:.2f} times as fast)"
        )
    if result.wrong or result.failed:
        yield f"not usable: {result.wrong} wrong, {result.failed} failed to build or run"
    if result.defaults:
        yield f"the default is the fastest inside the network: {', '.join(result.defaults)}"
    if result.untuned:
        yield f"without a verified record: {', '.join(result.untuned)}"
    shares = result.shares
    yield (
        f"time: {_clock(shares.total)}, of which measuring {_of(shares.measure, shares.total)}, "
        f"building {_of(shares.build, shares.total)}, search {_of(shares.search, shares.total)}, "
        f"board away {_of(shares.wait, shares.total)}"
    )


def _of(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole else "0%"
