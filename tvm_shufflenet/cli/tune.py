"""``tvm-shufflenet tune``: find fast kernels for a network on a board."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tvm_shufflenet.cli.sizes import size_option
from tvm_shufflenet.cli.threads import parse_threads

if TYPE_CHECKING:
    from tvm_shufflenet.tuning.tasks import Network

_PATH = click.Path(path_type=Path)
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def parse_time(text: str) -> float:
    """Return ``90s``, ``30m``, ``8h`` in seconds.

    Raises:
        click.BadParameter: for anything else.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if match is None or float(match[1]) == 0:
        raise click.BadParameter(f"{text!r} is not a duration; write 90s, 30m or 8h")
    return float(match[1]) * _UNITS[match[2]]


def _time(_context: Any, _parameter: Any, text: str | None) -> float | None:
    return None if text is None else parse_time(text)


def _threads(_context: Any, _parameter: Any, text: str | None) -> int:
    return 0 if text is None else parse_threads(text)


@click.command("tune")
@click.argument("model")
@click.option("--board", default="local", show_default=True, help="Board to tune for.")
@size_option()
@click.option("--tuner", default="autotvm", show_default=True,
              help="autotvm: our templates; ansor: generated schedules.")  # fmt: skip
@click.option("--trials", type=click.IntRange(1), help="Measurements to spend (default 1000).")
@click.option("--time", "time_s", callback=_time, metavar="30m", help="Time to spend.")
@click.option("--search", default="xgb", show_default=True, help="xgb, ga, random or grid.")
@click.option("--threads", callback=_threads, help="Threads of a kernel, as it will be deployed.")
@click.option("--tracker", default="", metavar="HOST:PORT", help="Reach the board through it.")
@click.option("--key", default="", help="Key at the tracker; the board file has the default.")
@click.option("--host", default="", metavar="HOST:PORT", help="Reach the board's server directly.")
@click.option("--tasks", default="", metavar="t00,t03", help="Tune these tasks alone.")
@click.option("--log", type=_PATH, help="Where the records go.")
@click.option("--resume", is_flag=True, help="Go on with the records in the log.")
@click.option("--transfer", type=_PATH, multiple=True, help="An earlier log to start from.")
@click.option("--weights", type=_PATH, help="A state_dict of the network.")
@click.option("--no-merge", is_flag=True, help="Keep each shuffle as a kernel of its own.")
@click.option("--builders", type=click.IntRange(1, 64), default=None, help="Processes that build.")
@click.option("--patience", default="5m", show_default=True, metavar="5m",
              callback=_time, help="How long the board may be away.")  # fmt: skip
@click.option("--seed", default=0, show_default=True, help="Of the search.")
@click.option("--quiet", is_flag=True, help="Print the result only.")
@click.option("--json-lines", is_flag=True, help="Print every event as a line of JSON.")
def tune_command(
    model: str, board: str, quiet: bool, json_lines: bool, tasks: str, **options: Any
) -> None:
    """Tune MODEL, a network's name or an .onnx file, on a board over RPC.

    Board "local" is this machine: a tracker and a server are started for the run. Interrupted
    runs go on with --resume; no configuration is measured twice.
    """
    from tvm_shufflenet.cli.tune_display import choose_display
    from tvm_shufflenet.tuning.history import log_name
    from tvm_shufflenet.tuning.options import TuneOptions
    from tvm_shufflenet.tuning.tune import tune

    size, tuner = options.pop("size"), options["tuner"]
    weights, no_merge = options.pop("weights"), options.pop("no_merge")
    log = options.pop("log")
    tuned = TuneOptions(
        log=log or Path(),
        tasks=tuple(name for name in tasks.split(",") if name),
        builders=options.pop("builders") or 0,
        patience_s=options.pop("patience"),
        **options,
    )
    network = network_of(model, board, size, weights=weights, merge=not no_merge)
    if log is None:
        folder = Path("tuning_logs", network.board.model)
        tuned = dataclasses.replace(tuned, log=folder / log_name(model, size, tuner))
    with choose_display(quiet=quiet, json_lines=json_lines) as display, _ended_by_sigterm():
        result = tune(network, tuned, display.observe)
        display.finish(result, network.board.measure.unit)


def network_of(
    model: str,
    board: str,
    size: tuple[int, int],
    *,
    weights: Path | None = None,
    merge: bool = True,
) -> Network:
    """Import a network and run the passes, as `compile` would, for the tuner.

    Raises:
        InputError: for a network, weights, size or board that cannot be used.
    """
    from tvm_shufflenet.package.compile import CompileOptions, build_library, prepare
    from tvm_shufflenet.tuning.tasks import Network

    chosen = CompileOptions(
        model=model, board=board, size=size, weights=weights, merge_shuffles=merge
    )
    prepared = prepare(chosen)

    def build(log: Path | None, library: Path) -> dict[str, str]:
        with_log = dataclasses.replace(chosen, log=log, untuned=log is None)
        built = build_library(dataclasses.replace(prepared, options=with_log), library)
        return {name: record for name, _, record in built.kernels if record is not None}

    stem = Path(model).stem if model.endswith(".onnx") else model
    return Network(
        name=f"{stem}-{size[0]}x{size[1]}",
        mod=prepared.mod,
        board=prepared.board,
        target=prepared.target,
        build=build,
    )


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Treat SIGTERM like Ctrl-C, so that services end and the log is closed."""

    def interrupt(_signal: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
