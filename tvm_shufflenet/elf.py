"""Just enough of ELF to know what a shared library is for, before anything maps it.

Layout: the System V ABI's ELF header, section header and symbol-version-needs tables.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from tvm_shufflenet.errors import PackageError

_MACHINES = {40: "armv7", 62: "x86-64", 183: "aarch64"}  # e_machine: EM_ARM, EM_X86_64, EM_AARCH64
_SHARED_OBJECT = 3  # e_type ET_DYN
_VERSION_NEEDS = 0x6FFFFFFE  # sh_type SHT_GNU_verneed
_WORD_BITS = {1: 32, 2: 64}  # EI_CLASS


@dataclass(frozen=True)
class _Section:
    kind: int
    offset: int
    size: int
    link: int


def machine_of(content: bytes) -> str:
    """Return the architecture of an ELF shared object: "aarch64", "armv7" or "x86-64".

    Raises:
        PackageError: if `content` is no little-endian ELF shared object of one of these.
    """
    if len(content) < 52 or content[:4] != b"\x7fELF":
        raise PackageError("the library is not an ELF file; compile the package again")
    if content[5] != 1 or content[4] not in _WORD_BITS:
        raise PackageError("the library is not a little-endian ELF file; compile the package again")
    kind, number = struct.unpack_from("<HH", content, 16)
    if kind != _SHARED_OBJECT:
        raise PackageError("the library is not a shared object; compile the package again")
    machine = _MACHINES.get(number)
    if machine is None or _WORD_BITS[content[4]] != (32 if machine == "armv7" else 64):
        raise PackageError(
            f"the library is for an ELF machine we do not build for (number {number}); "
            "compile the package again"
        )
    return machine


def check_machine(content: bytes, arch: str, where: str) -> None:
    """Refuse a shared object that is not for `arch`; `where` names it in the error.

    Raises:
        PackageError: if its ELF machine is another one.
    """
    found = machine_of(content)
    if found != arch:
        raise PackageError(
            f"{where} is a library for {found}, but the board is {arch}; "
            "check the linker, then compile again"
        )


def glibc_needed(content: bytes) -> tuple[int, ...]:
    """Return the newest glibc version that `content` asks for, e.g. (2, 28); () if none.

    Raises:
        PackageError: if the tables of the file point outside of it.
    """
    machine_of(content)
    try:
        names = list(_needed_versions(content))
    except (struct.error, IndexError, ValueError, OverflowError):
        raise PackageError("the library's ELF tables are damaged; compile it again") from None
    numbers = [
        tuple(int(part) for part in name.removeprefix("GLIBC_").split("."))
        for name in names
        if re.fullmatch(r"GLIBC_[0-9]+(\.[0-9]+)*", name)  # there is GLIBC_PRIVATE, too
    ]
    return max(numbers, default=())


def _needed_versions(content: bytes) -> Iterator[str]:
    """Yield the version names of every SHT_GNU_verneed section."""
    sections = list(_sections(content))
    for section in sections:
        if section.kind != _VERSION_NEEDS:
            continue
        strings = sections[section.link]
        for offset in _version_name_offsets(content, section):
            start = strings.offset + offset
            yield content[start : content.index(b"\0", start)].decode("ascii")


def _version_name_offsets(content: bytes, section: _Section) -> Iterator[int]:
    need, seen = section.offset, 0
    while seen * 16 < section.size:  # damaged links must not loop for ever
        _, count, _, auxiliary, following = struct.unpack_from("<HHIII", content, need)
        entry = need + auxiliary
        for _ in range(count):
            _, _, _, name, step = struct.unpack_from("<IHHII", content, entry)
            yield name
            entry += step
        if not following:
            return
        need, seen = need + following, seen + 1


def _sections(content: bytes) -> Iterator[_Section]:
    if content[4] == 2:
        (table,) = struct.unpack_from("<Q", content, 40)
        step, count = struct.unpack_from("<HH", content, 58)
        layout = "<IIQQQQI"
    else:
        (table,) = struct.unpack_from("<I", content, 32)
        step, count = struct.unpack_from("<HH", content, 46)
        layout = "<IIIIIII"
    for index in range(count):
        _, kind, _, _, offset, size, link = struct.unpack_from(
            layout, content, table + index * step
        )
        yield _Section(kind, offset, size, link)
