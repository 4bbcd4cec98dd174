"""The cores that can be emulated, and the files in /proc and /sys by which programs know them.

Runtimes pick kernels by the CPU's part number and features, and some crash on an x86 host's
files, so every core gets a folder that QEMU searches before the host's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tvm_shufflenet.errors import BoardError, did_you_mean

_CPUINFO = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: {features}
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: {part}
CPU revision\t: 3

"""


@dataclass(frozen=True, kw_only=True)
class EmulatedCpu:
    """One core; the caches are those of the board the core is best known from."""

    name: str  # QEMU's -cpu and LLVM's -mcpu
    part: str  # "CPU part" of /proc/cpuinfo
    features: str  # "Features" of /proc/cpuinfo
    l1_kib: int  # data cache
    l1_ways: int
    l2_kib: int
    l2_ways: int
    max_khz: int  # only what /sys claims


_ARMV8_0 = "fp asimd evtstrm crc32 cpuid"
_CPUS = {
    cpu.name: cpu
    for cpu in (
        # Arm Cortex-A72 TRM: 32 KiB 2-way data cache; Raspberry Pi 4: 1 MiB of 16-way L2.
        EmulatedCpu(
            name="cortex-a72",
            part="0xd08",
            features=_ARMV8_0,
            l1_kib=32,
            l1_ways=2,
            l2_kib=1024,
            l2_ways=16,
            max_khz=1_500_000,
        ),
        # Arm Cortex-A53 TRM: 4-way data cache; Raspberry Pi 3: 32 KiB of it and 512 KiB of L2.
        EmulatedCpu(
            name="cortex-a53",
            part="0xd03",
            features=_ARMV8_0,
            l1_kib=32,
            l1_ways=4,
            l2_kib=512,
            l2_ways=16,
            max_khz=1_200_000,
        ),
    )
}


def emulated_cpu(name: str) -> EmulatedCpu:
    """Return the core called `name`.

    Raises:
        BoardError: if it is not one that we emulate.
    """
    if name not in _CPUS:
        raise BoardError(
            f"{name!r} cannot be emulated{did_you_mean(name, _CPUS)}; choose {', '.join(_CPUS)}"
        )
    return _CPUS[name]


def write_prefix(cpu: EmulatedCpu, root: Path, prefix: Path) -> None:
    """Fill the empty folder `prefix`, for QEMU's ``-L``: links into `root`, files of one core."""
    for name in ("lib", "usr", "etc"):
        (prefix / name).symlink_to(root / name)
    _write(prefix / "proc/cpuinfo", _CPUINFO.format(features=cpu.features, part=cpu.part))
    system = prefix / "sys/devices/system/cpu"
    for name in ("possible", "present", "online", "kernel_max"):
        _write(system / name, "0\n")
    core = system / "cpu0"
    frequencies = {"cpuinfo_max_freq": cpu.max_khz, "cpuinfo_min_freq": 600_000}
    for name, khz in (*frequencies.items(), ("scaling_cur_freq", cpu.max_khz)):
        _write(core / "cpufreq" / name, f"{khz}\n")
    topology = "physical_package_id core_id core_siblings_list cluster_cpus_list"
    topology += " package_cpus_list thread_siblings_list core_cpus_list"
    for name in topology.split():
        _write(core / "topology" / name, "0\n")
    caches = (("Data", 1, cpu.l1_kib), ("Instruction", 1, 32), ("Unified", 2, cpu.l2_kib))
    for index, (kind, level, kib) in enumerate(caches):
        folder = core / "cache" / f"index{index}"
        _write(folder / "type", f"{kind}\n")
        _write(folder / "level", f"{level}\n")
        _write(folder / "size", f"{kib}K\n")
        _write(folder / "coherency_line_size", "64\n")
        _write(folder / "shared_cpu_list", "0\n")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="ascii")
