"""Builds the QEMU plugin that counts, with the host's C compiler, once per version of it."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from importlib import resources
from pathlib import Path

from tvm_shufflenet.emulator.cache import digest, prepared
from tvm_shufflenet.emulator.cpus import EmulatedCpu
from tvm_shufflenet.errors import ToolchainError

_SOURCE = "count_blocks.c"
_NEWEST_QEMU = 8  # QEMU 9 changed how plugins read instructions (plugin API 3)


@cache
def qemu() -> str:
    """Return the path of the AArch64 user-mode emulator.

    Raises:
        ToolchainError: if there is none, or one that our plugin cannot be loaded into.
    """
    path = shutil.which("qemu-aarch64")
    if path is None:
        raise ToolchainError(
            "qemu-aarch64 is not installed; on Debian: apt install qemu-user, or use a real board"
        )
    text = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"version (\d+)\.", text)
    if found is None or not 6 < int(found[1]) <= _NEWEST_QEMU:
        version = text.splitlines()[0] if text else "of unknown version"
        raise ToolchainError(f"{path} is {version!r}; counting needs QEMU 7 or 8 (Debian 12's)")
    return path


def counting_plugin() -> Path:
    """Return the built plugin.

    Raises:
        ToolchainError: if there is no C compiler, or it fails.
    """
    source = resources.files(__package__).joinpath(_SOURCE).read_bytes()

    def make(folder: Path) -> None:
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            raise ToolchainError("no C compiler to build the QEMU plugin: apt install gcc")
        (folder / _SOURCE).write_bytes(source)
        command = [compiler, "-O2", "-shared", "-fPIC", "-o", "count_blocks.so", _SOURCE]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no message"]
            raise ToolchainError(f"{compiler} could not build the QEMU plugin: {lines[-1]}")

    return prepared(f"plugin-{digest([source])}", make) / "count_blocks.so"


def plugin_option(out: Path, cpu: EmulatedCpu | None) -> list[str]:
    """Return QEMU's arguments: count into files called `out`.*; with the caches of `cpu`."""
    parts = [f"file={counting_plugin()}", f"out={out}"]
    if cpu is not None:
        parts += [f"l1_kib={cpu.l1_kib}", f"l1_ways={cpu.l1_ways}"]
        parts += [f"l2_kib={cpu.l2_kib}", f"l2_ways={cpu.l2_ways}"]
    return ["-plugin", ",".join(parts)]
