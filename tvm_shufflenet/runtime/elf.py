"""The little of ELF that must be known before a library may be mapped, and its functions' sizes."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from tvm_shufflenet.errors import PackageError

_MACHINES = {(2, 62): "x86-64", (2, 183): "aarch64", (1, 40): "armv7"}  # (class, e_machine)
_SHARED_OBJECT = 3  # e_type
_SYMBOL_TABLES = (2, 11)  # sh_type: of everything, which may be stripped, and of what is exported
_FUNCTION = 2  # the low four bits of st_info
_COMPUTE = "_compute_"

Bytes = bytes | memoryview


@dataclass(frozen=True)
class _Format:
    """Where one ELF class keeps what we read."""

    header: struct.Struct  # from e_type on
    section: struct.Struct
    symbol: struct.Struct
    symbol_order: tuple[int, ...]  # where in `symbol`: name, info, address, size


_FORMATS = {
    1: _Format(
        header=struct.Struct("<HHIIIIIHHHHHH"),
        section=struct.Struct("<10I"),
        symbol=struct.Struct("<3I2BH"),
        symbol_order=(0, 3, 1, 2),
    ),
    2: _Format(
        header=struct.Struct("<HHIQQQIHHHHHH"),
        section=struct.Struct("<2I4Q2I2Q"),
        symbol=struct.Struct("<I2BH2Q"),
        symbol_order=(0, 1, 4, 5),
    ),
}


def architecture(library: Bytes, where: str) -> str:
    """Return "x86-64", "aarch64" or "armv7" of an ELF shared library, from its header.

    Raises:
        PackageError: if it is no little-endian ELF shared library of those, or is cut short.
    """
    if len(library) < 64 or library[:4] != b"\x7fELF":
        raise PackageError(f"{where} is not an ELF library; compile the package again")
    if library[5] != 1 or library[4] not in _FORMATS:
        raise PackageError(f"{where} is not a little-endian ELF library of 32 or 64 bits")
    header = _FORMATS[library[4]].header.unpack_from(library, 16)
    kind, machine = header[0], header[1]
    sections_at, section_bytes, count = header[5], header[10], header[11]
    if kind != _SHARED_OBJECT:
        raise PackageError(f"{where} is an ELF file but not a shared library")
    if (library[4], machine) not in _MACHINES:
        raise PackageError(f"{where} is built for an unknown machine (ELF {machine})")
    # Linkers put the section table last, so a truncated library lacks it.
    if sections_at + section_bytes * count > len(library):
        raise PackageError(f"{where} is cut short; copy or make the package again")
    return _MACHINES[library[4], machine]


def kernel_sizes(library: Bytes) -> dict[str, int]:
    """Return the bytes of machine code of each kernel of a TVM library, by the kernel's name.

    TVM makes of a kernel its entry, a function ``<kernel>_compute_``, and right after that the
    bodies of its parallel loops, which have no symbols: all up to the next function is counted.
    A library whose symbols were stripped or make no sense gives what can be read.
    """
    try:
        return _kernel_sizes(library, _FORMATS[library[4]])
    except (struct.error, IndexError, OverflowError, UnicodeDecodeError):
        return {}


def _kernel_sizes(library: Bytes, layout: _Format) -> dict[str, int]:
    sections = _sections(library, layout)
    functions = sorted(_functions(library, layout, sections))
    ends = [section[3] + section[5] for section in sections]  # a section's end ends its code
    starts = sorted([address for address, _, _ in functions] + ends)
    sizes: dict[str, int] = {}
    for address, name, code_bytes in functions:
        if name.endswith(_COMPUTE):
            code_bytes = starts[bisect_right(starts, address)] - address
        kernel = name.removesuffix(_COMPUTE)
        sizes[kernel] = sizes.get(kernel, 0) + code_bytes
    return sizes


def _sections(library: Bytes, layout: _Format) -> list[tuple[int, ...]]:
    header = layout.header.unpack_from(library, 16)
    start, size_bytes, count = header[5], header[10], header[11]
    return [layout.section.unpack_from(library, start + n * size_bytes) for n in range(count)]


def _functions(
    library: Bytes, layout: _Format, sections: list[tuple[int, ...]]
) -> Iterator[tuple[int, str, int]]:
    """Yield address, name and size of the functions in the fullest symbol table."""
    tables = {section[1]: section for section in sections if section[1] in _SYMBOL_TABLES}
    if not tables:
        return
    table = tables[min(tables)]
    start, size, names_at = table[4], table[5], sections[table[6]][4]
    for position in range(start, start + size, layout.symbol.size):
        symbol = layout.symbol.unpack_from(library, position)
        name_at, info, address, code_bytes = (symbol[n] for n in layout.symbol_order)
        if info & 15 == _FUNCTION and code_bytes:
            name = bytes(library[names_at + name_at : names_at + name_at + 512])
            yield address, name.split(b"\0", 1)[0].decode("ascii"), code_bytes
