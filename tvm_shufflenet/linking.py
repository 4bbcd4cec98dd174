"""Linkers: object files that LLVM made for a board become a shared library for that board.

A Debian cross gcc is taken where there is one; the ``ziglang`` package from pip does the same
from any host. Packages need glibc 2.28 or later on the board, whichever linker made them.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm_shufflenet import elf
from tvm_shufflenet.boards import Board
from tvm_shufflenet.errors import ToolchainError

GLIBC_BASELINE = (2, 28)  # Debian 10, Raspberry Pi OS 10, Ubuntu 18.10 and everything since
_LINK_LIMIT_S = 300.0  # the first link with zig builds its stubs of libc: 30 s and more

_GCC = {
    "aarch64": ("aarch64-linux-gnu-gcc",),
    "armv7": ("arm-linux-gnueabihf-gcc",),
    "x86-64": ("x86_64-linux-gnu-gcc",),
}
_ZIG = {
    "aarch64": "aarch64-linux-gnu",
    "armv7": "arm-linux-gnueabihf",
    "x86-64": "x86_64-linux-gnu",
}
_HOST = {"aarch64": "aarch64", "x86_64": "x86-64", "armv7l": "armv7"}  # platform.machine()
_DEBIAN = {
    "aarch64": "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
    "armv7": "gcc-arm-linux-gnueabihf libc6-dev-armhf-cross",
    "x86-64": "gcc libc6-dev",
}
# No build id: the same objects give the same bytes. -O2 is for the routines that zig links in.
_OPTIONS = ("-O2", "-shared", "-fPIC", "-Wl,--build-id=none", "-Wl,--as-needed")


@dataclass(frozen=True)
class Linker:
    """Links for one architecture; picklable, so AutoTVM's and Ansor's workers can call it.

    Works as ``export_library(path, fcompile=linker)`` and as ``LocalBuilder(build_func=linker)``.
    """

    arch: str  # the ELF machine that must come out
    triple: str  # LLVM triple of TVM's own metadata object
    command: tuple[str, ...]  # compiler driver and its fixed arguments

    output_format = "so"  # what AutoTVM and Ansor name the result
    object_format = "o"  # what export_library hands over

    def get_target_triple(self) -> str:
        """Return the triple that TVM packs its metadata for (TVM looks for this name)."""
        return self.triple

    def __call__(
        self, output: str, objects: Sequence[str], options: Sequence[str] | None = None, **_: Any
    ) -> None:
        """Link `objects` into the shared library `output`.

        Raises:
            ToolchainError: if linking fails, or the result is for another machine or needs a
                newer glibc than the baseline.
        """
        self._run([*_OPTIONS, *(options or ()), "-o", output, *objects, "-lm"])
        content = Path(output).read_bytes()
        elf.check_machine(content, self.arch, Path(output).name)
        needed = elf.glibc_needed(content)
        if needed > GLIBC_BASELINE:
            raise ToolchainError(
                f"{self.command[0]} made a library that needs glibc {_dotted(needed)}, newer than "
                f"the baseline {_dotted(GLIBC_BASELINE)}; link with zig: pip install ziglang"
            )

    def warm_up(self) -> None:
        """Link an empty library once, so that no tuning trial pays for the linker's first run.

        Raises:
            ToolchainError: if the linker does not work.
        """
        with tempfile.TemporaryDirectory(prefix="tvm-shufflenet-link-") as folder:
            source = Path(folder, "empty.c")
            source.write_text("int tvm_shufflenet_empty;\n", encoding="ascii")
            self(str(Path(folder, "empty.so")), [str(source)])

    def _run(self, arguments: list[str]) -> None:
        command = [*self.command, *arguments]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_LINK_LIMIT_S,
                env=_environment(),
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ToolchainError(f"cannot run the linker {self.command[0]}: {error}") from error
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise ToolchainError(
                f"{' '.join(self.command)} failed for {self.arch}: {lines[-1]}; "
                f"{_remedy(self.arch)}"
            )


def linker(board: Board, *, prefer: str = "") -> Linker:
    """Return the linker for `board`; `prefer` is "gcc" or "zig", or empty for whatever is there.

    Raises:
        ToolchainError: if there is none.
    """
    arch = board.cpu.arch
    found = {"gcc": _find_gcc(arch), "zig": _find_zig(arch)}
    choices = (prefer,) if prefer else ("gcc", "zig")
    for kind in choices:
        command = found[kind]
        if command:
            return Linker(arch, board.cpu.triple, command)
    raise ToolchainError(f"no linker for {arch} ({board.name}); {_remedy(arch)}")


def _find_gcc(arch: str) -> tuple[str, ...]:
    native = ("gcc", "cc") if _HOST.get(platform.machine()) == arch else ()
    for name in (*_GCC[arch], *native):
        path = shutil.which(name)
        if path and _is_complete(path):
            return (path,)
    return ()


def _is_complete(gcc: str) -> bool:
    """Tell whether a compiler has the C library to link against; Debian packs it by itself."""
    asked = (gcc, "-print-file-name=crti.o")
    found = subprocess.run(asked, capture_output=True, text=True, check=False)
    return Path(found.stdout.strip()).is_absolute()


def _find_zig(arch: str) -> tuple[str, ...]:
    if importlib.util.find_spec("ziglang") is None:
        return ()
    target = f"{_ZIG[arch]}.{_dotted(GLIBC_BASELINE)}"
    return (sys.executable, "-m", "ziglang", "cc", "-target", target)


def _environment() -> dict[str, str]:
    """Give zig one cache folder; without these two variables it writes where it is called."""
    from platformdirs import user_cache_path

    zig = str(user_cache_path("tvm-shufflenet") / "zig")
    defaults = {"ZIG_GLOBAL_CACHE_DIR": zig, "ZIG_LOCAL_CACHE_DIR": zig}
    return {**defaults, **os.environ}


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)


def _remedy(arch: str) -> str:
    return f"install one: pip install ziglang, or on Debian: apt install {_DEBIAN[arch]}"
