"""Nothing grows: neither by loading and closing, nor by running."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import numpy as np
import pytest

from tvm_shufflenet.runtime import Model

from .packages import SIDE, Network

ALLOWED_BYTES = 3 << 20  # of growth; one leaked library, pool or executor a turn is far more


def resident_bytes() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def mapped_libraries() -> int:
    return Path("/proc/self/maps").read_text().count("memfd:model.so")


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.filterwarnings("ignore:threads=")
def test_loading_running_and_closing_keeps_memory_flat(threads: int, package: Path) -> None:
    frame = np.zeros((SIDE, SIDE, 3), np.uint8)

    def turns(count: int) -> None:
        for _ in range(count):
            with Model.load(package, threads=threads) as model:
                model(frame)

    turns(30)  # allocators and caches settle
    before, mapped = resident_bytes(), mapped_libraries()
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    turns(150)
    assert resident_bytes() - before < ALLOWED_BYTES
    assert mapped_libraries() == mapped
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


@pytest.mark.slow
def test_ten_thousand_inferences_from_four_threads_are_right_and_leave_memory_flat(
    package: Path, network: Network
) -> None:
    rng = np.random.default_rng(1)
    tensors = [rng.standard_normal((1, 3, SIDE, SIDE)).astype(np.float32) for _ in range(4)]
    expected = [network.logits(tensor) for tensor in tensors]
    wrong: list[int] = []

    def work(model: Model, mine: int, count: int) -> None:
        for _ in range(count):
            if not np.allclose(model(tensors[mine]), expected[mine], rtol=1e-4, atol=1e-4):
                wrong.append(mine)

    def all_work(model: Model, count: int) -> None:
        workers = [threading.Thread(target=work, args=(model, n, count)) for n in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    with Model.load(package) as model:
        all_work(model, 200)
        before = resident_bytes()
        all_work(model, 2500)
        assert resident_bytes() - before < ALLOWED_BYTES
    assert wrong == []
