"""Linkers: the right one is found, its output is checked, its failures are one sentence."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from tvm_shufflenet import elf, linking
from tvm_shufflenet.boards import load_board
from tvm_shufflenet.emulator.llvm_tools import _folder as llvm_folder
from tvm_shufflenet.errors import PackageError, ToolchainError
from tvm_shufflenet.linking import Linker, linker

_CODE = "define float @half(float %x) { %y = fmul float %x, 0.5 ret float %y }\n"
_ROOT = "declare float @expf(float)\ndefine float @e(float %x) { %y = call float @expf(float %x)\n"
_BOARDS = {"aarch64": "rpi4b", "armv7": "armv7-neon", "x86-64": "x86-avx2"}


def compiled(folder: Path, triple: str, code: str = _CODE) -> str:
    """Return an object file that LLVM made of `code`."""
    target = folder / "code.o"
    options = ["-filetype=obj", "-relocation-model=pic", f"-mtriple={triple}"]
    command = [str(llvm_folder() / "llc"), *options, "-o", str(target)]
    subprocess.run(command, input=code, text=True, check=True)
    return str(target)


@pytest.mark.slow  # zig builds its stubs of the C library on its first link
@pytest.mark.parametrize("arch", _BOARDS)
def test_zig_links_for_every_architecture(arch: str, tmp_path: Path) -> None:
    board = load_board(_BOARDS[arch])
    made = linker(board, prefer="zig")
    source = compiled(tmp_path, board.cpu.triple, f"{_ROOT}ret float %y }}\n")
    for name in ("first.so", "second.so"):
        made(str(tmp_path / name), [source])
    content = (tmp_path / "first.so").read_bytes()
    assert elf.machine_of(content) == arch
    assert elf.glibc_needed(content) <= linking.GLIBC_BASELINE
    assert content == (tmp_path / "second.so").read_bytes()


def test_a_cross_gcc_is_preferred_and_makes_the_same_bytes_twice(tmp_path: Path) -> None:
    board = load_board("rpi4b")
    made = linker(board)
    assert made.command[0].endswith("aarch64-linux-gnu-gcc")
    source = compiled(tmp_path, board.cpu.triple)
    for name in ("first.so", "second.so"):
        made(str(tmp_path / name), [source])
    assert (tmp_path / "first.so").read_bytes() == (tmp_path / "second.so").read_bytes()


def test_a_cross_gcc_without_the_c_library_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = tmp_path / "aarch64-linux-gnu-gcc"
    bare.write_text("#!/bin/sh\necho crti.o\n", encoding="ascii")  # as gcc says: not found
    bare.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert "ziglang" in linker(load_board("rpi4b")).command


def test_a_linker_goes_to_worker_processes_and_has_what_tvm_looks_for() -> None:
    made = pickle.loads(pickle.dumps(linker(load_board("rpi4b"))))
    assert made == linker(load_board("rpi4b"))
    assert (made.output_format, made.object_format) == ("so", "o")
    assert made.get_target_triple() == "aarch64-linux-gnu"


def test_a_linker_for_another_machine_is_found_out(tmp_path: Path) -> None:
    wrong = Linker("aarch64", "aarch64-linux-gnu", linker(load_board("x86-avx2")).command)
    with pytest.raises(PackageError, match="is a library for x86-64, but the board is aarch64"):
        wrong(str(tmp_path / "out.so"), [compiled(tmp_path, "x86_64-linux-gnu")])


def test_objects_of_another_machine_are_one_sentence_with_a_remedy(tmp_path: Path) -> None:
    made = linker(load_board("rpi4b"))
    with pytest.raises(ToolchainError, match=r"failed for aarch64: .*; install one: pip install"):
        made(str(tmp_path / "out.so"), [compiled(tmp_path, "x86_64-linux-gnu")])


def test_a_library_that_needs_a_newer_glibc_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linking, "GLIBC_BASELINE", (2, 4))
    board = load_board("rpi4b")
    source = compiled(tmp_path, board.cpu.triple, f"{_ROOT}ret float %y }}\n")
    with pytest.raises(ToolchainError, match=r"needs glibc 2\.\d+, newer than the baseline 2\.4"):
        linker(board)(str(tmp_path / "out.so"), [source])


def test_no_linker_at_all_names_both_ways_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(linking, "_find_zig", lambda arch: ())
    said = r"no linker for aarch64 \(rpi4b\).*pip install ziglang.*apt install gcc-aarch64"
    with pytest.raises(ToolchainError, match=said):
        linker(load_board("rpi4b"))


def test_a_linker_that_is_gone_is_one_sentence(tmp_path: Path) -> None:
    gone = Linker("aarch64", "aarch64-linux-gnu", (str(tmp_path / "gone"),))
    with pytest.raises(ToolchainError, match="cannot run the linker"):
        gone.warm_up()


def test_warming_up_links_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    linker(load_board("rpi4b")).warm_up()
    assert list(tmp_path.iterdir()) == []


def test_choosing_a_linker_loads_no_compiler() -> None:
    program = (
        "import sys; from tvm_shufflenet.boards import load_board\n"
        "from tvm_shufflenet.linking import linker\n"
        "linker(load_board('rpi4b')); sys.exit('tvm' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
