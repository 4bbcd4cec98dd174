"""Boards: what a machine is, read from ``targets/<name>.toml``, and its TVM target.

A *board* is the machine; a *target* is its description for the compiler. Templates ask the
board's `Machine` for vector width, registers and caches instead of assuming a host.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import MISSING, dataclass, fields
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tvm_shufflenet.board_rules import rules
from tvm_shufflenet.errors import BoardError, did_you_mean

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_Described = TypeVar("_Described", bound="DataclassInstance")

LOCAL = "local"
_WIDEST_BITS = 512
TARGET_SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a schedule may ask about a CPU core."""

    vector_bits: int  # width of one SIMD register
    vector_registers: int  # architectural SIMD registers
    l1d_kib: int  # data cache of one core
    l2_kib: int  # second-level cache a core can use
    fma_per_cycle: int = 1  # vector multiply-adds started per cycle
    fma_from_memory: bool = False  # a multiply-add may read (and broadcast) an operand itself

    @property
    def lanes(self) -> int:
        """Float32 lanes of one vector register."""
        return self.vector_bits // 32

    @property
    def in_halves(self) -> bool:
        """Whether a vector is computed in two halves, so that half a vector costs half."""
        return self.vector_bits == _WIDEST_BITS and self.fma_per_cycle == 1


@dataclass(frozen=True, kw_only=True)
class Cpu:
    """The core, in LLVM's words."""

    arch: str  # "aarch64", "armv7" or "x86-64": the ELF machine of packages for this board
    triple: str  # LLVM target triple
    name: str  # LLVM -mcpu
    features: tuple[str, ...] = ()  # LLVM -mattr beyond those of `name`, each with + or -
    cores: int = 1  # cores of this kind


@dataclass(frozen=True, kw_only=True)
class Rpc:
    """How the board is reached while tuning."""

    key: str  # key under which its server registers with the tracker
    session_timeout_s: int = 120  # a session's limit for a network of 140 M multiply-adds
    connect_timeout_s: int = 60  # how long to wait until the key shows up


@dataclass(frozen=True, kw_only=True)
class Measure:
    """How a kernel is timed on this board."""

    number: int = 5  # runs averaged into one repeat
    repeat: int = 3  # repeats kept of each trial
    min_repeat_ms: int = 100  # `number` grows until a repeat takes this long
    cooldown_s: float = 0.1  # pause between two measurements
    unit: str = "seconds"  # "seconds", or "instructions" on an emulated board


@dataclass(frozen=True, kw_only=True)
class Run:
    """How packages are run on this board unless told otherwise."""

    threads: int = 1
    core_mask: tuple[int, ...] = ()  # cores to pin the threads to; empty: the system chooses


@dataclass(frozen=True, kw_only=True)
class Board:
    """One kind of machine that packages are built for.

    `model` is what tuning records are matched by: boards that share it share their records.
    """

    name: str
    title: str
    model: str
    cpu: Cpu
    machine: Machine
    rpc: Rpc
    measure: Measure = Measure()
    run: Run = Run()
    compile_only: bool = False  # packages can be built but the runtime is not offered there
    emulator: str = ""  # user-mode emulator that stands in for the board, if it is emulated

    def target_string(self) -> str:
        """Return the LLVM target, as TVM's command line spells it."""
        arm = "-keys=arm_cpu,cpu -device=arm_cpu" if self.cpu.arch != "x86-64" else "-keys=cpu"
        attributes = f" -mattr={','.join(self.cpu.features)}" if self.cpu.features else ""
        return (
            f"llvm {arm} -mtriple={self.cpu.triple} -mcpu={self.cpu.name}{attributes}"
            f"{_LLVM_OPTIONS.get(self.cpu.arch, '')}{_FLOAT_OPTIONS}"
            f" -model={self.model} -num-cores={self.cpu.cores}"
        )

    def target(self) -> Any:
        """Return the `tvm.target.Target` of this board (imports the compiler)."""
        from tvm_shufflenet.compiler import load_tvm

        return load_tvm().target.Target(self.target_string())


# A sum's first term is not added to zero, and clamping is one instruction. No result depends on
# the sign of a zero, and NaN in gives no meaningful answer out in any case.
_FLOAT_OPTIONS = " -fast-math-nsz=1 -fast-math-nnan=1"
_LLVM_OPTIONS = {
    "armv7": " -mfloat-abi=hard",
    # Addresses as base plus immediate, where LLVM by default computes an index for each access.
    "aarch64": " -cl-opt=-aarch64-enable-gep-opt:bool=true,-licm-mssa-optimization-cap:uint=0",
}
_SECTIONS: dict[str, type[Any]] = {
    "cpu": Cpu,
    "machine": Machine,
    "rpc": Rpc,
    "measure": Measure,
    "run": Run,
}
# Board files that were loaded by path, for AutoTVM's worker processes: they inherit it.
FILES_VARIABLE = "TVM_SHUFFLENET_BOARD_FILES"


