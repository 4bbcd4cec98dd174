"""Where prepared things live, each made once: whole or not at all, by one process at a time."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tvm_shufflenet.errors import ToolchainError

FOLDER_VARIABLE = "TVM_SHUFFLENET_EMULATOR"  # environment: another folder than the user's cache


def cache_folder() -> Path:
    """Return the folder for everything that is prepared, about 600 MB with all runtimes."""
    override = os.environ.get(FOLDER_VARIABLE)
    if override:
        return Path(override).absolute()
    from platformdirs import user_cache_path

    return user_cache_path("tvm-shufflenet") / "emulator"


def digest(parts: Iterable[str | bytes]) -> str:
    """Return a short name for what is made of `parts`."""
    state = hashlib.sha256()
    for part in parts:
        state.update(part.encode() if isinstance(part, str) else part)
        state.update(b"\0")
    return state.hexdigest()[:12]


def prepared(name: str, make: Callable[[Path], None]) -> Path:
    """Return the folder `name` of the cache; the first caller has `make` fill it.

    Raises:
        ToolchainError: if the folder cannot be written, or `make` says so.
    """
    folder = cache_folder()
    target = folder / name
    if target.exists():
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder / f"{name}.lock"):
            if not target.exists():
                _make_whole(target, make)
    except OSError as error:
        full = error.errno == errno.ENOSPC
        remedy = f"free some space or set {FOLDER_VARIABLE} to another folder"
        what = "the disk is full" if full else error.strerror or str(error)
        raise ToolchainError(f"cannot prepare {target}: {what}; {remedy}") from error
    return target


def _make_whole(target: Path, make: Callable[[Path], None]) -> None:
    draft = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=target.parent))
    try:
        draft.chmod(0o755)
        make(draft)
        draft.rename(target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
