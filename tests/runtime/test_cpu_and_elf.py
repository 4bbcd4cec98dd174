from __future__ import annotations

import itertools
import platform
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_shufflenet.boards import load_board
from tvm_shufflenet.errors import PackageError
from tvm_shufflenet.runtime import cpu, elf

from .packages import Network


def test_llvm_features_are_translated_to_linux_names() -> None:
    assert cpu.linux_features("x86-64", ["+avx512f", "avx2", "-fma", "64bit", "sse4.1"]) == (
        "avx2",
        "avx512f",
        "sse4_1",
    )
    assert cpu.linux_features("aarch64", ["+neon", "+dotprod", "+fullfp16", "+v8.2a"]) == (
        "asimd",
        "asimddp",
        "asimdhp",
    )
    assert cpu.linux_features("armv7", ["+neon", "+vfp4", "+thumb2"]) == ("neon", "vfpv4")


def test_this_machine_has_what_its_own_board_needs() -> None:
    board = load_board("local")
    from tvm.target import codegen

    needed = cpu.linux_features(board.cpu.arch, codegen.llvm_get_cpu_features(board.target()))
    assert board.cpu.arch == cpu.architecture_here()
    assert needed and cpu.features_here() >= {"sse4_2", "avx2", "fma"} & set(needed)


def test_arm_features_are_read_from_the_auxiliary_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    words = {16: 1 << 1 | 1 << 20, 26: 1 << 13}
    monkeypatch.setattr(cpu, "_auxiliary", words.__getitem__)
    monkeypatch.setattr(cpu, "architecture_here", lambda: "aarch64")
    assert cpu.features_here.__wrapped__() == {"asimd", "asimddp", "i8mm"}
    monkeypatch.setattr(cpu, "architecture_here", lambda: "armv7")
    monkeypatch.setattr(cpu, "_auxiliary", {16: 1 << 12 | 1 << 16}.__getitem__)
    assert cpu.features_here.__wrapped__() == {"neon", "vfpv4"}


@pytest.mark.parametrize(
    ("machine", "pointer", "arch"),
    [
        ("x86_64", 8, "x86-64"),
        ("aarch64", 8, "aarch64"),
        ("aarch64", 4, "armv7"),
        ("armv7l", 4, "armv7"),
        ("riscv64", 8, "riscv64"),
    ],
)
def test_a_32_bit_system_on_a_64_bit_kernel_is_armv7(
    machine: str, pointer: int, arch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(cpu.struct, "calcsize", lambda _: pointer)
    assert cpu.architecture_here.__wrapped__() == arch


def test_another_c_library_has_no_glibc_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: str) -> str:
        raise ValueError

    assert cpu.glibc_here()
    monkeypatch.setattr(cpu.os, "confstr", unknown)
    assert cpu.glibc_here() is None


def test_versions_compare_by_number() -> None:
    assert cpu._numbers("2.9") < cpu._numbers("2.28") < cpu._numbers("3.0")


def test_kernel_sizes_agree_with_nm(network: Network) -> None:
    library = network.libraries[1]
    command = ["nm", "--numeric-sort", "--print-size", str(library)]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listing.splitlines() if line.split()[-2] in "tT"]
    expected: dict[str, int] = {}
    for row, following in itertools.pairwise(rows):
        name = row[-1].removesuffix("_compute_")
        if name != row[-1]:  # with the loop bodies that have no symbol
            expected[name] += int(following[0], 16) - int(row[0], 16)
        elif len(row) == 4:
            expected[name] = int(row[1], 16)
    sizes = elf.kernel_sizes(library.read_bytes())
    (conv,) = [name for name in sizes if "conv2d" in name]
    named = sum(int(row[1], 16) for row in rows if conv in row[-1] and len(row) == 4)
    assert sizes[conv] == expected[conv] > named
    kernels = [name for name in sizes if name.startswith("tvmgen")]
    # The last ends with its section, which nm does not tell.
    assert sum(sizes[name] == expected[name] for name in kernels) == len(kernels) - 1


def test_a_stripped_library_still_gives_its_exported_kernels(
    network: Network, tmp_path: Path
) -> None:
    stripped = tmp_path / "stripped.so"
    shutil.copy(network.libraries[1], stripped)
    subprocess.run(["strip", str(stripped)], check=True)
    whole = elf.kernel_sizes(network.libraries[1].read_bytes())
    rest = elf.kernel_sizes(stripped.read_bytes())
    assert {name for name in whole if name.startswith("tvmgen")} <= set(rest)


@given(st.binary(max_size=300))
def test_no_bytes_crash_the_elf_reader(tail: bytes) -> None:
    for bits in (1, 2):
        library = b"\x7fELF" + bytes([bits, 1]) + bytes(10) + tail
        try:
            elf.architecture(library, "it")
        except PackageError:
            continue
        assert isinstance(elf.kernel_sizes(library), dict)


@given(data=st.data())
def test_no_damaged_library_crashes_the_elf_reader(data: st.DataObject, network: Network) -> None:
    library = bytearray(network.libraries[1].read_bytes())
    sections_at = struct.unpack_from("<Q", library, 40)[0]
    for _ in range(4):
        place = data.draw(
            st.integers(16, 63) | st.integers(sections_at, len(library) - 1), label="place"
        )
        library[place] = data.draw(st.integers(0, 255), label="byte")
    try:
        elf.architecture(library, "it")
    except PackageError:
        return
    assert isinstance(elf.kernel_sizes(library), dict)
