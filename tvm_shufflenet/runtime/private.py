"""A private copy of a library that nobody can change between the check and the load."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import mmap
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from tvm_shufflenet.errors import PackageError
from tvm_shufflenet.manifest import Library
from tvm_shufflenet.runtime import elf
from tvm_shufflenet.runtime.source import Span

_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_serial = itertools.count(1)


class PrivateCopy:
    """The verified bytes of one library, in sealed memory or else in a folder only we can open.

    `path` is what to hand to the dynamic loader, while this is open.
    """

    def __init__(self, span: Span) -> None:
        self._folder: Path | None = None
        serial = next(_serial)
        if hasattr(os, "memfd_create"):
            self._descriptor = os.memfd_create("model.so", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            # The loader takes equal names for the same library, and descriptors are reused:
            # the serial number, spelled in "/" and "/.", makes each name different.
            spelled = "".join("/." if bit == "1" else "/" for bit in f"{serial:b}")
            self.path = f"/proc/self/fd{spelled}/{self._descriptor}"
        else:
            self._folder = Path(tempfile.mkdtemp(prefix="tvm-shufflenet-"))  # mode 0700
            self.path = str(self._folder / f"model-{serial}.so")
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o500)
        try:
            self._fill(span)
        except BaseException:
            self.close()
            raise

    def _fill(self, span: Span) -> None:
        copied = 0
        while copied < span.size_bytes:
            left = span.size_bytes - copied
            count = os.sendfile(self._descriptor, span.descriptor, span.offset + copied, left)
            if count == 0:
                raise PackageError(f"{span.where} changed while it was read; load it again")
            copied += count
        if self._folder is None:
            fcntl.fcntl(self._descriptor, fcntl.F_ADD_SEALS, _SEALS)

    @contextlib.contextmanager
    def data(self) -> Iterator[memoryview]:
        """Give the copy's bytes to read, mapped as data and not as code."""
        with (
            mmap.mmap(self._descriptor, 0, prot=mmap.PROT_READ) as mapped,
            memoryview(mapped) as view,
        ):
            yield view

    def verify(self, library: Library, arch: str, span: Span) -> None:
        """Check the copy against the manifest: SHA-256, archive checksum, ELF header.

        Raises:
            PackageError: saying what differs.
        """
        with self.data() as data:
            damaged = span.crc32 is not None and zlib.crc32(data) != span.crc32
            if damaged or hashlib.sha256(data).hexdigest() != library.sha256:
                raise PackageError(
                    f"{span.where} was altered: its SHA-256 is not the manifest's; "
                    "copy or make the package again"
                )
            found = elf.architecture(data, span.where)
            if found != arch:
                raise PackageError(
                    f"{span.where} is an {found} library in a package for {arch}; "
                    "compile the package again"
                )

    def close(self) -> None:
        """Release the copy; a library that is mapped from it stays mapped."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        if self._folder is not None:
            with contextlib.suppress(OSError):
                shutil.rmtree(self._folder)
            self._folder = None


def verified_copy(span: Span, library: Library, arch: str) -> PrivateCopy:
    """Copy a library away from everyone else's reach and check the copy.

    Raises:
        PackageError: if it is not what the manifest says.
    """
    if span.size_bytes != library.size_bytes:
        raise PackageError(
            f"{span.where} has {span.size_bytes} bytes and the manifest says "
            f"{library.size_bytes}; copy or make the package again"
        )
    copy = PrivateCopy(span)
    try:
        copy.verify(library, arch, span)
    except BaseException:
        copy.close()
        raise
    return copy
