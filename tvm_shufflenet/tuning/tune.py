"""A tuning run, from a network to a log of verified records."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from tvm_shufflenet import linking
from tvm_shufflenet.boards import LOCAL, Board
from tvm_shufflenet.errors import RecordError
from tvm_shufflenet.rpc.session import Link, check_version, link_to, wait_for
from tvm_shufflenet.tuning import records
from tvm_shufflenet.tuning.embedded import Embedded
from tvm_shufflenet.tuning.events import Observer, ignore
from tvm_shufflenet.tuning.options import TuneOptions, TuneResult
from tvm_shufflenet.tuning.records import Log
from tvm_shufflenet.tuning.run import Run
from tvm_shufflenet.tuning.station import Station
from tvm_shufflenet.tuning.tasks import Network, extract, select


def tune(network: Network, options: TuneOptions, observer: Observer = ignore) -> TuneResult:
    """Tune `network` and leave the verified records in ``options.log``.

    Raises:
        InputError: for unknown tasks, a foreign or damaged log, or one that is there already.
        BoardUnreachable: if the board cannot be reached or stays away; the log is resumable.
    """
    tasks = select(extract(network, options.tuner, options.templates), options.tasks)
    old = _existing(network, options)
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tvm-shufflenet-")))
        station = open_station(network.board, options, scratch, stack, observer)
        machine = station.calls.probe(network.board.rpc.connect_timeout_s)
        check_version(machine, station.link)
        run = Run(network, options, observer, tasks, station, scratch, old, machine)
        stack.callback(run.close)
        return run.go()


def _cores() -> int:
    import psutil

    return psutil.cpu_count(logical=False) or 1


def _existing(network: Network, options: TuneOptions) -> Log:
    """Read the log to resume, and refuse to overwrite one."""
    if not options.log.exists():
        return Log(options.log, ())
    log = records.read(options.log, network.board)
    if log.records and not options.resume:
        raise RecordError(
            f"{options.log} has {len(log.records)} records already; go on with --resume, "
            "or give another --log"
        )
    if log.records and log.tuner != options.tuner:
        raise RecordError(
            f"{options.log} was written by {log.tuner}; give another --log for {options.tuner}"
        )
    return log


def open_station(
    board: Board,
    options: TuneOptions,
    scratch: Path,
    stack: contextlib.ExitStack,
    observer: Observer,
) -> Station:
    """Reach the board and set up builders and runners for it; `stack` ends them all.

    Raises:
        BoardUnreachable: if no tracker or server answers.
        ToolchainError: if kernels cannot be linked for the board.
    """
    link, embedded = _reach(board, options, scratch, stack)
    servers = wait_for(link, board.rpc.connect_timeout_s)
    linker = linking.linker(board)
    linker.warm_up()
    station = Station(
        board=board,
        link=link,
        linker=linker,
        scratch=scratch,
        observer=observer,
        threads=options.threads or board.run.threads,
        builders=options.builders or _cores(),
        servers=servers,
        build_limit_s=options.build_limit_s,
        patience_s=options.patience_s,
        seed=options.seed,
        modules=options.templates,
        revive=embedded.revive if embedded else None,
    )
    stack.callback(station.close)
    return station


def _reach(
    board: Board, options: TuneOptions, scratch: Path, stack: contextlib.ExitStack
) -> tuple[Link, Embedded | None]:
    if board.name == LOCAL and not (options.tracker or options.host):
        embedded = Embedded(
            options.key or board.rpc.key, count=options.servers, log=scratch / "services.log"
        )
        return stack.enter_context(embedded).link, embedded
    return link_to(board, tracker=options.tracker, host=options.host, key=options.key), None
