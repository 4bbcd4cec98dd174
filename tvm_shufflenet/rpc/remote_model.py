"""A package that runs on a board, over RPC; its pictures are prepared here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tvm_shufflenet.boards import Board
from tvm_shufflenet.errors import BoardUnreachable, InputError, ToolchainError
from tvm_shufflenet.manifest import Manifest
from tvm_shufflenet.rpc import session as rpc
from tvm_shufflenet.runtime.checked import CheckedPackage, check_package
from tvm_shufflenet.runtime.cpu import check_runs_on
from tvm_shufflenet.runtime.library import load_runtime
from tvm_shufflenet.runtime.likeliest import likeliest
from tvm_shufflenet.runtime.preprocess import Frame, Preprocessor

_SESSIONS = 10  # times the board's limit for one measurement: loading and some pictures


class RemoteModel:
    """A package's library in a session on a board. Get one from `RemoteModel.load`."""

    def __init__(self, checked: CheckedPackage, executor: Any, threads: int, board: str) -> None:
        """For `RemoteModel.load` only."""
        self.manifest: Manifest = checked.manifest
        self.threads = threads
        self._labels = checked.labels
        self._executor = executor
        self._board = board
        self._preprocessor = Preprocessor(checked.manifest.input)

    @classmethod
    def load(
        cls,
        path: Path,
        board: Board,
        link: rpc.Link,
        *,
        threads: int | None = None,
        trust: Path | None = None,
    ) -> RemoteModel:
        """Check the package here, and against what the board says of itself; then load it there.

        Raises:
            PackageError: if the package is damaged, altered, or not for that board.
            InputError: if it is not compiled for single images.
            BoardUnreachable: if there is no such board, or it cannot load the library.
            ToolchainError: if the board's server is not ours, or runs another TVM.
        """
        checked = check_package(path, trust)
        try:
            manifest = checked.manifest
            sizes = [library.batch for library in manifest.libraries]
            if 1 not in sizes:
                raise InputError(f"{path} takes batches of {sizes[0]}; compile it for one image")
            load_runtime()
            rpc.wait_for(link, board.rpc.connect_timeout_s)
            session = rpc.connect(link, timeout_s=_SESSIONS * board.rpc.session_timeout_s)
            described = rpc.describe(session)
            if not described:
                raise ToolchainError(
                    f"the server of {board.name} does not say what machine it runs on; start "
                    "'python -m tvm_shufflenet.rpc.server' there"
                )
            rpc.check_version(described, link)
            machine = (described["arch"], described["features"], described["glibc"])
            check_runs_on(manifest, *machine, f"board {board.name}")
            count = manifest.threads if threads is None else threads
            rpc.set_threads(session, count, manifest.core_mask)
            with checked.copies[sizes.index(1)].data() as library:
                executor = _load(session, bytearray(library), board.name)
            return cls(checked, executor, count, board.name)
        finally:
            checked.close()

    def top(self, image: Frame, k: int = 5) -> list[tuple[str | int, float]]:
        """Return the `k` likeliest classes of a uint8 (h, w, 3) picture; see `Model.top`.

        Raises:
            BoardUnreachable: if the board is lost meanwhile.
            InputError: if `k` is less than 1.
        """
        import tvm

        tensor = np.empty((1, *self.manifest.input.shape[1:]), np.float32)
        self._preprocessor.fill(tensor, [image])
        try:
            self._executor.set_input(self.manifest.input.name, tensor)
            self._executor.run()
            logits = self._executor.get_output(0).numpy()
        except tvm.error.TVMError as error:
            raise _failed(self._board, error) from error
        return likeliest(logits, self._labels, k)


def _load(session: Any, library: bytearray, board: str) -> Any:
    import tvm

    try:
        return rpc.open_graph(session, library, "model.so")
    except tvm.error.TVMError as error:
        raise _failed(board, error) from error


def _failed(board: str, error: Exception) -> BoardUnreachable:
    last = (str(error).strip().splitlines() or ["the session was lost"])[-1]
    return BoardUnreachable(f"{board} failed: {last[:200]}; see 'tvm-shufflenet boards --check'")
