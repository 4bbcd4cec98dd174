"""A prepared guest: the arm64 root, its wheels, one emulated core, and how to start programs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tvm_shufflenet
from tvm_shufflenet.emulator import root
from tvm_shufflenet.emulator.cache import cache_folder, digest, prepared
from tvm_shufflenet.emulator.cpus import emulated_cpu, write_prefix
from tvm_shufflenet.emulator.plugin import plugin_option, qemu
from tvm_shufflenet.errors import BoardUnreachable

_FROM_HOST = ("PATH", "HOME", "TMPDIR", "LANG")
# One thread: the counters are exact for one only, and one core is what the guest is told of.
_SETTINGS = {
    "TVM_USE_RUNTIME_LIB": "1",
    "TVM_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONNOUSERSITE": "1",
}


def silent(_: str) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Guest:
    """Python on one emulated core."""

    cpu: str  # QEMU's name of the core
    prefix: Path  # QEMU's -L folder
    python: Path  # the guest's interpreter
    search_path: tuple[Path, ...]  # the guest's PYTHONPATH

    def command(
        self, arguments: Sequence[str], *, count_to: Path | None = None, caches: bool = False
    ) -> list[str]:
        """Return the host command of the guest's ``python *arguments``.

        With `count_to`, marked regions are counted into files of that name; with `caches`, data
        accesses go through the core's cache model as well.
        """
        plugin = []
        if count_to is not None:
            plugin = plugin_option(count_to, emulated_cpu(self.cpu) if caches else None)
        start = [qemu(), "-L", str(self.prefix), "-cpu", self.cpu, *plugin]
        return [*start, str(self.python), *arguments]

    def environment(self) -> dict[str, str]:
        """Return the guest's environment: nothing of the host's Python gets in."""
        kept = {name: os.environ[name] for name in _FROM_HOST if name in os.environ}
        path = os.pathsep.join(str(folder) for folder in self.search_path)
        # Compiling TVM's Python sources takes longer than anything else under emulation.
        bytecode = str(cache_folder() / "bytecode")
        return {**kept, **_SETTINGS, "PYTHONPATH": path, "PYTHONPYCACHEPREFIX": bytecode}

    def run(
        self,
        arguments: Sequence[str],
        *,
        count_to: Path | None = None,
        caches: bool = False,
        timeout_s: float = 600.0,
    ) -> str:
        """Run the guest's Python to its end and return what it printed.

        Raises:
            BoardUnreachable: if it fails or takes longer than `timeout_s`.
        """
        try:
            done = subprocess.run(
                self.command(arguments, count_to=count_to, caches=caches),
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise BoardUnreachable(
                f"the emulated {self.cpu} did not finish within {timeout_s:g} s; is the host busy?"
            ) from None
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise BoardUnreachable(f"the program on the emulated {self.cpu} failed: {lines[-1]}")
        return done.stdout


def guest(
    cpu: str, *, wheels: Sequence[str] = root.RUNTIME_WHEELS, report: root.Report = silent
) -> Guest:
    """Return a guest with one core `cpu`, preparing what is missing (downloads on first use).

    Raises:
        BoardError: if that core is not emulated.
        ToolchainError: if QEMU, apt, pip or the compiler is missing or fails.
    """
    core = emulated_cpu(cpu)
    qemu()
    arm_root = root.arm_root(report)
    site = root.wheels("wheels", wheels, report)
    prefix = prepared(
        f"{cpu}-{digest([str(arm_root), repr(core)])}",
        lambda folder: write_prefix(core, arm_root, folder),
    )
    return Guest(cpu, prefix, arm_root / root.PYTHON, (site, _own_package()))


def _own_package() -> Path:
    """Return a folder in which the guest finds this package and nothing else of the host's."""
    package = Path(tvm_shufflenet.__file__).parent

    def make(folder: Path) -> None:
        (folder / package.name).symlink_to(package)

    return prepared(f"package-{digest([str(package)])}", make)
