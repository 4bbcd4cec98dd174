"""What the plugin wrote: executed blocks, and where in the guest's memory they lie."""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass
from pathlib import Path

from tvm_shufflenet.emulator.llvm_tools import run_llvm
from tvm_shufflenet.errors import BoardUnreachable

_WORD_DIGITS = 8  # of one 32-bit instruction in hexadecimal


@dataclass(frozen=True)
class Block:
    """Instructions executed one after the other."""

    address: int  # in the guest
    executions: int
    code: tuple[str, ...]  # instruction words, eight hexadecimal digits each

    @property
    def instructions(self) -> int:
        """Executed instructions."""
        return self.executions * len(self.code)


@dataclass(frozen=True)
class Dump:
    """One counted region."""

    total: int  # executed instructions
    l1_misses: int  # of the cache model; 0 without one
    l2_misses: int
    blocks: tuple[Block, ...]  # empty if only totals were asked for


def read_dump(path: Path) -> Dump:
    """Read a file of the plugin.

    Raises:
        BoardUnreachable: if the guest ended before it was written.
    """
    try:
        first, *rest = path.read_text(encoding="ascii").splitlines()
        _, total, l1_misses, l2_misses = first.split()
    except (OSError, ValueError) as error:
        raise BoardUnreachable(
            f"the emulated board wrote no counts to {path.name} ({error}); see its log"
        ) from error
    return Dump(int(total), int(l1_misses), int(l2_misses), tuple(_block(line) for line in rest))


def _block(line: str) -> Block:
    address, executions, code = line.split()
    words = tuple(code[at : at + _WORD_DIGITS] for at in range(0, len(code), _WORD_DIGITS))
    return Block(int(address, 16), int(executions), words)


class SymbolMap:
    """Resolves guest addresses to a library's functions, and others to the file they are in."""

    def __init__(self, maps: str, library: Path) -> None:
        """Read the guest's /proc/self/maps and the symbols of `library` as mapped there."""
        self._files: list[tuple[int, int, str]] = []
        self._bias: int | None = None
        for line in maps.splitlines():
            found = re.match(r"([0-9a-f]+)-([0-9a-f]+) \S+ ([0-9a-f]+) \S+ \d+ *(.*)", line)
            if found is None:
                continue
            start, end, offset = (int(found[index], 16) for index in (1, 2, 3))
            self._files.append((start, end, found[4]))
            # The first segment of a shared library has address and offset 0.
            if self._bias is None and found[4] == str(library) and offset == 0:
                self._bias = start
        self._library = str(library)
        self._starts, self._names = _functions(library)

    def name(self, address: int) -> str:
        """Return the function of the library that holds `address`, else "[file name]"."""
        file = next((f for start, end, f in self._files if start <= address < end), "")
        if file == self._library and self._bias is not None:
            at = bisect.bisect_right(self._starts, address - self._bias) - 1
            if at >= 0:
                return self._names[at]
        return f"[{Path(file).name or 'unknown'}]"


def _functions(library: Path) -> tuple[list[int], list[str]]:
    """Return the sorted addresses of the library's functions and their names."""
    text, _ = run_llvm("nm", ["-n", "--defined-only", str(library)])
    found = re.findall(r"^([0-9a-f]+) [tTwW] (\S+)$", text, re.MULTILINE)
    # TVM's body of a kernel is a function of its own, as are the parts that run in parallel.
    names = [re.sub(r"_compute_(\.\d+)?$", "", name) for _, name in found]
    return [int(address, 16) for address, _ in found], names
