"""Packages on a real board, over RPC: the same race, timed by the board's own clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from tvm_shufflenet.benchmark.export import Export
from tvm_shufflenet.benchmark.interleave import Burst, ContestantFailed
from tvm_shufflenet.benchmark.measure import Checkable, Entry, Opener
from tvm_shufflenet.benchmark.verify import Difference, compare, worst
from tvm_shufflenet.boards import Board
from tvm_shufflenet.compiler import load_tvm
from tvm_shufflenet.rpc import session as rpc

_Answer = TypeVar("_Answer")


class RemotePackage:
    """A package's library, loaded in a session on the board.

    One session holds all of them, and they run only when called, so there is nothing to stop
    between turns; a pause lets the board cool down.
    """

    def __init__(self, executor: Any, device: Any, export: Export, cooldown_s: float) -> None:
        self._executor, self._device = executor, device
        self._export, self._cooldown_s = export, cooldown_s

    def resume(self) -> None:
        """Nothing was stopped."""

    def pause(self) -> None:
        """Let the board cool down."""
        time.sleep(self._cooldown_s)

    def run(self, warmup: int, number: int) -> Burst:
        """Time inferences one by one on the board, without the network in between.

        Raises:
            ContestantFailed: if the board fails.
        """

        def timed(count: int) -> tuple[float, ...]:
            if not count:
                return ()
            evaluator = self._executor.module.time_evaluator(
                "run", self._device, number=1, repeat=count
            )
            return tuple(float(seconds) for seconds in evaluator().results)

        return _remotely(lambda: Burst(timed(warmup), timed(number)))

    def check(self) -> Difference:
        """Compare the board's outputs with PyTorch's.

        Raises:
            ContestantFailed: if the board fails.
        """
        pairs = zip(self._export.inputs(), self._export.expected(), strict=True)
        return _remotely(lambda: worst([compare(self._output(x), y) for x, y in pairs]))

    def _output(self, image: Any) -> Any:
        self._executor.set_input("input", image)
        self._executor.run()
        return self._executor.get_output(0).numpy()


def _remotely(action: Callable[[], _Answer]) -> _Answer:
    import tvm

    try:
        return action()
    except tvm.error.TVMError as error:
        last = (str(error).strip().splitlines() or ["the session was lost"])[-1]
        raise ContestantFailed(f"the board failed: {last[:200]}") from error


@contextmanager
def on_board(board: Board, link: rpc.Link, threads: int) -> Iterator[tuple[Opener, dict[str, Any]]]:
    """Hold a session on `board`; gives an opener for `measure` and what the board says of itself.

    Raises:
        BoardUnreachable: if no session can be had.
        ToolchainError: if the board runs another TVM.
    """
    load_tvm()
    rpc.wait_for(link, board.rpc.connect_timeout_s)
    # The whole race happens in one session, so its limit is that of many measurements.
    session = rpc.connect(link, timeout_s=100 * board.rpc.session_timeout_s)
    described = rpc.describe(session)
    rpc.check_version(described, link)
    rpc.set_threads(session, threads, board.run.core_mask)
    uploads = iter(range(1000))

    def open_package(entry: Entry, stack: ExitStack) -> Checkable:
        import tvm

        assert entry.package is not None, "only packages of ours run on boards"
        name = f"bench-{next(uploads)}.so"
        try:
            executor = rpc.open_graph(session, str(entry.package / "model.so"), name)
        except tvm.error.TVMError as error:
            last = str(error).strip().splitlines()[-1][:200]
            raise ContestantFailed(f"{board.name} cannot load the library: {last}") from error
        return RemotePackage(executor, session.cpu(0), entry.export, board.measure.cooldown_s)

    yield open_package, described
