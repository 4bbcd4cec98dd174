"""Every check of a package that can be made before native code is mapped."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from tvm_shufflenet.errors import PackageError
from tvm_shufflenet.manifest import (
    FILE_NAME,
    MAX_BYTES,
    SIGNATURE_NAME,
    Labels,
    Manifest,
    parse_manifest,
)
from tvm_shufflenet.runtime import signature as signatures
from tvm_shufflenet.runtime.private import PrivateCopy, verified_copy
from tvm_shufflenet.runtime.source import Source

_LABELS_MAX_BYTES = 1 << 22


@dataclass(frozen=True)
class CheckedPackage:
    """A package whose files are what its manifest says; `close` it once it is loaded."""

    path: Path
    manifest: Manifest
    labels: tuple[str, ...] | None
    copies: tuple[PrivateCopy, ...]  # one a library, in the manifest's order
    signed: bool  # carries a signature; only with `trust` was it checked

    def close(self) -> None:
        """Release the private copies; libraries mapped from them stay mapped."""
        for copy in self.copies:
            copy.close()


def check_package(path: Path, trust: str | Path | bytes | None = None) -> CheckedPackage:
    """Read and check the package at `path`, copying its libraries where nobody can alter them.

    Raises:
        PackageError: saying what is wrong with it.
        ToolchainError: if `trust` is given and `cryptography` is not installed.
    """
    copies: list[PrivateCopy] = []
    try:
        with Source(path) as source:
            manifest, signed = _read_manifest(source, trust)
            labels = _read_labels(source, manifest)
            for library in manifest.libraries:
                with source.open_span(library.file) as span:
                    copies.append(verified_copy(span, library, manifest.arch))
    except OSError as error:
        _close(copies)
        raise PackageError(f"cannot read the package {path}: {error.strerror}") from error
    except BaseException:
        _close(copies)
        raise
    return CheckedPackage(path, manifest, labels, tuple(copies), signed)


def read_manifest(path: Path, trust: str | Path | bytes | None = None) -> Manifest:
    """Return the manifest of the package at `path` without looking at its libraries.

    Raises:
        PackageError: if it cannot be read, or `trust` is given and did not sign it.
        ToolchainError: if `trust` is given and `cryptography` is not installed.
    """
    with Source(path) as source:
        return _read_manifest(source, trust)[0]


def _close(copies: list[PrivateCopy]) -> None:
    for copy in copies:
        copy.close()


def _read_manifest(source: Source, trust: str | Path | bytes | None) -> tuple[Manifest, bool]:
    text = source.read(FILE_NAME, MAX_BYTES)
    signature = None
    if source.has(SIGNATURE_NAME):
        signature = source.read(SIGNATURE_NAME, signatures.SIGNATURE_BYTES)
        if len(signature) != signatures.SIGNATURE_BYTES:
            raise PackageError(f"{source.path}: {SIGNATURE_NAME} is cut short; copy it again")
    if trust is not None:
        # Before parsing: what nobody trusted signed is not worth reading.
        signatures.verify(text, signature, trust, str(source.path))
    manifest = parse_manifest(text, f"{source.path}: {FILE_NAME}")
    _check_names(source, manifest)
    return manifest, signature is not None


def _check_names(source: Source, manifest: Manifest) -> None:
    expected = {FILE_NAME, SIGNATURE_NAME, *(library.file for library in manifest.libraries)}
    if manifest.labels is not None:
        expected.add(manifest.labels.file)
    foreign = sorted((source.names() or set()) - expected)
    if foreign:
        raise PackageError(f"{source.path} holds {foreign[0]}, which its manifest does not name")


def _read_labels(source: Source, manifest: Manifest) -> tuple[str, ...] | None:
    if manifest.labels is None:
        return None
    where = f"{source.path}: {manifest.labels.file}"
    return parse_labels(
        source.read(manifest.labels.file, _LABELS_MAX_BYTES),
        manifest.labels,
        manifest.output.shape[1],
        where,
    )


def parse_labels(text: bytes, labels: Labels, classes: int, where: str) -> tuple[str, ...]:
    """Return the class names, one a line.

    Raises:
        PackageError: if the file was altered or does not name every class in printable UTF-8.
    """
    if hashlib.sha256(text).hexdigest() != labels.sha256:
        raise PackageError(f"{where} was altered; copy or make the package again")
    try:
        names = tuple(text.decode("utf-8").removesuffix("\n").split("\n"))
    except UnicodeDecodeError:
        raise PackageError(f"{where} is not UTF-8 text; give one class name a line") from None
    if len(names) != classes:
        raise PackageError(f"{where} has {len(names)} lines for {classes} classes")
    if not all(name.isprintable() for name in names):
        raise PackageError(f"{where} has characters that cannot be printed")
    return names
