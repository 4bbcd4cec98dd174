"""A network becomes a package: import, passes, kernels, link, manifest."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tvm_shufflenet import linking, models
from tvm_shufflenet.boards import Board, load_board
from tvm_shufflenet.compiler import PASS_CONFIG, load_tvm
from tvm_shufflenet.errors import ModelError
from tvm_shufflenet.package import describe, store
from tvm_shufflenet.package.kernels import kernels_of
from tvm_shufflenet.passes.merge_channel_shuffle import KEPT as SHUFFLES_KEPT
from tvm_shufflenet.passes.pack_weights import PackWeights
from tvm_shufflenet.passes.pipeline import Observer, PipelineOptions, pipeline, run
from tvm_shufflenet.passes.to_channel_blocks import KEPT as OPERATORS_KEPT
from tvm_shufflenet.tuning import history


@dataclass(frozen=True, kw_only=True)
class CompileOptions:
    """What to compile, and for which board."""

    model: str  # a network's name, or the path of an .onnx file
    board: str = "local"
    size: tuple[int, int] = (224, 224)  # height, width of the input
    batches: tuple[int, ...] = (1,)  # one library each
    seed: int = 0  # of the random weights, where no file is given
    weights: Path | None = None
    labels: Path | None = None  # one class name a line
    merge_shuffles: bool = True
    log: Path | None = None  # tuning log to apply; None: the one shipped for the board's model
    untuned: bool = False  # apply no log at all
    threads: int = 0  # 0: as the board file says
    key: Path | None = None  # Ed25519 private key to sign the package with


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A network after the passes, ready for tuning or building."""

    options: CompileOptions
    board: Board
    target: Any
    mod: Any  # Relay, parameters bound as constants
    passes: tuple[str, ...]
    multiply_adds: int  # of one image
    parameters: int
    notes: tuple[str, ...] = field(default=())  # what the passes left alone, and why


@dataclass(frozen=True, kw_only=True)
class Built:
    """A library on disk and how it came to be."""

    path: Path
    prepared: Prepared
    batch: int
    history: history.HistoryReport
    kernels: tuple[tuple[str, str, str | None], ...]  # name, operator, record's key
    output: tuple[int, ...]  # shape


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """Libraries that wait in a temporary folder to be written as a package."""

    options: CompileOptions
    libraries: tuple[Built, ...]
    folder: tempfile.TemporaryDirectory[str]


def prepare(options: CompileOptions, observer: Observer | None = None, batch: int = 1) -> Prepared:
    """Import the network and run the pass pipeline on it.

    Raises:
        InputError: for a network, weights, input size or board that cannot be used.
    """
    board = load_board(options.board)
    if not options.model.endswith(".onnx"):
        models.check_input_size(options.model, options.size)
    elif options.weights is not None:
        raise ModelError(f"{options.model} brings its own weights; leave --weights out")
    load_tvm()
    imported = import_network(options, (batch, 3, *options.size))
    multiply_adds, parameters = describe.size_of(imported, options.model, options.size)
    machine = board.machine
    steps = pipeline(PipelineOptions(machine=machine, merge_shuffles=options.merge_shuffles))
    mod = run(imported, steps, observer)
    return Prepared(
        options=options,
        board=board,
        target=board.target(),
        mod=mod,
        passes=tuple(step.name for step in steps),
        multiply_adds=multiply_adds,
        parameters=parameters,
        notes=_notes(mod, options.merge_shuffles),
    )


def import_network(options: CompileOptions, shape: tuple[int, int, int, int]) -> Any:
    """Return the network as Relay, just imported."""
    from tvm_shufflenet import frontend

    if options.model.endswith(".onnx"):
        return frontend.from_onnx(options.model, shape)
    module = models.build(options.model, seed=options.seed, weights=options.weights)
    return frontend.from_torch(module, shape)


def _notes(mod: Any, merged: bool) -> tuple[str, ...]:
    attributes = mod.attrs if mod.attrs is not None else {}
    kept = [f"not in channel blocks: {name}" for name in attributes.get(OPERATORS_KEPT, [])]
    if merged:
        kept += [f"not merged: {reason}" for reason in attributes.get(SHUFFLES_KEPT, [])]
    return tuple(kept)


def tuning_log(options: CompileOptions, board: Board) -> Path | None:
    """Return the log a build applies: the one asked for, or the one that ships."""
    if options.untuned:
        return None
    return options.log or history.shipped(board, options.model, options.size)


def build_library(prepared: Prepared, path: Path, batch: int = 1) -> Built:
    """Build kernels, graph and parameters into the one shared library at `path`.

    Raises:
        RecordError: if the tuning log is damaged or another board's.
        ToolchainError: if the library cannot be linked for the board.
    """
    tvm = load_tvm()
    from tvm import relay

    log = tuning_log(prepared.options, prepared.board)
    with history.apply(log, prepared.board) as applied:
        mod = prepared.mod
        if applied.tuner != history.ANSOR:
            mod = PackWeights(prepared.target)(mod)
        config = {**PASS_CONFIG, **applied.pass_config}
        with tvm.transform.PassContext(opt_level=3, config=config):
            factory = relay.build(mod, prepared.target, mod_name="default")
        report = applied.report()
        kernels = kernels_of(factory, applied.best)
    factory.export_library(str(path), fcompile=linking.linker(prepared.board))
    output = tuple(int(extent) for extent in mod["main"].checked_type.ret_type.shape)
    return Built(
        path=path, prepared=prepared, batch=batch, history=report, kernels=kernels, output=output
    )


def compile_model(
    options: CompileOptions,
    destination: Path,
    *,
    overwrite: bool = False,
    observer: Observer | None = None,
) -> Path:
    """Compile a network and write its package, whole or not at all.

    Args:
        options: what to compile.
        destination: a folder to make, or one file if the name ends in ``.pkg``.
        overwrite: whether a package that is there may be replaced.
        observer: sees the module after each pass, for the first batch size.

    Raises:
        InputError: for anything the caller gave that cannot be used.
    """
    return write(build(options, destination, overwrite, observer), destination, overwrite)


def build(
    options: CompileOptions,
    destination: Path,
    overwrite: bool = False,
    observer: Observer | None = None,
) -> Compiled:
    """Do everything but write the package, so that a caller can say what was found first."""
    store.check_destination(destination, overwrite=overwrite)
    folder = tempfile.TemporaryDirectory(prefix="tvm-shufflenet-")
    built = []
    for position, batch in enumerate(options.batches):
        prepared = prepare(options, observer if position == 0 else None, batch)
        name = store.library_name(batch, first=position == 0)
        built.append(build_library(prepared, Path(folder.name, name), batch))
    return Compiled(options=options, libraries=tuple(built), folder=folder)


def write(compiled: Compiled, destination: Path, overwrite: bool = False) -> Path:
    """Write the package of `compiled` to `destination`; return it."""
    options = compiled.options
    files: dict[str, store.Content] = {built.path.name: built.path for built in compiled.libraries}
    if options.labels is not None:
        files[describe.LABELS_NAME] = describe.read_labels(options.labels)
    try:
        manifest = describe.manifest(compiled)
        return store.write_package(
            destination, files, manifest, overwrite=overwrite, key=options.key
        )
    finally:
        compiled.folder.cleanup()
