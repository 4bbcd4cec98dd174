"""Write packages whole or not at all, as a folder or as one ``.pkg`` file."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tvm_shufflenet.errors import PackageError
from tvm_shufflenet.manifest import (
    FILE_NAME,
    LIBRARY_NAME,
    SIGNATURE_NAME,
    Labels,
    Library,
    Manifest,
    parse_manifest,
)
from tvm_shufflenet.package.rename import exchange, place_new
from tvm_shufflenet.package.signing import sign_manifest
from tvm_shufflenet.runtime import elf
from tvm_shufflenet.runtime.archive import Entry, lay_out
from tvm_shufflenet.runtime.checked import parse_labels

ARCHIVE_SUFFIX = ".pkg"

Content = bytes | Path


def library_name(batch: int, *, first: bool) -> str:
    """Return the library's file name: ``model.so`` for the first, else with its batch size."""
    return LIBRARY_NAME if first else f"model.b{batch}.so"


def describe_library(file: str, batch: int, content: Content) -> Library:
    """Return the manifest's entry for a library."""
    data = _bytes(content)
    digest = hashlib.sha256(data).hexdigest()
    return Library(batch=batch, file=file, sha256=digest, size_bytes=len(data))


def describe_labels(file: str, content: Content) -> Labels:
    """Return the manifest's entry for a labels file."""
    return Labels(file=file, sha256=hashlib.sha256(_bytes(content)).hexdigest())


def check_destination(destination: Path, *, overwrite: bool = False) -> None:
    """Fail before any work is done if the package could not be written.

    Raises:
        PackageError: if something is there already, or there is no folder to write into.
    """
    if not destination.name:
        raise PackageError(f"{destination} is not a place for a package; give a name")
    if os.path.lexists(destination) and not (overwrite and _replaceable(destination)):
        what = "is not a package, so it is not replaced" if overwrite else "exists"
        raise PackageError(f"{destination} {what}; remove it, or choose another name")
    if not destination.absolute().parent.is_dir():
        raise PackageError(f"there is no folder {destination.absolute().parent} to write into")


def _replaceable(destination: Path) -> bool:
    """Whether it looks like a package or is empty: replacing anything else loses someone's work."""
    if destination.is_dir() and not destination.is_symlink():
        names = {entry.name for entry in destination.iterdir()}
        others = names - {FILE_NAME, SIGNATURE_NAME}
        ours = all(name.endswith((".so", ".txt")) for name in others)
        return not names or (FILE_NAME in names and ours)
    return destination.name.endswith(ARCHIVE_SUFFIX)


def write_package(
    destination: Path,
    files: Mapping[str, Content],
    manifest: Manifest,
    *,
    overwrite: bool = False,
    key: Path | None = None,
) -> Path:
    """Write a package and return `destination`; one file if its name ends in ``.pkg``.

    Args:
        destination: where; with `overwrite` what is there is replaced in one step.
        files: the libraries and labels that `manifest` names, each its bytes or a path to them.
        manifest: what the package says of itself.
        overwrite: whether something that exists may be replaced.
        key: an Ed25519 private key's PEM file to sign with.

    Raises:
        PackageError: if `files` are not what `manifest` says, or it cannot be written.
        ToolchainError: if `key` is given and `cryptography` is not installed.
    """
    check_destination(destination, overwrite=overwrite)
    contents = _checked(files, manifest, key)
    destination = destination.absolute()
    try:
        with _beside(destination) as temporary:
            if destination.name.endswith(ARCHIVE_SUFFIX):
                _write_archive(temporary, contents)
            else:
                _write_folder(temporary, contents)
            _place(temporary, destination, overwrite)
            _sync(destination.parent)
    except OSError as error:
        raise PackageError(f"cannot write {destination}: {error.strerror or error}") from error
    return destination


def _checked(
    files: Mapping[str, Content], manifest: Manifest, key: Path | None
) -> dict[str, bytes]:
    """Return all contents in their order, after making sure that the package will load."""
    text = manifest.to_text().encode()
    parse_manifest(text)
    contents = {FILE_NAME: text}
    if key is not None:
        contents[SIGNATURE_NAME] = sign_manifest(text, key)
    named = [library.file for library in manifest.libraries]
    named += [manifest.labels.file] if manifest.labels else []
    if set(named) != set(files):
        raise PackageError(f"the manifest names {sorted(named)} and the files are {sorted(files)}")
    try:
        contents |= {name: _bytes(files[name]) for name in named}
    except OSError as error:
        raise PackageError(f"cannot read {error.filename}: {error.strerror}") from error
    for library in manifest.libraries:
        data = contents[library.file]
        if describe_library(library.file, library.batch, data) != library:
            raise PackageError(f"{library.file} is not the library that the manifest describes")
        if elf.architecture(data, library.file) != manifest.arch:
            raise PackageError(
                f"{library.file} is not built for {manifest.arch}; check the board's linker"
            )
    if manifest.labels is not None:
        file = manifest.labels.file
        parse_labels(contents[file], manifest.labels, manifest.output.shape[1], file)
    return contents


def _bytes(content: Content) -> bytes:
    return content if isinstance(content, bytes) else content.read_bytes()


def _write_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    folder.mkdir()
    for name, data in contents.items():
        with (folder / name).open("xb") as file:
            _write_synced(file.fileno(), [data])
    _sync(folder)


def _write_archive(path: Path, contents: Mapping[str, bytes]) -> None:
    layout = lay_out([Entry(name, len(data), zlib.crc32(data)) for name, data in contents.items()])
    parts = []
    for header, data in zip(layout.headers, contents.values(), strict=True):
        parts += [header, data]
    with path.open("xb") as file:
        _write_synced(file.fileno(), [*parts, layout.tail])


def _write_synced(descriptor: int, parts: list[bytes]) -> None:
    for part in parts:
        left = memoryview(part)
        while left:
            left = left[os.write(descriptor, left) :]
    os.fsync(descriptor)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _place(temporary: Path, destination: Path, overwrite: bool) -> None:
    if place_new(temporary, destination):
        return
    if not overwrite:
        raise PackageError(f"{destination} appeared meanwhile; remove it or choose another name")
    exchange(temporary, destination)  # what was there goes with the temporary name


@contextmanager
def _beside(destination: Path) -> Iterator[Path]:
    """Give a path in a locked working folder beside `destination`; gone afterwards.

    A writer that was killed leaves its working folder; the next one for this destination removes
    it. The lock, which ends with its process, tells the dead from the living.
    """
    prefix, suffix = f".{destination.name}.", ".writing"
    for other in destination.parent.glob(f"{_literal(prefix)}*{suffix}"):
        descriptor = _lock(other)
        if descriptor is not None:
            shutil.rmtree(other, ignore_errors=True)
            os.close(descriptor)
    descriptor = None
    while descriptor is None:  # another writer may clean a folder up before it is locked
        folder = destination.parent / f"{prefix}{secrets.token_hex(6)}{suffix}"
        folder.mkdir(mode=0o700)
        descriptor = _lock(folder)
    try:
        yield folder / "new"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _literal(text: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in text)


def _lock(folder: Path) -> int | None:
    """Return a descriptor that holds the folder's lock, or None if it is locked or gone."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if folder.samefile(f"/proc/self/fd/{descriptor}"):
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None
