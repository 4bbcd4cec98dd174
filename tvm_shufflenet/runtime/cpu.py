"""The CPU here against the CPU a package needs, in the names that Linux gives features."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Container, Iterable
from functools import cache
from pathlib import Path

from tvm_shufflenet.errors import PackageError
from tvm_shufflenet.manifest import Manifest

_CPUINFO = Path("/proc/cpuinfo")
_AT_HWCAP, _AT_HWCAP2 = 16, 26

# Bits of AT_HWCAP and AT_HWCAP2, from the kernel's arch/{arm64,arm}/include/uapi/asm/hwcap.h.
# The auxiliary vector is right under user-mode emulation too, where /proc/cpuinfo is the host's.
_ARM64_HWCAP = {
    "fp": 0, "asimd": 1, "aes": 3, "pmull": 4, "sha1": 5, "sha2": 6, "crc32": 7, "atomics": 8,
    "fphp": 9, "asimdhp": 10, "asimdrdm": 12, "jscvt": 13, "fcma": 14, "lrcpc": 15, "sha3": 17,
    "asimddp": 20, "sha512": 21, "sve": 22, "asimdfhm": 23, "ilrcpc": 26, "flagm": 27,
}  # fmt: skip
_ARM64_HWCAP2 = {"sve2": 1, "flagm2": 7, "frint": 8, "i8mm": 13, "bf16": 14}
_ARM_HWCAP = {
    "vfp": 6,
    "neon": 12,
    "vfpv3": 13,
    "vfpv4": 16,
    "idiva": 17,
    "idivt": 18,
    "vfpd32": 19,
}

# LLVM's name -> Linux's. LLVM's other features are tuning hints, privileged, or never in kernels.
_LLVM_NAMES = {
    "x86-64": {
        "sse3": "pni", "ssse3": "ssse3", "sse4.1": "sse4_1", "sse4.2": "sse4_2",
        "popcnt": "popcnt", "cx16": "cx16", "avx": "avx", "avx2": "avx2", "fma": "fma",
        "f16c": "f16c", "bmi": "bmi1", "bmi2": "bmi2", "lzcnt": "abm", "movbe": "movbe",
        "adx": "adx", "gfni": "gfni", "vaes": "vaes", "vpclmulqdq": "vpclmulqdq",
        "avxvnni": "avx_vnni", "avx512f": "avx512f", "avx512cd": "avx512cd",
        "avx512dq": "avx512dq", "avx512bw": "avx512bw", "avx512vl": "avx512vl",
        "avx512ifma": "avx512ifma", "avx512vbmi": "avx512vbmi", "avx512vbmi2": "avx512_vbmi2",
        "avx512vnni": "avx512_vnni", "avx512bitalg": "avx512_bitalg",
        "avx512vpopcntdq": "avx512_vpopcntdq", "avx512bf16": "avx512_bf16",
        "avx512fp16": "avx512_fp16", "amx-tile": "amx_tile", "amx-int8": "amx_int8",
        "amx-bf16": "amx_bf16",
    },
    "aarch64": {
        "fp-armv8": "fp", "neon": "asimd", "crc": "crc32", "lse": "atomics", "fullfp16": "asimdhp",
        "rdm": "asimdrdm", "jsconv": "jscvt", "complxnum": "fcma", "rcpc": "lrcpc",
        "dotprod": "asimddp", "fp16fml": "asimdfhm", "rcpc-immo": "ilrcpc", "flagm": "flagm",
        "altnzcv": "flagm2", "fptoint": "frint", "sve": "sve", "sve2": "sve2", "i8mm": "i8mm",
        "bf16": "bf16",
    },
    "armv7": {
        "vfp2": "vfp", "vfp3": "vfpv3", "vfp4": "vfpv4", "neon": "neon", "d32": "vfpd32",
        "hwdiv": "idivt", "hwdiv-arm": "idiva",
    },
}  # fmt: skip


def linux_features(arch: str, llvm_features: Iterable[str]) -> tuple[str, ...]:
    """Translate LLVM's feature names into the ones of `Manifest.cpu_features`, sorted.

    Accepts names with or without a leading ``+``; ``-name`` and what kernels never use is left out.
    """
    known = _LLVM_NAMES[arch]
    names = (feature.removeprefix("+") for feature in llvm_features)
    return tuple(sorted({known[name] for name in names if name in known}))


@cache
def architecture_here() -> str:
    """Return this process's architecture as a manifest names it, or the machine's own name."""
    machine = platform.machine()
    if machine == "x86_64":
        return "x86-64"
    # A 32-bit system often runs on a 64-bit kernel.
    if machine == "aarch64" and struct.calcsize("P") == 8:
        return "aarch64"
    return "armv7" if machine == "aarch64" or machine.startswith("armv") else machine


@cache
def features_here() -> frozenset[str]:
    """Return the CPU features of this machine, in Linux's names."""
    arch = architecture_here()
    if arch == "x86-64":
        for line in _CPUINFO.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "flags":
                return frozenset(value.split())
        return frozenset()
    tables = {
        "aarch64": ((_AT_HWCAP, _ARM64_HWCAP), (_AT_HWCAP2, _ARM64_HWCAP2)),
        "armv7": ((_AT_HWCAP, _ARM_HWCAP),),
    }.get(arch, ())
    return frozenset(
        name for kind, table in tables for name, bit in table.items() if _auxiliary(kind) >> bit & 1
    )


def _auxiliary(kind: int) -> int:
    getauxval = ctypes.CDLL(None).getauxval
    getauxval.argtypes, getauxval.restype = [ctypes.c_ulong], ctypes.c_ulong
    return int(getauxval(kind))


def check_runs_here(manifest: Manifest) -> None:
    """Refuse a package for another architecture, another CPU or a newer C library.

    Raises:
        PackageError: saying what the package needs and what is here.
    """
    check_runs_on(manifest, architecture_here(), features_here(), glibc_here(), "this machine")


def check_runs_on(
    manifest: Manifest, arch: str, features: Container[str], glibc: str | None, machine: str
) -> None:
    """Refuse a package that `machine`, which has these, cannot run.

    Raises:
        PackageError: saying what the package needs and what is there.
    """
    if manifest.arch != arch:
        raise PackageError(
            f"the package is built for {manifest.arch} (board {manifest.board}) and {machine} "
            f"is {arch}; compile it for a board like this one"
        )
    missing = [name for name in manifest.cpu_features if name not in features]
    if missing:
        raise PackageError(
            f"the package needs a CPU with {', '.join(missing)}, which {machine} lacks; "
            f"it was compiled for board {manifest.board}: compile it for a board like this one"
        )
    if glibc is not None and _numbers(glibc) < _numbers(manifest.glibc):
        raise PackageError(
            f"the package needs glibc {manifest.glibc} or later and {machine} has {glibc}; "
            "compile it for an older system"
        )


def glibc_here() -> str | None:
    """Return the version of glibc here, or None under another C library."""
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (ValueError, OSError):
        return None
    return version if name == "glibc" else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
