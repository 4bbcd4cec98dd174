"""Whatever is done to a package: PackageError, and no byte of it reaches the dynamic loader."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import random
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tvm_shufflenet.errors import PackageError
from tvm_shufflenet.manifest import FILE_NAME, parse_manifest
from tvm_shufflenet.package.store import describe_labels
from tvm_shufflenet.runtime import Model
from tvm_shufflenet.runtime import model as model_module
from tvm_shufflenet.runtime.archive import Entry, lay_out

from .packages import LABELS, Network, make_package, manifest_for

MUTATIONS = 10_000


@pytest.fixture(autouse=True)
def no_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it an error of another kind to hand any library to the loader."""

    def refuse(*arguments: object) -> None:
        raise AssertionError("native code would have been loaded")

    monkeypatch.setattr(model_module, "Executor", refuse)


def refused(path: Path, words: str = "") -> None:
    with pytest.raises(PackageError) as caught:
        Model.load(path)
    assert words in str(caught.value)


def archive_of(contents: list[tuple[str, bytes]]) -> bytes:
    """An archive as ours are, of any files."""
    layout = lay_out([Entry(name, len(data), zlib.crc32(data)) for name, data in contents])
    parts = [part for pair in zip(layout.headers, contents, strict=True) for part in pair]
    return b"".join(p if isinstance(p, bytes) else p[1] for p in parts) + layout.tail


@pytest.fixture
def small(network: Network, tmp_path: Path) -> Path:
    """A folder package of one library, to be altered."""
    return make_package(network, tmp_path / "small")


@pytest.fixture
def contents(small: Path) -> list[tuple[str, bytes]]:
    names = (FILE_NAME, "model.so", "labels.txt")
    return [(name, (small / name).read_bytes()) for name in names]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "altered.pkg"


