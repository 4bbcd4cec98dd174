"""Renames that never lose what was there: refuse to replace, or exchange in one step."""

from __future__ import annotations

import ctypes
import errno
import os
from functools import cache
from pathlib import Path
from typing import Any

from tvm_shufflenet.errors import PackageError

_AT_FDCWD = -100
_NOREPLACE, _EXCHANGE = 1, 2  # linux/fs.h
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)


@cache
def _renameat2() -> Any | None:
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is not None:
        number, text = ctypes.c_int, ctypes.c_char_p
        function.argtypes = [number, text, number, text, ctypes.c_uint]
    return function


def _rename(source: Path, destination: Path, flags: int) -> int:
    """Return 0 or the error number."""
    function = _renameat2()
    if function is None:
        return errno.ENOSYS
    names = os.fsencode(source), os.fsencode(destination)
    failed = function(_AT_FDCWD, names[0], _AT_FDCWD, names[1], flags)
    return ctypes.get_errno() if failed else 0


def place_new(source: Path, destination: Path) -> bool:
    """Rename `source` to `destination`; False if something is there already.

    Raises:
        OSError: if the rename fails for another reason.
    """
    error = _rename(source, destination, _NOREPLACE)
    if error == errno.EEXIST:
        return False
    if error in _UNSUPPORTED:
        # Old systems: between the look and the rename somebody else could be replaced.
        if os.path.lexists(destination):
            return False
        source.rename(destination)
    elif error:
        raise OSError(error, os.strerror(error), str(destination))
    return True


def exchange(source: Path, destination: Path) -> None:
    """Swap two paths in one step, so that `destination` is at no time missing or mixed.

    Raises:
        PackageError: if the file system cannot do that.
        OSError: if it fails for another reason.
    """
    error = _rename(source, destination, _EXCHANGE)
    if error in _UNSUPPORTED:
        raise PackageError(
            f"the file system cannot replace {destination} in one step; "
            "remove it first, or write a .pkg file"
        )
    if error:
        raise OSError(error, os.strerror(error), str(destination))
