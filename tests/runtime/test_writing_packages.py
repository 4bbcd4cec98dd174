from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from tvm_shufflenet.errors import PackageError
from tvm_shufflenet.package import rename, store
from tvm_shufflenet.package.store import check_destination, write_package
from tvm_shufflenet.runtime import read_manifest
from tvm_shufflenet.runtime.checked import check_package

from .packages import Network, files_for, make_package, manifest_for

FORMS = pytest.mark.parametrize("name", ["net", "net.pkg"])


def everything(path: Path) -> dict[str, bytes]:
    if path.is_file():
        return {"": path.read_bytes()}
    return {entry.name: entry.read_bytes() for entry in path.iterdir()}


@FORMS
def test_the_same_inputs_give_the_same_bytes(name: str, network: Network, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = make_package(network, tmp_path / "a" / name, (1, 3))
    time.sleep(0.01)
    assert everything(make_package(network, tmp_path / "b" / name, (1, 3))) == everything(first)


def test_any_zip_tool_reads_an_archive(network: Network, tmp_path: Path) -> None:
    path = make_package(network, tmp_path / "net.pkg", (1, 3))
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["manifest.json", "model.so", "model.b3.so", "labels.txt"]
        archive.extractall(tmp_path / "folder")
    check_package(tmp_path / "folder").close()


@FORMS
def test_what_exists_is_kept_unless_told_otherwise(
    name: str, network: Network, tmp_path: Path
) -> None:
    path = make_package(network, tmp_path / name)
    before = everything(path)
    manifest = manifest_for(network, threads=2)
    with pytest.raises(PackageError, match="exists"):
        write_package(path, files_for(network, manifest), manifest)
    assert everything(path) == before
    write_package(path, files_for(network, manifest), manifest, overwrite=True)
    assert read_manifest(path).threads == 2
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_overwriting_never_replaces_what_is_no_package(network: Network, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").write_text("years of work")
    with pytest.raises(PackageError, match="not a package"):
        check_destination(home, overwrite=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(PackageError, match="not a package"):
        check_destination(tmp_path / "file", overwrite=True)
    make_package(network, tmp_path / "net")
    (tmp_path / "net" / "notes.md").write_text("mine")
    with pytest.raises(PackageError, match="not a package"):
        check_destination(tmp_path / "net", overwrite=True)


def test_a_destination_without_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="no folder"):
        check_destination(tmp_path / "missing" / "net")
    with pytest.raises(PackageError, match="give a name"):
        check_destination(Path("/"))


@FORMS
def test_a_failed_write_leaves_no_trace(
    name: str, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "_sync", full)
    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(PackageError, match="No space left"):
        make_package(network, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_not_the_manifests_are_refused(network: Network, tmp_path: Path) -> None:
    manifest = manifest_for(network)
    files = files_for(network, manifest)
    with pytest.raises(PackageError, match="the files are"):
        write_package(tmp_path / "a", {"model.so": files["model.so"]}, manifest)
    with pytest.raises(PackageError, match="not the library that the manifest"):
        write_package(tmp_path / "a", files | {"model.so": b"other"}, manifest)
    with pytest.raises(PackageError, match="cannot read"):
        write_package(tmp_path / "a", files | {"model.so": tmp_path / "none"}, manifest)
    with pytest.raises(PackageError, match="was altered"):
        write_package(tmp_path / "a", files | {"labels.txt": b"other"}, manifest)
    with pytest.raises(PackageError, match="not built for aarch64"):
        foreign = manifest_for(network, arch="aarch64")
        write_package(tmp_path / "a", files, foreign)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_exchanged_is_kept(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_package(network, tmp_path / "net")
    before = everything(path)
    monkeypatch.setattr(rename, "_renameat2", lambda: None)
    manifest = manifest_for(network, threads=2)
    with pytest.raises(PackageError, match="in one step"):
        write_package(path, files_for(network, manifest), manifest, overwrite=True)
    assert everything(path) == before
    assert make_package(network, tmp_path / "new").is_dir()
    with pytest.raises(PackageError, match="exists"):
        make_package(network, tmp_path / "new")


def test_two_writers_of_one_name_leave_each_others_work_alone(
    network: Network, tmp_path: Path
) -> None:
    path = tmp_path / "net"
    with store._beside(path) as first:
        first.mkdir()
        make_package(network, path)
        assert first.is_dir()
    assert [entry.name for entry in tmp_path.iterdir()] == ["net"]


_WRITER = """
import sys
from pathlib import Path
from tvm_shufflenet.manifest import parse_manifest
from tvm_shufflenet.package.store import write_package
import dataclasses
source, destination = Path(sys.argv[1]), Path(sys.argv[2])
manifest = parse_manifest((source / "manifest.json").read_bytes())
files = {name: (source / name).read_bytes() for name in ("model.so", "model.b3.so", "labels.txt")}
print("ready", flush=True)
turn = 0
while True:
    turn = turn % 1000 + 1
    write_package(destination, files, dataclasses.replace(manifest, threads=turn), overwrite=True)
"""


@pytest.mark.slow
@FORMS
def test_a_writer_killed_at_any_moment_leaves_a_whole_package(
    name: str, package: Path, network: Network, tmp_path: Path
) -> None:
    path = make_package(network, tmp_path / name, (1, 3))
    rng = random.Random(3)
    seen = set()
    for _ in range(25):
        command = [sys.executable, "-c", _WRITER, str(package), str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None and writer.stdout.readline() == b"ready\n"
            time.sleep(rng.uniform(0, 0.15))
            os.kill(writer.pid, signal.SIGKILL)
        checked = check_package(path)
        seen.add(checked.manifest.threads)
        checked.close()
    assert len(seen) > 1  # writers did get through
    make_package(network, tmp_path / "other")
    manifest = manifest_for(network, (1, 3))
    write_package(path, files_for(network, manifest), manifest, overwrite=True)
    # What killed writers left is cleaned up by the next.
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([name, "other"])
