"""The ELF reader on real shared objects, on made ones and on damaged ones."""

from __future__ import annotations

import platform
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_shufflenet.elf import check_machine, glibc_needed, machine_of
from tvm_shufflenet.errors import PackageError

_NUMBERS = {"aarch64": (183, 2), "x86-64": (62, 2), "armv7": (40, 1)}  # e_machine, EI_CLASS
_HERE = {"x86_64": "x86-64", "aarch64": "aarch64"}[platform.machine()]
_EXTENSION = next(Path(np.__file__).parent.joinpath("_core").glob("_multiarray_umath*.so"))


def made(number: int, width: int, *, order: int = 1, kind: int = 3) -> bytes:
    """Return an ELF header without anything behind it."""
    return (
        b"\x7fELF"
        + bytes([width, order, 1])
        + bytes(9)
        + struct.pack("<HH", kind, number)
        + bytes(44)
    )


@pytest.mark.parametrize("arch", _NUMBERS)
def test_the_machine_is_read_from_the_header(arch: str) -> None:
    assert machine_of(made(*_NUMBERS[arch])) == arch


def test_a_real_extension_module_is_for_this_machine() -> None:
    content = _EXTENSION.read_bytes()
    assert machine_of(content) == _HERE
    assert (2, 2) < glibc_needed(content) <= (2, 28)  # NumPy's wheels are manylinux_2_28 or older


def test_a_header_without_sections_needs_no_glibc() -> None:
    assert glibc_needed(made(183, 2)) == ()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not an ELF file"),
        (b"MZ" + bytes(100), "not an ELF file"),
        (made(183, 2)[:40], "not an ELF file"),
        (made(183, 2, order=2), "little-endian"),
        (made(183, 3), "little-endian"),
        (made(183, 2, kind=1), "not a shared object"),
        (made(243, 2), "number 243"),
        (made(183, 1), "number 183"),
        (made(40, 2), "number 40"),
    ],
)
def test_anything_else_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(PackageError, match=said):
        machine_of(content)


def test_a_library_for_another_machine_is_refused_by_name() -> None:
    with pytest.raises(PackageError, match=r"model\.so is a library for x86-64.*board is aarch64"):
        check_machine(made(62, 2), "aarch64", "model.so")


@given(st.data())
def test_damage_is_an_answer_or_one_error_and_never_hangs(data: st.DataObject) -> None:
    content = bytearray(_SMALL)
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        answer = glibc_needed(bytes(content))
    except PackageError:
        return
    assert all(isinstance(part, int) for part in answer)


def with_version_needs(*names: str) -> bytes:
    """Return a 64-bit library with a string table and one SHT_GNU_verneed section."""
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in names)
    offsets = [strings.index(name.encode() + b"\0") for name in names]
    needs = struct.pack("<HHIII", 1, len(names), 0, 16, 0)
    for offset in offsets:
        needs += struct.pack("<IHHII", 0, 0, 2, offset, 16)
    header, at_strings = 64, 64
    at_needs = at_strings + len(strings)
    at_table = at_needs + len(needs)
    sections = [
        struct.pack("<IIQQQQIIQQ", 0, 3, 0, 0, at_strings, len(strings), 0, 0, 1, 0),
        struct.pack("<IIQQQQIIQQ", 0, 0x6FFFFFFE, 0, 0, at_needs, len(needs), 0, 1, 8, 0),
    ]
    content = bytearray(made(183, 2)[:header])
    struct.pack_into("<Q", content, 40, at_table)
    struct.pack_into("<HH", content, 58, 64, len(sections))
    return bytes(content) + strings + needs + b"".join(sections)


_SMALL = with_version_needs("GLIBC_2.17", "GLIBC_2.34", "GCC_3.0", "GLIBC_PRIVATE")


def test_the_newest_glibc_counts_and_other_libraries_do_not() -> None:
    assert glibc_needed(_SMALL) == (2, 34)


def test_versions_compare_as_numbers() -> None:
    assert glibc_needed(with_version_needs("GLIBC_2.4", "GLIBC_2.28", "GLIBC_2.3.4")) == (2, 28)
