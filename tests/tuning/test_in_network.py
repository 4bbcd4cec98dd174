"""Finalists inside the network: what is chosen there, what is not, and what cannot be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tvm_shufflenet.boards import Board
from tvm_shufflenet.cli.tune import network_of
from tvm_shufflenet.tuning import records, verdicts
from tvm_shufflenet.tuning.embedded import Embedded
from tvm_shufflenet.tuning.events import Event, Settling, Warned
from tvm_shufflenet.tuning.in_network import ratios
from tvm_shufflenet.tuning.kernel_times import KernelTimes
from tvm_shufflenet.tuning.merge import write_chosen
from tvm_shufflenet.tuning.options import TuneOptions
from tvm_shufflenet.tuning.records import Record
from tvm_shufflenet.tuning.tasks import Network, Task, extract
from tvm_shufflenet.tuning.tune import tune
from tvm_shufflenet.tuning.verdicts import VERIFIED, Verdict

from .stations import Bench

pytestmark = pytest.mark.slow

_NAME, _SIZE = "shufflenet_v1_g3_x0.25", (64, 64)


@pytest.fixture(scope="module")
def network(board: Board) -> Network:
    return replace(network_of(_NAME, "local", _SIZE), board=board)


@pytest.fixture(scope="module")
def product(network: Network) -> Task:
    """The pointwise convolution with the most work."""
    return next(task for task in extract(network, "autotvm") if task.title.startswith("pointwise"))


def _slowest(task: Task) -> Record:
    """Return a record that claims wonders for the smallest tile: one pixel, one vector."""
    space = task.handle.config_space
    valid = [space.get(n) for n in range(space.range_length) if space.is_index_valid(n)]
    worst = min(valid, key=lambda c: (c["tile_pixels"].val * c["tile_channels"].val, c.index))
    return task.candidate(worst).record((1e-9,), 0, all_cost_s=1.0, timestamp=1.0)


def test_a_record_that_is_slower_inside_the_network_than_the_default_is_not_chosen(
    network: Network, product: Task, tmp_path: Path
) -> None:
    log = tmp_path / "log.json"
    liar = _slowest(product)
    write_chosen(log, [liar], {liar.key: Verdict(key=liar.key, status=VERIFIED, error=1e-7)})
    chosen = verdicts.best(records.read(log), verdicts.load(log)).values()
    assert [record.key for record in chosen] == [liar.key]

    events: list[Event] = []
    options = TuneOptions(log=log, trials=1, tasks=(product.name,), resume=True, threads=1)
    result = tune(network, options, events.append)
    ratio = verdicts.load(log)[liar.key].in_network
    assert ratio is not None
    assert ratio > 1.0
    assert result.defaults == (product.name,)
    assert not result.untuned
    assert not verdicts.best(records.read(log), verdicts.load(log))
    assert any(isinstance(event, Settling) for event in events)


def test_a_record_answers_for_the_kernel_after_its_own() -> None:
    names = ("first", "tuned", "next", "tuned", "rival", "last")
    before = KernelTimes(names=names, seconds=(9.0, 4.0, 2.0, 4.0, 5.0, 1.0), spread=0.0)
    after = KernelTimes(names=names, seconds=(1.0, 3.0, 5.0, 3.0, 4.0, 1.0), spread=0.0)
    found = ratios(before, after, {"tuned": "a", "rival": "b"})
    assert found == pytest.approx({"a": 11 / 10, "b": 5 / 6})


def test_finalists_of_every_task_are_timed_inside_the_network(
    network: Network, tmp_path: Path
) -> None:
    log = tmp_path / "log.json"
    result = tune(network, TuneOptions(log=log, trials=16, tasks=("t00", "t01"), threads=1))
    assert result.before_s
    assert result.after_s
    assert not result.untuned
    known = verdicts.load(log)
    placed = {key for key, verdict in known.items() if verdict.in_network is not None}
    tuned = {r.workload for r in records.read(log).records if r.key in placed}
    assert len(tuned) == 2
    for record in verdicts.best(records.read(log), known).values():
        ratio = verdicts.in_network(record, known)
        assert ratio is not None
        assert ratio < 1.0


def test_a_network_of_other_kernels_is_not_compared_kernel_by_kernel(
    network: Network, tmp_path: Path
) -> None:
    kept = network_of(_NAME, "local", _SIZE, merge=False)
    assert network.build is not None
    assert kept.build is not None
    merged_build, kept_build = network.build, kept.build

    def build(log: Path | None, library: Path) -> Mapping[str, str]:
        return merged_build(log, library) if log is None else kept_build(log, library)

    events: list[Event] = []
    options = TuneOptions(log=tmp_path / "log.json", trials=4, tasks=("t00",), threads=1)
    result = tune(replace(network, build=build), options, events.append)
    assert any("consists of other kernels" in e.message for e in events if isinstance(e, Warned))
    assert not result.untuned  # chosen as measured alone
    assert not result.defaults


def test_kernels_are_timed_in_the_order_of_an_inference(
    network: Network, board: Board, tmp_path: Path
) -> None:
    assert network.build is not None
    library = tmp_path / "network.so"
    network.build(None, library)
    with Embedded("order") as services:
        bench = Bench(board, services, tmp_path)
        try:
            first, second = bench.station.calls.kernel_times(library, library)
        finally:
            bench.station.close()
    assert first.names == second.names
    assert "image_convolution" in first.names[0]
    assert "pointwise" in first.names[-1]
    assert all(seconds > 0 for seconds in first.seconds)
