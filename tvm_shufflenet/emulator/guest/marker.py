"""Marks the region that the QEMU plugin counts; see ``count_blocks.c``.

Harmless elsewhere: the kernel does not know the syscall and says so.
"""

from __future__ import annotations

import ctypes

_MARK, _KEY = 0x5351, 0x7BC0DE
_START, _STOP_WITH_BLOCKS, _STOP_WITH_TOTALS = 1, 2, 3

_syscall = ctypes.CDLL(None).syscall
_syscall.argtypes = [ctypes.c_long] * 4
_syscall.restype = ctypes.c_long


def start() -> None:
    """Set all counters to zero."""
    _syscall(_MARK, _KEY, _START, 0)


def stop(tag: int) -> None:
    """Write every executed block to the file with `tag` in its name."""
    _syscall(_MARK, _KEY, _STOP_WITH_BLOCKS, tag)


def stop_with_totals(tag: int) -> None:
    """Write only the sums to the file with `tag` in its name."""
    _syscall(_MARK, _KEY, _STOP_WITH_TOTALS, tag)
