"""Preparing the emulated board: once, whole or not at all, and one sentence for what is missing."""

from __future__ import annotations

import errno
import platform
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tvm_shufflenet.emulator import cache, cpus, plugin, root
from tvm_shufflenet.emulator.blocks import read_dump
from tvm_shufflenet.errors import BoardError, BoardUnreachable, ToolchainError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv(cache.FOLDER_VARIABLE, str(tmp_path))
    return tmp_path


@pytest.fixture
def fresh_qemu() -> Iterator[None]:
    """Look for QEMU anew, before and after."""
    plugin.qemu.cache_clear()
    yield
    plugin.qemu.cache_clear()


def _program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def silent(_: str) -> None:
    """Report nothing."""


def test_what_is_prepared_is_made_once_even_by_many_at_a_time(folder: Path) -> None:
    made = []

    def make(target: Path) -> None:
        made.append(target)
        (target / "content").write_text("whole")

    threads = [threading.Thread(target=cache.prepared, args=("thing", make)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert (folder / "thing" / "content").read_text() == "whole"


def test_what_failed_half_way_leaves_nothing(folder: Path) -> None:
    def make(target: Path) -> None:
        (target / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.prepared("thing", make)
    assert [path.name for path in folder.iterdir()] == ["thing.lock"]


def test_a_full_disk_is_one_sentence_with_the_remedy(folder: Path) -> None:
    def make(target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ToolchainError, match="the disk is full; free some space or set"):
        cache.prepared("thing", make)


def test_a_folder_that_cannot_be_made_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(cache.FOLDER_VARIABLE, str(tmp_path / "file" / "below"))
    with pytest.raises(ToolchainError, match="cannot prepare"):
        cache.prepared("thing", lambda target: None)


@pytest.mark.usefixtures("fresh_qemu")
def test_without_qemu_the_remedy_is_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ToolchainError, match="apt install qemu-user"):
        plugin.qemu()


@pytest.mark.usefixtures("fresh_qemu")
@pytest.mark.parametrize(
    ("answer", "good"),
    [
        ("qemu-aarch64 version 7.2.22 (Debian)", True),
        ("qemu-aarch64 version 8.2.0", True),
        ("qemu-aarch64 version 9.0.1", False),
        ("qemu-aarch64 version 10.0.2", False),
        ("qemu-aarch64 version 5.2.0", False),
        ("", False),
    ],
)
def test_only_a_qemu_that_loads_the_plugin_is_taken(
    answer: str, good: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(tmp_path, "qemu-aarch64", f"echo '{answer}'")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    if good:
        assert plugin.qemu() == str(tmp_path / "qemu-aarch64")
    else:
        with pytest.raises(ToolchainError, match="counting needs QEMU 7 or 8"):
            plugin.qemu()


def test_without_a_compiler_the_remedy_is_to_install_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ToolchainError, match="apt install gcc"):
        plugin.counting_plugin()


def test_a_compiler_that_fails_is_quoted(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(tmp_path, "gcc", "echo 'count_blocks.c:1: no stdio.h' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    with pytest.raises(ToolchainError, match=r"no stdio\.h"):
        plugin.counting_plugin()


def test_another_distribution_is_refused_by_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"ID": "ubuntu", "VERSION_ID": "24.04", "PRETTY_NAME": "Ubuntu 24.04 LTS"}
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: found)
    with pytest.raises(ToolchainError, match=r"but this is Ubuntu 24\.04 LTS"):
        root.arm_root(silent)


def test_a_failing_download_quotes_apt(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    _program(programs, "apt-get", "echo 'E: Unable to locate package libc6' >&2; exit 100")
    monkeypatch.setenv("PATH", str(programs))
    found = {"ID": "debian", "VERSION_ID": "12"}
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: found)
    with pytest.raises(ToolchainError, match=r"apt failed.*Unable to locate package libc6"):
        root.arm_root(silent)


def test_a_core_that_is_not_emulated_gets_the_nearest_name() -> None:
    with pytest.raises(BoardError, match="did you mean 'cortex-a72'"):
        cpus.emulated_cpu("cortex-a73")


@pytest.mark.parametrize("name", ["cortex-a53", "cortex-a72"])
def test_a_guest_is_told_the_core_it_has(name: str, tmp_path: Path) -> None:
    cpu = cpus.emulated_cpu(name)
    cpus.write_prefix(cpu, Path("/nonexistent"), tmp_path)
    told = (tmp_path / "proc/cpuinfo").read_text()
    assert f"CPU part\t: {cpu.part}\n" in told
    level2 = tmp_path / "sys/devices/system/cpu/cpu0/cache/index2"
    assert (level2 / "size").read_text() == f"{cpu.l2_kib}K\n"


@pytest.mark.parametrize("content", [None, "", "nonsense\n", "totals 1 2\n"])
def test_counts_that_are_missing_or_damaged_are_one_sentence(
    content: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "count.0.blocks"
    if content is not None:
        file.write_text(content)
    with pytest.raises(BoardUnreachable, match="wrote no counts"):
        read_dump(file)


def test_a_dump_is_read_block_by_block(tmp_path: Path) -> None:
    file = tmp_path / "count.0.blocks"
    file.write_text("totals 30 4 2\n1000 10 d503201fd65f03c0\n2000 10 d503201f\n")
    dump = read_dump(file)
    assert (dump.total, dump.l1_misses, dump.l2_misses) == (30, 4, 2)
    assert sum(block.instructions for block in dump.blocks) == dump.total
    assert dump.blocks[0].code == ("d503201f", "d65f03c0")
