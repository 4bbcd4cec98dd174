"""The little of ELF that must be known before a library may be mapped, and its functions' sizes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from tvm_shufflenet.errors import PackageError

_MACHINES = {(2, 62): "x86-64", (2, 183): "aarch64", (1, 40): "armv7"}  # (class, e_machine)
_SHARED_OBJECT = 3  # e_type
_DYNAMIC_SYMBOLS = 11  # sh_type
_FUNCTION = 2  # the low four bits of st_info

Bytes = bytes | memoryview


@dataclass(frozen=True)
class _Format:
    """Where one ELF class keeps what we read."""

    header: struct.Struct  # from e_type on
    section: struct.Struct
    symbol: struct.Struct


_FORMATS = {
    1: _Format(struct.Struct("<HHIIIIIHHHHHH"), struct.Struct("<10I"), struct.Struct("<3I2BH")),
    2: _Format(
        struct.Struct("<HHIQQQIHHHHHH"), struct.Struct("<2I4Q2I2Q"), struct.Struct("<I2BH2Q")
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


def function_sizes(library: Bytes) -> dict[str, int]:
    """Return the code size in bytes of every exported function, by symbol name.

    An ELF file that `architecture` accepts but whose tables make no sense gives what can be read.
    """
    layout = _FORMATS[library[4]]
    try:
        return dict(_functions(library, layout))
    except (struct.error, IndexError, UnicodeDecodeError):
        return {}


def _functions(library: Bytes, layout: _Format) -> Iterator[tuple[str, int]]:
    header = layout.header.unpack_from(library, 16)
    sections_at, section_bytes, count = header[5], header[10], header[11]
    sections = [
        layout.section.unpack_from(library, sections_at + n * section_bytes) for n in range(count)
    ]
    for section in sections:
        if section[1] != _DYNAMIC_SYMBOLS:
            continue
        start, size, names_at = section[4], section[5], sections[section[6]][4]
        for position in range(start, start + size, layout.symbol.size):
            symbol = layout.symbol.unpack_from(library, position)
            name_at, info, code_bytes = (
                (symbol[0], symbol[1], symbol[5])
                if layout is _FORMATS[2]
                else (symbol[0], symbol[3], symbol[2])
            )
            if info & 15 == _FUNCTION and code_bytes:
                name = bytes(library[names_at + name_at : names_at + name_at + 512])
                yield name.split(b"\0", 1)[0].decode("ascii"), code_bytes
