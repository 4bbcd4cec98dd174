"""A tuning run, from a network to a log of verified records."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from tvm_shufflenet import linking
from tvm_shufflenet.boards import LOCAL
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
        link, embedded = _reach(network, options, scratch, stack)
        linker = linking.linker(network.board)
        linker.warm_up()
        station = Station(
            board=network.board,
            link=link,
            linker=linker,
            scratch=scratch,
            observer=observer,
            threads=options.threads or network.board.run.threads,
            builders=options.builders or _cores(),
            servers=wait_for(link, network.board.rpc.connect_timeout_s),
            build_limit_s=options.build_limit_s,
            patience_s=options.patience_s,
            seed=options.seed,
            modules=options.templates,
            revive=embedded.revive if embedded else None,
        )
        stack.callback(station.close)
        machine = station.probe(network.board.rpc.connect_timeout_s)
        check_version(machine, link)
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


def _reach(
    network: Network, options: TuneOptions, scratch: Path, stack: contextlib.ExitStack
) -> tuple[Link, Embedded | None]:
    if network.board.name == LOCAL and not (options.tracker or options.host):
        embedded = Embedded(
            options.key or network.board.rpc.key,
            count=options.servers,
            log=scratch / "services.log",
        )
        return stack.enter_context(embedded).link, embedded
    return link_to(network.board, tracker=options.tracker, host=options.host, key=options.key), None
