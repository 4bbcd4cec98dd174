from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tvm_shufflenet.boards import Board, Measure, load_board
from tvm_shufflenet.tuning.embedded import Embedded

from .stations import Bench


@pytest.fixture(scope="session", autouse=True)
def _workers_find_the_fixtures() -> Iterator[None]:
    tests = str(Path(__file__).parents[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", tests, prepend=os.pathsep)
        yield


@pytest.fixture(scope="session")
def board() -> Board:
    """This machine, measured only as long as a test can wait."""
    local = load_board("local")
    quick = Measure(number=1, repeat=2, min_repeat_ms=2, cooldown_s=0.0)
    return replace(local, measure=quick, rpc=replace(local.rpc, session_timeout_s=50))


@pytest.fixture(scope="module")
def warm_bench(board: Board, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Embedded("fixture", init="tuning.fixture_server:install") as services:
        bench = Bench(board, services, tmp_path_factory.mktemp("station"))
        yield bench
        bench.station.close()


@pytest.fixture
def bench(warm_bench: Bench) -> Bench:
    """A station with a server that knows how to misbehave, whole again for every test."""
    warm_bench.services.revive()
    warm_bench.station.revive = warm_bench.services.revive
    warm_bench.station.patience_s = 60.0
    warm_bench.station.strikes.clear()
    warm_bench.events.clear()
    return warm_bench
