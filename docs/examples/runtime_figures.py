"""Measure what the runtime itself costs, on this machine and a package made for it.

python docs/examples/runtime_figures.py shufflenet.pkg
python docs/examples/runtime_figures.py shufflenet.pkg --turns 1000 --inferences 100000
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tvm_shufflenet.runtime import Model
from tvm_shufflenet.runtime.checked import check_package
from tvm_shufflenet.runtime.library import aligned_empty, load_runtime
from tvm_shufflenet.runtime.preprocess import Preprocessor


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def resident_mb() -> float:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


_START = """
import sys, time
start = time.perf_counter()
from tvm_shufflenet.runtime import Model
from tvm_shufflenet.runtime.library import load_runtime
load_runtime()
imported = time.perf_counter() - start
pages = lambda: int(open("/proc/self/statm").read().split()[1])
before = pages()
with Model.load(sys.argv[1], threads=1) as model:
    import numpy
    model(numpy.zeros(model.manifest.input.shape, numpy.float32))
    print(imported, before, pages())
"""


def starting(package: Path, repeat: int = 10) -> None:
    """Import of the runtime, TVM's library included, in a new process; memory before and after."""
    found = []
    for _ in range(repeat):
        command = [sys.executable, "-c", _START, str(package)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found.append([float(word) for word in said.split()])
    seconds, imported, run = (statistics.median(column) for column in zip(*found, strict=True))
    megabyte = 4096 / 1e6
    print(
        f"import: median {seconds * 1e3:.0f} ms of {repeat}, {imported * megabyte:.0f} MB "
        f"resident; {run * megabyte:.0f} MB after one inference"
    )


def loading(package: Path, repeat: int = 20) -> None:
    """Checks and load with TVM imported and the file in the page cache."""
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        model = Model.load(package, threads=1)
        seconds.append(time.perf_counter() - start)
        model.close()
    print(f"load: median {statistics.median(seconds) * 1e3:.1f} ms of {repeat}")


def overhead(package: Path, repeat: int = 300) -> None:
    """A call with a float32 tensor against the bare graph executor's run, in turns."""
    tvm = load_runtime()
    from tvm.contrib.graph_executor import GraphModule

    checked = check_package(package)
    with tempfile.NamedTemporaryFile(suffix=".so") as file, checked.copies[0].data() as data:
        file.write(data)
        file.flush()
        bare = GraphModule(tvm.runtime.load_module(file.name)["default"](tvm.cpu()))
    checked.close()
    with Model.load(package, threads=1) as model:
        tensor = aligned_empty(model.manifest.input.shape)
        tensor[...] = np.random.default_rng(0).uniform(-1, 1, tensor.shape)
        unaligned = np.frombuffer(b"1234" + tensor.tobytes(), np.float32, offset=4)
        unaligned = unaligned.reshape(tensor.shape)
        bare.set_input(model.manifest.input.name, tensor)
        run = bare.module["run"]
        kinds: dict[str, Callable[[], float]] = {
            # The bare executor runs where the model does: on a thread with one worker.
            "graph executor's run alone": lambda: model._runner.call(lambda: timed(run)),
            "call, aligned input": lambda: timed(lambda: model(tensor)),
            "call, input copied": lambda: timed(lambda: model(unaligned)),
        }
        seconds: dict[str, list[float]] = {name: [] for name in kinds}
        order = list(kinds)
        for _ in range(repeat):
            random.shuffle(order)  # or the first of a round would have the freshest time slice
            for name in order:
                seconds[name].append(kinds[name]())
    for name, values in seconds.items():
        print(
            f"{name}: median {statistics.median(values) * 1e3:.3f} ms, "
            f"fastest {min(values) * 1e3:.3f} ms of {repeat}"
        )


def preprocessing(package: Path, repeat: int = 100) -> None:
    """Pictures to tensors, and what folding the normalization into the graph would save."""
    with Model.load(package, threads=1) as model:
        spec = model.manifest.input
    whole = dataclasses.replace(spec.preprocessing, resize=None, crop=None)
    folded = dataclasses.replace(whole, folded=True)
    height, width = spec.shape[2:]
    rng = np.random.default_rng(0)
    fitting = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    camera = rng.integers(0, 256, (480, 640, 3), dtype=np.uint8)
    tensor = aligned_empty((1, *spec.shape[1:]))
    for name, how, frame in (
        ("640x480 picture, as the manifest says", spec.preprocessing, camera),
        (f"{width}x{height} picture, not resized", whole, fitting),
        (f"{width}x{height} picture, not resized, normalization folded", folded, fitting),
    ):
        prepare = Preprocessor(dataclasses.replace(spec, preprocessing=how))
        seconds = [timed(lambda p=prepare, f=frame: p.fill(tensor, [f])) for _ in range(repeat)]
        print(f"preprocessing, {name}: median {statistics.median(seconds) * 1e3:.3f} ms")


def turns(package: Path, count: int) -> None:
    """Load, run and close again and again."""
    frame = np.zeros((64, 64, 3), np.uint8)
    for turn in range(count + 1):
        with Model.load(package, threads=1) as model:
            model([frame] * model.manifest.batch_sizes[0])
        if turn in (count // 10, count // 2, count):
            print(f"after {turn} loads: {resident_mb():.1f} MB resident")


def inferences(package: Path, count: int, callers: int = 4) -> None:
    """Right answers from several threads at once."""
    wrong = []
    with Model.load(package) as model:
        rng = np.random.default_rng(0)
        shape = model.manifest.input.shape
        tensors = [rng.uniform(-1, 1, shape).astype(np.float32) for _ in range(callers)]
        expected = [model(tensor) for tensor in tensors]

        def work(mine: int, calls: int) -> None:
            for _ in range(calls):
                if not np.array_equal(model(tensors[mine]), expected[mine]):
                    wrong.append(mine)

        for part in range(1, 5):
            threads = [
                threading.Thread(target=work, args=(n, count // 4 // callers))
                for n in range(callers)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            done = part * (count // 4 // callers) * callers
            print(f"after {done} inferences: {len(wrong)} wrong, {resident_mb():.1f} MB resident")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", type=Path)
    parser.add_argument("--turns", type=int, default=0, help="loads, runs and closes to make")
    parser.add_argument("--inferences", type=int, default=0, help="calls to make from 4 threads")
    options = parser.parse_args()
    load_runtime()
    starting(options.package)
    loading(options.package)
    overhead(options.package)
    preprocessing(options.package)
    if options.turns:
        turns(options.package, options.turns)
    if options.inferences:
        inferences(options.package, options.inferences)


if __name__ == "__main__":
    main()