def _build(kind: type[_Described], values: Any, where: str) -> _Described:
    """Check the types of a TOML table's `values` and make a `kind` of them."""
    if not isinstance(values, dict):
        raise BoardError(f"{where} must be a table; see docs/boards.md")
    known = {field.name: field for field in fields(kind)}
    for key, value in values.items():
        if key not in known:
            raise BoardError(f"{where}.{key} is not a field{did_you_mean(key, known)}")
        if not _fits(str(known[key].type), value):
            raise BoardError(f"{where}.{key} must be {known[key].type}, not {value!r}")
    missing = [
        name
        for name, field in known.items()
        if name not in values and field.default is MISSING and field.default_factory is MISSING
    ]
    if missing:
        raise BoardError(f"{where} lacks {missing[0]!r}; see docs/boards.md")
    return kind(**values)


def _fits(wanted: str, value: Any) -> bool:
    if isinstance(value, bool) or wanted == "bool":
        return isinstance(value, bool) and wanted == "bool"
    if wanted.startswith("tuple"):
        item = str if "str" in wanted else int
        return isinstance(value, tuple) and all(type(part) is item for part in value)
    if wanted == "int":
        return isinstance(value, int) and value >= 0
    if wanted == "float":
        return isinstance(value, int | float) and value >= 0
    if wanted == "str":
        return isinstance(value, str)
    return type(value).__name__ == wanted  # a section, already built


def parse_board(text: str, where: str) -> Board:
    """Build a board from the text of a target file; `where` names it in errors.

    Raises:
        BoardError: naming the file and the first field that is wrong.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BoardError(f"{where} is not valid TOML: {error}") from None
    if raw.pop("schema", None) != TARGET_SCHEMA:
        raise BoardError(f"{where}: 'schema' must be {TARGET_SCHEMA}; see docs/boards.md")
    for name, kind in _SECTIONS.items():
        if name in raw:
            raw[name] = _build(kind, _tuples(raw[name]), f"{where}: {name}")
    board = _build(Board, raw, where)
    for right, what in rules(board):
        if not right:
            raise BoardError(f"{where}: {what}; see docs/boards.md")
    return board


def _tuples(table: Any) -> Any:
    if not isinstance(table, dict):
        return table
    return {key: tuple(val) if isinstance(val, list) else val for key, val in table.items()}


@cache
def board_names() -> tuple[str, ...]:
    """Return every board that has a target file, and ``local``."""
    folder = resources.files("tvm_shufflenet.targets")
    files = [entry.name for entry in folder.iterdir() if entry.name.endswith(".toml")]
    return (LOCAL, *sorted(name.removesuffix(".toml") for name in files))


@cache
def load_board(name: str) -> Board:
    """Return the board called `name`, or described by the file `name` if it ends in ``.toml``.

    Raises:
        BoardError: if there is no such board or its file is wrong.
    """
    if name == LOCAL:
        from tvm_shufflenet.local_board import detect

        return detect()
    if name.endswith(".toml"):
        return _load_file(Path(name).absolute())
    if name not in board_names():
        known = board_names()
        raise BoardError(
            f"unknown board {name!r}{did_you_mean(name, known)}; "
            "'tvm-shufflenet boards' lists them, and a path to a .toml file works too"
        )
    text = resources.files("tvm_shufflenet.targets").joinpath(f"{name}.toml").read_text("utf-8")
    board = parse_board(text, f"targets/{name}.toml")
    if board.name != name:
        raise BoardError(f"targets/{name}.toml describes {board.name!r}; name and file must agree")
    return board


def _load_file(path: Path) -> Board:
    try:
        board = parse_board(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise BoardError(f"cannot read the board file {path}: {reason}") from None
    known = _shipped_machines().get(board.model, board.machine)
    if known != board.machine:
        raise BoardError(
            f"{path}: model {board.model!r} is that of a board with another [machine]; "
            "give yours a model of its own"
        )
    files = os.environ.get(FILES_VARIABLE, "").split(os.pathsep)
    if str(path) not in files:
        os.environ[FILES_VARIABLE] = os.pathsep.join([*filter(None, files), str(path)])
    return board


def machine_of_model(model: str) -> Machine:
    """Return the machine of the boards whose target says ``-model=<model>``.

    AutoTVM's workers know only the target, so templates find their machine through it.

    Raises:
        BoardError: if neither a shipped board nor one loaded by path has that model.
    """
    machine = _shipped_machines().get(model)
    if machine is not None:
        return machine
    for file in filter(None, os.environ.get(FILES_VARIABLE, "").split(os.pathsep)):
        board = load_board(file)
        if board.model == model:
            return board.machine
    raise BoardError(
        f"no board in targets/ has model {model!r}; build targets from board files only"
    )


@cache
def _shipped_machines() -> dict[str, Machine]:
    boards = [load_board(name) for name in board_names() if name != LOCAL]
    return {board.model: board.machine for board in boards}
