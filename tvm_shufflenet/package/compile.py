"""A network becomes a library: import, passes, kernels, link."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm_shufflenet.boards import Board, load_board
from tvm_shufflenet.compiler import PASS_CONFIG, load_tvm
from tvm_shufflenet.passes.pipeline import Observer, PipelineOptions, pipeline, run


@dataclass(frozen=True, kw_only=True)
class CompileOptions:
    """What to compile, and for which board."""

    model: str  # a network's name, or the path of an .onnx file
    board: str = "local"
    size: tuple[int, int] = (224, 224)  # height, width of the input
    batch: int = 1
    seed: int = 0  # of the random weights, where no file is given
    weights: Path | None = None
    merge_shuffles: bool = True
    log: Path | None = None  # tuning log to apply; None: the one shipped for the board's model
    untuned: bool = False  # apply no log at all
    threads: int = 0  # 0: as the board file says


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A network after the passes, ready for tuning or building."""

    options: CompileOptions
    board: Board
    target: Any
    mod: Any  # Relay, parameters bound as constants
    passes: tuple[str, ...]


def prepare(options: CompileOptions, observer: Observer | None = None) -> Prepared:
    """Import the network and run the pass pipeline on it.

    Raises:
        InputError: for a network, weights or board that cannot be used.
    """
    load_tvm()
    board = load_board(options.board)
    height, width = options.size
    shape = (options.batch, 3, height, width)
    steps = pipeline(
        PipelineOptions(machine=board.machine, merge_shuffles=options.merge_shuffles)
    )
    mod = run(import_network(options, shape), steps, observer)
    return Prepared(
        options=options,
        board=board,
        target=board.target(),
        mod=mod,
        passes=tuple(step.name for step in steps),
    )


def import_network(options: CompileOptions, shape: tuple[int, int, int, int]) -> Any:
    """Return the network as Relay, just imported."""
    from tvm_shufflenet import frontend, models

    if options.model.endswith(".onnx"):
        return frontend.from_onnx(options.model, shape)
    module = models.build(options.model, seed=options.seed, weights=options.weights)
    return frontend.from_torch(module, shape)


def build_library(prepared: Prepared, path: Path) -> None:
    """Build kernels, graph and parameters into the one shared library at `path`."""
    tvm = load_tvm()
    from tvm import relay

    with tvm.transform.PassContext(opt_level=3, config=PASS_CONFIG):
        factory = relay.build(prepared.mod, prepared.target, mod_name="default")
    factory.export_library(str(path))
