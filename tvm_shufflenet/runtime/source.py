"""A package's files, from a folder or from one ``.pkg`` file, without trusting either."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tvm_shufflenet.errors import PackageError
from tvm_shufflenet.runtime.archive import Entry, read_directory

# Never follows a link out of the package, never waits for a pipe that poses as a file.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Span:
    """A file's bytes: a part of an open file."""

    descriptor: int  # valid inside the `open_span` that gave it
    offset: int
    size_bytes: int
    where: str  # for messages
    crc32: int | None = None  # what an archive's header claims

    def read(self) -> bytes:
        """Return all bytes; for small files.

        Raises:
            PackageError: if there are fewer than the file had when it was opened.
        """
        data = os.pread(self.descriptor, self.size_bytes, self.offset)
        if len(data) != self.size_bytes:
            raise PackageError(f"{self.where} changed while it was read; load it again")
        if self.crc32 is not None and zlib.crc32(data) != self.crc32:
            raise PackageError(f"{self.where} is damaged (CRC); copy or make the package again")
        return data


class Source:
    """The files of the package at `path`; a context manager.

    Raises:
        PackageError: if there is no package, or its archive is not exactly as we write them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries: dict[str, tuple[int, Entry]] | None = None
        try:
            self._descriptor = os.open(path, _FLAGS)
        except OSError as error:
            raise PackageError(f"cannot open the package {path}: {error.strerror}") from None
        try:
            mode = os.fstat(self._descriptor).st_mode
            if stat.S_ISREG(mode):
                self._entries = read_directory(self._descriptor, str(path))
            elif not stat.S_ISDIR(mode):
                raise PackageError(f"{path} is neither a folder nor a file")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what is open."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def names(self) -> frozenset[str] | None:
        """Return the names in an archive; None for a folder, which may hold other things."""
        return None if self._entries is None else frozenset(self._entries)

    def has(self, name: str) -> bool:
        """Say whether the package has a file of that name."""
        if self._entries is not None:
            return name in self._entries
        try:
            os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
        except OSError:
            return False
        return True

    @contextmanager
    def open_span(self, name: str) -> Iterator[Span]:
        """Open the file `name` of the package.

        Raises:
            PackageError: if it is missing, or is a link or a device.
        """
        where = f"{self.path}: {name}"
        if self._entries is not None:
            if name not in self._entries:
                raise PackageError(f"{where} is missing; copy or make the package again")
            offset, entry = self._entries[name]
            yield Span(self._descriptor, offset, entry.size_bytes, where, entry.crc32)
            return
        try:
            descriptor = os.open(name, _FLAGS | os.O_NOFOLLOW, dir_fd=self._descriptor)
        except OSError as error:
            reason = f"cannot be opened ({error.strerror}; links are not followed)"
            reason = "is missing" if isinstance(error, FileNotFoundError) else reason
            raise PackageError(f"{where} {reason}; copy or make the package again") from None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise PackageError(f"{where} is not a regular file; refused")
            yield Span(descriptor, 0, status.st_size, where)
        finally:
            os.close(descriptor)

    def read(self, name: str, limit_bytes: int) -> bytes:
        """Return a small file's bytes.

        Raises:
            PackageError: if it is missing, damaged or larger than `limit_bytes`.
        """
        with self.open_span(name) as span:
            if span.size_bytes > limit_bytes:
                raise PackageError(f"{span.where} is larger than {limit_bytes} bytes; refused")
            return span.read()
