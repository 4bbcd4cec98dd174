"""Counts one inference of a model library on an emulated core."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tvm_shufflenet.emulator.blocks import Block, Dump, SymbolMap, read_dump
from tvm_shufflenet.emulator.instructions import classify, disassemble
from tvm_shufflenet.emulator.system import guest

_RUN_LIBRARY = "tvm_shufflenet.emulator.guest.run_library"
OTHER = "[other]"  # executed outside of the library: TVM's runtime, libc, Python's call


@dataclass(frozen=True, kw_only=True)
class KernelCounts:
    """What one function of the library executed in one inference."""

    name: str
    total: int  # instructions
    classes: Mapping[str, int]  # class of `instructions.CLASSES` -> instructions


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What one inference executed; deterministic, and no measure of time."""

    cpu: str
    total: int  # instructions
    classes: Mapping[str, int]  # class of `instructions.CLASSES` -> instructions
    kernels: tuple[KernelCounts, ...]  # most instructions first; empty if they have no symbols
    l1_misses: int | None = None  # of the cache model, data side; None if it was off
    l2_misses: int | None = None
    output: Any = None  # numpy array that this very inference gave
    blocks: tuple[Block, ...] = ()  # what was executed, for further analysis


def count_instructions(
    library: str | Path,
    input_shape: Sequence[int],
    cpu: str = "cortex-a72",
    cache: bool = False,
    *,
    input_array: Any = None,
    timeout_s: float = 900.0,
) -> Counts:
    """Run a graph executor library (``export_library``) three times, counting the third.

    `input_shape` is that of the one input, float32; it is filled with random numbers of a fixed
    seed unless `input_array` is given. `cache` adds the misses of the core's caches.

    Raises:
        ToolchainError: if the emulator cannot be prepared.
        BoardUnreachable: if the library does not run in it.
    """
    path = Path(library).resolve()
    system = guest(cpu)
    if input_array is None:
        generator = np.random.default_rng(0)
        input_array = generator.standard_normal(tuple(input_shape)).astype(np.float32)
    with tempfile.TemporaryDirectory(prefix="tvm-shufflenet-count-") as name:
        folder = Path(name)
        np.save(folder / "input.npy", input_array)
        files = [str(folder / file) for file in ("input.npy", "output.npy", "maps")]
        arguments = ["-m", _RUN_LIBRARY, str(path), *files]
        system.run(arguments, count_to=folder / "count", caches=cache, timeout_s=timeout_s)
        dump = read_dump(folder / "count.0.blocks")
        output = np.load(folder / "output.npy")
        maps = (folder / "maps").read_text(encoding="utf-8")
    return summarize(dump, cpu, SymbolMap(maps, path), cache=cache, output=output)


def summarize(
    dump: Dump, cpu: str, symbols: SymbolMap | None, *, cache: bool, output: Any = None
) -> Counts:
    """Classify what the blocks of `dump` executed, for each function that `symbols` knows."""
    assembly = disassemble(word for block in dump.blocks for word in block.code)
    kinds = {word: classify(text) for word, text in assembly.items()}
    by_kernel: dict[str, Counter[str]] = {}
    for block in dump.blocks:
        name = symbols.name(block.address) if symbols else OTHER
        # The linker's stubs for calls out of the library have no symbol of their own.
        name = OTHER if name.startswith("[") or name == "_init" else name
        counter = by_kernel.setdefault(name, Counter())
        for word in block.code:
            counter[kinds[word]] += block.executions
    kernels = sorted(
        (
            KernelCounts(name=name, total=c.total(), classes=dict(c))
            for name, c in by_kernel.items()
        ),
        key=lambda kernel: -kernel.total,
    )
    return Counts(
        cpu=cpu,
        total=dump.total,
        classes=_sum(by_kernel.values()),
        kernels=tuple(kernels) if symbols else (),
        l1_misses=dump.l1_misses if cache else None,
        l2_misses=dump.l2_misses if cache else None,
        output=output,
        blocks=dump.blocks,
    )


def _sum(counters: Iterable[Counter[str]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for counter in counters:
        total.update(counter)
    return dict(total)
