"""The one-file package: an uncompressed zip of which every byte is determined by its contents.

Any zip tool can list and extract a ``.pkg``. Reading one back is strict instead: the headers must
be the very bytes that we would write for these names, sizes and checksums. That leaves no room
for compression bombs, links, encrypted or overlapping entries, comments or hidden data.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from tvm_shufflenet.errors import PackageError

MAX_ENTRIES = 64
SIZE_LIMIT = 1 << 32  # of the classic zip format

_NAME = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # no folders, no parents, no devices
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_VERSION = 10  # of the zip format: stored, no encryption
_MADE_BY = 3 << 8 | _VERSION  # Unix, so that the permissions below mean something
_PERMISSIONS = 0o100644 << 16
_DATE = 0x0021  # 1 January 1980, the earliest that zip knows: packages have no dates


@dataclass(frozen=True)
class Entry:
    """One file of an archive."""

    name: str
    size_bytes: int
    crc32: int


@dataclass(frozen=True)
class Layout:
    """All bytes of an archive that are not its files' own."""

    headers: tuple[bytes, ...]  # one before each file
    data_offsets: tuple[int, ...]  # where each file's own bytes start
    tail: bytes  # after the last file: the directory and its end record
    total_bytes: int


def lay_out(entries: Sequence[Entry]) -> Layout:
    """Return the headers for these files in this order.

    Raises:
        PackageError: if the archive would reach 4 GiB.
    """
    headers, offsets, directory = [], [], b""
    position = 0
    for entry in entries:
        name = entry.name.encode("ascii")
        common = (0, 0, 0, _DATE, entry.crc32, entry.size_bytes, entry.size_bytes, len(name), 0)
        total = position + _LOCAL.size + len(name) + entry.size_bytes
        if total >= SIZE_LIMIT:
            raise PackageError("a .pkg file must stay under 4 GiB; write a folder instead")
        headers.append(_LOCAL.pack(b"PK\3\4", _VERSION, *common) + name)
        directory += _CENTRAL.pack(
            b"PK\1\2", _MADE_BY, _VERSION, *common, 0, 0, 0, _PERMISSIONS, position
        )
        directory += name
        offsets.append(position + len(headers[-1]))
        position = total
    count = len(entries)
    end = _END.pack(b"PK\5\6", 0, 0, count, count, len(directory), position, 0)
    tail = directory + end
    return Layout(tuple(headers), tuple(offsets), tail, position + len(tail))


def read_directory(descriptor: int, where: str) -> dict[str, tuple[int, Entry]]:
    """Return name -> (offset of its bytes, entry) of the archive open at `descriptor`.

    Raises:
        PackageError: unless every header is the one that `lay_out` gives.
    """
    entries = _entries(descriptor, where)
    layout = lay_out(entries)
    size = os.fstat(descriptor).st_size
    if size != layout.total_bytes:
        raise _altered(where)
    if os.pread(descriptor, len(layout.tail), size - len(layout.tail)) != layout.tail:
        raise _altered(where)
    found: dict[str, tuple[int, Entry]] = {}
    for entry, header, offset in zip(entries, layout.headers, layout.data_offsets, strict=True):
        if os.pread(descriptor, len(header), offset - len(header)) != header:
            raise _altered(where)
        if entry.name in found:
            raise PackageError(f"{where} holds {entry.name} twice; make the package again")
        found[entry.name] = (offset, entry)
    return found


def _entries(descriptor: int, where: str) -> list[Entry]:
    """Read what the directory claims; `read_directory` then holds every byte against it."""
    size = os.fstat(descriptor).st_size
    if size < _END.size:
        raise PackageError(f"{where} is cut short: {size} bytes; copy or make the package again")
    end = _END.unpack(os.pread(descriptor, _END.size, size - _END.size))
    signature, count, length, start = end[0], end[3], end[5], end[6]
    bounded = count <= MAX_ENTRIES and length <= MAX_ENTRIES * (_CENTRAL.size + 64)
    if signature != b"PK\5\6" or start + length + _END.size != size or not bounded:
        raise PackageError(
            f"{where} is not a package, or is cut short; copy or make the package again"
        )
    directory = os.pread(descriptor, length, start)
    entries, position = [], 0
    for _ in range(count):
        if position + _CENTRAL.size > len(directory):
            raise _altered(where)
        fields = _CENTRAL.unpack_from(directory, position)
        position += _CENTRAL.size
        name = directory[position : position + fields[10]]
        position += fields[10]
        if not _NAME.fullmatch(name):
            raise PackageError(f"{where} holds a file called {name[:80]!r}; refused")
        entries.append(Entry(name.decode("ascii"), fields[9], fields[7]))
    return entries


def _altered(where: str) -> PackageError:
    return PackageError(
        f"{where} was altered or packed by another tool; copy or make the package again "
        "(a folder with the same files loads as well)"
    )