def mutate(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Damage `data` in one of the ways that disks, networks and people do."""
    place = rng.randrange(len(data))
    kind = rng.randrange(7)
    if kind == 0:
        return data[:place]
    if kind == 1:
        return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
    if kind == 2:
        return data[:place] + rng.randbytes(rng.randrange(1, 9)) + data[place:]
    if kind == 3:
        return data[:place] + data[place + rng.randrange(1, 64) :]
    if kind == 4:
        end = place + rng.randrange(1, 4096)
        return data[:place] + bytes(len(data[place:end])) + data[end:]
    if kind == 5:
        return data[:place] + other[place:]
    middle = rng.randrange(len(data))
    low, high = sorted((place, middle))
    return data[high:] + data[low:high] + data[:low]


@pytest.mark.slow
def test_ten_thousand_damaged_archives_are_refused(
    network: Network, contents: list[tuple[str, bytes]], target: Path, tmp_path: Path
) -> None:
    rng = random.Random(7)
    whole = archive_of(contents)
    other = make_package(network, tmp_path / "other.pkg", (3,)).read_bytes()
    # Most bytes are the library's, most checks are of the rest: damage both alike.
    text = len(contents[0][1]) + 64
    before = set(tmp_path.iterdir()) | {target}
    tried = 0
    while tried < MUTATIONS:
        if tried % 2:
            damaged = mutate(whole[:text], other[:text], rng) + whole[text:]
        else:
            damaged = mutate(whole, other, rng)
        if damaged == whole:
            continue
        target.write_bytes(damaged)
        refused(target)
        tried += 1
    assert set(tmp_path.iterdir()) == before


@pytest.mark.slow
def test_a_thousand_damaged_folders_are_refused(small: Path) -> None:
    rng = random.Random(8)
    names = sorted(entry.name for entry in small.iterdir())
    for n in range(1000):
        path = small / names[n % len(names)]
        whole = path.read_bytes()
        damaged = mutate(whole, rng.randbytes(len(whole)), rng)
        if damaged != whole:
            path.write_bytes(damaged)
            refused(small)
            path.write_bytes(whole)


@pytest.mark.parametrize("name", [FILE_NAME, "model.so", "labels.txt"])
def test_a_missing_file_is_named(name: str, small: Path) -> None:
    (small / name).unlink()
    refused(small, f"{name} is missing")


@pytest.mark.parametrize("name", [FILE_NAME, "model.so", "labels.txt"])
def test_links_are_not_followed(name: str, small: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    (small / name).rename(moved)
    (small / name).symlink_to(moved)
    refused(small, "links are not followed")


@pytest.mark.parametrize("name", [FILE_NAME, "model.so"])
def test_a_pipe_or_a_folder_in_place_of_a_file_is_refused_at_once(name: str, small: Path) -> None:
    (small / name).unlink()
    os.mkfifo(small / name)
    refused(small, "not a regular file")
    (small / name).unlink()
    (small / name).mkdir()
    refused(small, "not a regular file")


def test_libraries_swapped_between_packages_are_refused(network: Network, small: Path) -> None:
    shutil.copy(network.libraries[3], small / "model.so")
    refused(small)


def test_a_path_that_is_no_package_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "nothing", "cannot open")
    refused(tmp_path, "manifest.json is missing")
    (tmp_path / "empty").write_bytes(b"")
    refused(tmp_path / "empty", "cut short")
    (tmp_path / "text").write_bytes(b"hello" * 100)
    refused(tmp_path / "text", "not a package")
    refused(Path("/dev/null"), "neither a folder nor a file")


@pytest.mark.parametrize(
    "name",
    ["/tmp/evil.so", "../evil.so", "a/../../evil.so", "a/b", "..", "", "a\0b", "a\\b", "ü", "-"],
)
def test_names_that_lead_outside_are_refused(
    name: str, contents: list[tuple[str, bytes]], target: Path
) -> None:
    raw = name.encode()
    layout = lay_out([Entry("x" * len(raw), 1, zlib.crc32(b"y"))])
    whole = layout.headers[0] + b"y" + layout.tail
    target.write_bytes(whole.replace(b"x" * len(raw), raw) if raw else whole)
    refused(target, "holds a file called")


def zipped(contents: list[tuple[str, bytes]], **options: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as archive:
        for name, data in contents:
            archive.writestr(name, data)
    return file.getvalue()


def symlinked(contents: list[tuple[str, bytes]]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in contents:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (0o120777 if name == "model.so" else 0o100644) << 16
            archive.writestr(entry, b"/etc/passwd" if name == "model.so" else data)
    return file.getvalue()


ZIP_TRICKS: dict[str, Callable[[list[tuple[str, bytes]]], bytes]] = {
    "compressed": lambda c: zipped(c, compression=zipfile.ZIP_DEFLATED),
    "a bomb": lambda c: zipped([*c, ("x", bytes(1 << 26))], compression=zipfile.ZIP_BZIP2),
    "repacked": zipped,
    "a symlink": symlinked,
    "a file twice": lambda c: archive_of([*c, c[1]]),
    "another manifest": lambda c: archive_of([*c, c[0]]),
    "a file that no manifest names": lambda c: archive_of([*c, ("extra.so", c[1][1])]),
    "no manifest": lambda c: archive_of(c[1:]),
    "no library": lambda c: archive_of([c[0], c[2]]),
    "no files": lambda c: archive_of([]),
    "too many files": lambda c: archive_of([(f"f{n}", b"") for n in range(65)]),
    "something before it": lambda c: b"#!/bin/sh\n" + archive_of(c),
    "a comment": lambda c: archive_of(c)[:-2] + b"\4\0evil",
    "a directory of 4 GiB": lambda c: archive_of(c)[:-10] + struct.pack("<2IH", 2**32 - 1, 0, 0),
    "files swapped": lambda c: archive_of([c[0], (c[1][0], c[2][1]), (c[2][0], c[1][1])]),
}


@pytest.mark.parametrize("trick", ZIP_TRICKS)
def test_zip_tricks_are_refused(
    trick: str, contents: list[tuple[str, bytes]], target: Path
) -> None:
    target.write_bytes(ZIP_TRICKS[trick](contents))
    refused(target)


def test_the_files_in_another_order_are_still_a_package(
    contents: list[tuple[str, bytes]], target: Path
) -> None:
    target.write_bytes(archive_of(contents[::-1]))
    with pytest.raises(AssertionError, match="would have been loaded"):
        Model.load(target)


def rewritten(small: Path, library: bytes, **changes: object) -> Path:
    """The package with another library and a manifest that fits it: for a forger, no signature."""
    manifest = parse_manifest((small / FILE_NAME).read_bytes())
    entry = dataclasses.replace(
        manifest.libraries[0],
        sha256=hashlib.sha256(library).hexdigest(),
        size_bytes=len(library),
    )
    forged = dataclasses.replace(manifest, libraries=(entry,), **changes)  # type: ignore[arg-type]
    (small / FILE_NAME).write_text(forged.to_text())
    (small / "model.so").write_bytes(library)
    return small


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda so: b"#!/bin/sh" + so[9:], "not an ELF library"),
        (lambda so: so[:20], "not an ELF library"),
        (lambda so: so[:1000], "is cut short"),
        (lambda so: so[:18] + struct.pack("<H", 183) + so[20:], "aarch64 library in a package for"),
        (lambda so: so[:18] + struct.pack("<H", 8) + so[20:], "unknown machine (ELF 8)"),
        (lambda so: so[:4] + b"\1" + so[5:], "built for an unknown machine"),
        (lambda so: so[:5] + b"\2" + so[6:], "little-endian"),
        (lambda so: so[:16] + struct.pack("<H", 2) + so[18:], "not a shared library"),
    ],
)
def test_an_elf_file_of_another_kind_is_refused(
    change: Callable[[bytes], bytes], words: str, small: Path
) -> None:
    refused(rewritten(small, change((small / "model.so").read_bytes())), words)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cpu_features": ("avx2", "avx1024")}, "needs a CPU with avx1024"),
        ({"glibc": "3.99"}, "needs glibc 3.99 or later"),
        ({"tvm_version": "0.18.0"}, "compiled by TVM 0.18.0 and the runtime here is 0.19.0"),
        ({"arch": "aarch64"}, "x86-64 library in a package for aarch64"),
    ],
)
def test_a_package_for_another_machine_is_refused(
    changes: dict[str, object], words: str, small: Path
) -> None:
    refused(rewritten(small, (small / "model.so").read_bytes(), **changes), words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LABELS + b"one more\n", "has 8 lines for 7 classes"),
        (b"", "has 1 lines for 7 classes"),
        (LABELS.replace(b"1", b"\xff"), "not UTF-8"),
        (LABELS.replace(b"1", b"\x1b"), "cannot be printed"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    text: bytes, words: str, small: Path, network: Network
) -> None:
    labels = describe_labels("labels.txt", text)
    (small / FILE_NAME).write_text(manifest_for(network, labels=labels).to_text())
    (small / "labels.txt").write_bytes(text)
    refused(small, words)


def test_a_huge_manifest_is_not_read(small: Path) -> None:
    with (small / FILE_NAME).open("r+b") as file:
        file.truncate(1 << 40)
    refused(small, "is larger than")


def test_a_manifest_with_a_key_twice_is_refused(small: Path) -> None:
    text = json.dumps(json.loads((small / FILE_NAME).read_text()))
    (small / FILE_NAME).write_text(text.replace('"threads"', '"board": "x", "threads"'))
    refused(small, "given twice")
