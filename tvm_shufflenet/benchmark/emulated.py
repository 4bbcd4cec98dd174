"""The benchmark on an emulated board: executed instructions instead of times.

The same runner modules as on a real machine run inside the guest, so settings and checks are the
same. Counts are deterministic: one counted inference a runtime, nothing to interleave.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from tvm_shufflenet.benchmark import process, results, runners
from tvm_shufflenet.benchmark.export import Export
from tvm_shufflenet.benchmark.interleave import ContestantFailed
from tvm_shufflenet.benchmark.measure import Entry
from tvm_shufflenet.benchmark.runners import Infer, Setup
from tvm_shufflenet.benchmark.verify import Difference, compare
from tvm_shufflenet.boards import Board
from tvm_shufflenet.emulator.counting import Counts
from tvm_shufflenet.emulator.cycles import estimated_cycles
from tvm_shufflenet.emulator.instructions import CLASSES
from tvm_shufflenet.emulator.peers import PEER_WHEELS, count_callable
from tvm_shufflenet.errors import BoardUnreachable, InputError, did_you_mean

SCHEMA = 1
STOCK = "stock_tvm"
PEERS = (STOCK, *PEER_WHEELS)  # runtimes with AArch64 wheels, and TVM's own flow
_FACTORY = f"{__name__}:load_in_guest"

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Counted:
    """One runtime on one network; counts are present exactly if `status` is MEASURED."""

    network: str
    height: int
    width: int
    runner: str
    title: str
    ours: bool
    status: str  # results.MEASURED, WRONG or FAILED
    detail: str = ""
    difference_of_scale: float | None = None  # largest error / the logits' scale
    instructions: int | None = None  # executed in one inference
    classes: dict[str, int] | None = None  # class of instruction -> executed
    l1_misses: int | None = None  # of the cache model
    l2_misses: int | None = None
    estimated_cycles: float | None = None  # llvm-mca's; only on request


@dataclass(frozen=True, kw_only=True)
class CountedReport:
    """What `bench` found on an emulated board."""

    command: str
    board: str
    cpu: str
    results: tuple[Counted, ...]
    unit: str = "instructions"  # executed, emulated; not a time

    def to_json(self) -> str:
        """Return the report as JSON text."""
        content = {"schema": SCHEMA, **dataclasses.asdict(self)}
        return json.dumps(content, indent=1, allow_nan=False) + "\n"


def check_peers(names: Sequence[str]) -> tuple[str, ...]:
    """Return the peers asked for, all that run on AArch64 if none was named.

    Raises:
        InputError: for another name.
    """
    for name in names:
        if name not in PEERS:
            raise InputError(
                f"{name!r} is not counted on an emulated board{did_you_mean(name, PEERS)}; "
                f"those that are: {', '.join(PEERS)}"
            )
    return tuple(names) or PEERS


def count(entry: Entry, board: Board, progress: Progress, *, cycles: bool = False) -> Counted:
    """Count one inference of `entry` on the emulated `board`, checked against PyTorch.

    A runtime that fails or computes something else gets a result that says so.

    Raises:
        ToolchainError: if the emulator cannot be prepared.
    """
    progress(f"{entry.export.network}: {entry.title}: preparing")
    try:
        library = _prepare(entry, board)
        progress(f"{entry.export.network}: {entry.title}: counting")
        counts = count_callable(
            _FACTORY,
            _argument(entry, library),
            entry.export.inputs()[0],
            cpu=board.cpu.name,
            cache=True,
            wheels=PEER_WHEELS.get(entry.runner, ()),
            report=progress,
        )
    except (ContestantFailed, BoardUnreachable) as error:
        return _result(entry, results.FAILED, str(error))
    difference = compare(counts.output, entry.export.expected()[0])
    return _judge(entry, counts, difference, cycles=cycles)


def _judge(entry: Entry, counts: Counts, difference: Difference, *, cycles: bool) -> Counted:
    if not (difference.strict or (difference.acceptable and not entry.ours)):
        return _result(entry, results.WRONG, difference.describe())
    return _result(
        entry,
        results.MEASURED,
        "" if difference.strict else difference.describe(),
        difference_of_scale=difference.of_scale,
        instructions=counts.total,
        classes={kind: counts.classes.get(kind, 0) for kind in CLASSES},
        l1_misses=counts.l1_misses,
        l2_misses=counts.l2_misses,
        estimated_cycles=estimated_cycles(counts) if cycles else None,
    )


def _result(entry: Entry, status: str, detail: str, **fields: Any) -> Counted:
    return Counted(
        network=entry.export.network,
        height=entry.export.height,
        width=entry.export.width,
        runner=entry.runner,
        title=entry.title,
        ours=entry.ours,
        status=status,
        detail=detail,
        **fields,
    )


def _prepare(entry: Entry, board: Board) -> Path | None:
    """Convert the network on the host; returns the library of TVM's own flow, None for others."""
    if entry.runner == STOCK:
        return _stock_library(entry.export, board)
    if not entry.ours:
        process.prepare(entry.runner, entry.export)
    return None


def _stock_library(export: Export, board: Board) -> Path:
    """Compile with TVM's own schedules, untuned, for the board."""
    import torch

    from tvm_shufflenet.compiler import STOCK_PASS_CONFIG, load_tvm
    from tvm_shufflenet.linking import linker

    tvm = load_tvm()
    from tvm import relay

    library = export.folder / f"stock_tvm.{board.model}.so"
    if not library.exists():
        traced = torch.jit.load(export.torchscript)  # type: ignore[no-untyped-call]
        mod, params = relay.frontend.from_pytorch(traced, [("input", export.shape)])
        with tvm.transform.PassContext(opt_level=3, config=STOCK_PASS_CONFIG):
            built = relay.build(mod, target=board.target(), params=params)
        partial = library.with_suffix(".partial.so")
        built.export_library(str(partial), fcompile=linker(board))
        partial.replace(library)
    return library


def _argument(entry: Entry, library: Path | None) -> str:
    return json.dumps(
        {
            "module": runners.card(entry.runner).module,
            "network": entry.export.network,
            "height": entry.export.height,
            "width": entry.export.width,
            "folder": str(entry.export.folder),
            "package": str(entry.package) if entry.package else None,
            "library": str(library) if library else None,
        }
    )


def load_in_guest(argument: str) -> Infer:
    """Load what `_argument` describes; called inside the guest."""
    wanted = json.loads(argument)
    if wanted["library"]:
        return _load_library(wanted["library"])
    export = Export(wanted["network"], wanted["height"], wanted["width"], Path(wanted["folder"]))
    package = Path(wanted["package"]) if wanted["package"] else None
    infer: Infer = import_module(wanted["module"]).load(Setup(export, 1, package))
    return infer


def _load_library(path: str) -> Infer:
    import numpy as np
    import tvm
    from tvm.contrib import graph_executor

    loaded = tvm.runtime.load_module(path)
    executor = graph_executor.GraphModule(loaded["default"](tvm.cpu()))

    def infer(image: np.ndarray) -> np.ndarray:
        executor.set_input(0, image)
        executor.run()
        return executor.get_output(0).numpy()  # type: ignore[no-any-return]

    return infer
