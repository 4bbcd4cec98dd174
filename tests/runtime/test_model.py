from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tvm_shufflenet.errors import ImageError, InputError, PackageError
from tvm_shufflenet.runtime import Model
from tvm_shufflenet.runtime.library import aligned_empty

from .packages import CLASSES, LABELS, SIDE, Network, make_package

TOLERANCE = 1e-4


def tensor_of(batch: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((batch, 3, SIDE, SIDE)).astype(np.float32)


def listed(folder: str) -> set[str]:
    return {entry.name for entry in Path(folder).iterdir()}


def assert_right(network: Network, logits: np.ndarray, tensor: np.ndarray) -> None:
    np.testing.assert_allclose(logits, network.logits(tensor), rtol=TOLERANCE, atol=TOLERANCE)


@pytest.fixture(scope="module")
def model(package: Path) -> Any:
    with Model.load(package) as model:
        yield model


@pytest.mark.parametrize("form", ["package", "archive"])
def test_a_folder_and_an_archive_give_the_right_logits(
    form: str, network: Network, request: pytest.FixtureRequest
) -> None:
    with Model.load(request.getfixturevalue(form)) as model:
        for batch in (1, 3):
            tensor = tensor_of(batch)
            logits = model(tensor)
            assert logits.shape == (batch, CLASSES) and logits.dtype == np.float32
            assert_right(network, logits, tensor)


def test_a_library_loads_without_sealed_memory_too(
    package: Path, network: Network, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with Model.load(package) as model:
        assert_right(network, model(tensor_of()), tensor_of())
        assert list(tmp_path.iterdir()) == []


def test_two_models_in_turn_never_get_each_others_library(network: Network, tmp_path: Path) -> None:
    # Descriptors are reused, and the loader recognizes libraries by name.
    one = make_package(network, tmp_path / "one", (1,))
    three = make_package(network, tmp_path / "three", (3,))
    keep = []
    for _ in range(5):
        for path, batch in ((one, 1), (three, 3)):
            keep.append(Model.load(path))
            assert_right(network, keep[-1](tensor_of(batch)), tensor_of(batch))
    for model in keep:
        model.close()


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x,
        lambda x: np.asfortranarray(x),
        lambda x: np.repeat(x, 2, axis=3)[..., ::2],
        lambda x: np.flip(np.flip(x, 2).copy(), 2),
        lambda x: np.frombuffer(b"x" * 4 + x.tobytes(), np.float32, offset=4).reshape(x.shape),
    ],
    ids=["plain", "fortran", "strided", "negative strides", "read-only, unaligned"],
)
def test_a_tensor_in_any_layout_gives_the_same_logits(
    change: Any, model: Model, network: Network
) -> None:
    tensor = tensor_of()
    changed = change(tensor)
    np.testing.assert_array_equal(changed, tensor)
    assert_right(network, model(changed), tensor)


def test_an_aligned_tensor_is_read_in_place_and_left_alone(model: Model, network: Network) -> None:
    tensor = aligned_empty((1, 3, SIDE, SIDE))
    for seed in range(3):
        np.copyto(tensor, tensor_of(seed=seed))
        tensor.flags.writeable = False
        assert_right(network, model(tensor), tensor_of(seed=seed))
        np.testing.assert_array_equal(tensor, tensor_of(seed=seed))
        assert_right(network, model(tensor_of(seed=9)), tensor_of(seed=9))
        tensor.flags.writeable = True


def test_out_is_filled_and_returned(model: Model, network: Network) -> None:
    out = np.zeros((1, CLASSES), np.float32)
    assert model(tensor_of(), out=out) is out
    assert_right(network, out, tensor_of())
    strided = np.zeros((1, CLASSES * 2), np.float32)[:, ::2]
    assert_right(network, model(tensor_of(), out=strided), tensor_of())


def test_results_do_not_change_when_the_model_runs_again(model: Model) -> None:
    first = model(tensor_of())
    before = first.copy()
    model(tensor_of(seed=4))
    np.testing.assert_array_equal(first, before)


@pytest.mark.parametrize(
    ("out", "words"),
    [
        (np.zeros((1, 3), np.float32), "float32 array of shape (1, 7)"),
        (np.zeros((1, CLASSES)), "float64 of shape (1, 7) came"),
        (np.broadcast_to(np.float32(0), (1, CLASSES)), "a read-only float32"),
        ([0.0] * CLASSES, "list came"),
    ],
)
def test_a_wrong_out_is_refused(out: Any, words: str, model: Model) -> None:
    with pytest.raises(ImageError) as caught:
        model(tensor_of(), out=out)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((1, 3, 8, 8), np.float32), "expected a float32 tensor of shape (n, 3, 40, 40)"),
        (np.zeros((3, SIDE, SIDE), np.float32), "shape (3, 40, 40) came"),
        (np.zeros((2, 3, SIDE, SIDE), np.float32), "2 images came and the package is compiled for"),
        (np.zeros((SIDE, SIDE, 3)), "float64 of shape (40, 40, 3) came"),
        (np.zeros((SIDE, SIDE), np.uint8), "uint8 of shape (40, 40) came"),
        (np.zeros((SIDE, SIDE, 4), np.uint8), "convert gray or RGBA"),
        (np.zeros((0, SIDE, 3), np.uint8), "(0, 40, 3) came"),
        (np.zeros((0, SIDE, SIDE, 3), np.uint8), "0 images came"),
        ([], "0 images came"),
        ([[1, 2]], "a list of list came"),
        ("cat.jpg", "not str"),
        (None, "not NoneType"),
        (np.full((1, 3, SIDE, SIDE), 255, np.float32), "values from 255 to 255"),
        (np.full((1, 3, SIDE, SIDE), -np.inf, np.float32), "values from -inf"),
    ],
)
def test_wrong_images_are_refused_with_what_was_expected_and_what_came(
    images: Any, words: str, model: Model
) -> None:
    with pytest.raises(ImageError) as caught:
        model(images)
    assert words in str(caught.value)


@pytest.mark.parametrize("row", [0, 16, SIDE - 8])
def test_a_nan_in_a_row_that_is_looked_at_is_refused(row: int, model: Model) -> None:
    tensor = tensor_of()
    tensor[0, 1, row, 3] = np.nan
    with pytest.raises(ImageError, match="nan"):
        model(tensor)


def test_a_nan_elsewhere_spoils_only_its_own_answer(model: Model, network: Network) -> None:
    tensor = tensor_of()
    tensor[0, 1, 5, 3] = np.nan
    assert model(tensor).shape == (1, CLASSES)
    assert_right(network, model(tensor_of()), tensor_of())


def test_top_names_the_likeliest_classes(model: Model, network: Network) -> None:
    logits = network.logits(tensor_of())[0]
    labels = LABELS.decode().splitlines()
    best = model.top(tensor_of(), k=3)
    assert [name for name, _ in best] == [labels[n] for n in np.argsort(-logits)[:3]]
    chances = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose([p for _, p in best], np.sort(chances)[::-1][:3], rtol=1e-3)
    assert len(model.top(tensor_of(), k=99)) == CLASSES
    with pytest.raises(ImageError, match="3 came"):
        model.top(tensor_of(3))
    with pytest.raises(InputError, match="at least 1"):
        model.top(tensor_of(), k=0)


def test_without_labels_top_gives_indices(network: Network, tmp_path: Path) -> None:
    with Model.load(make_package(network, tmp_path / "net", labels=None)) as model:
        logits = network.logits(tensor_of())[0]
        assert [name for name, _ in model.top(tensor_of())] == list(np.argsort(-logits)[:5])


def test_benchmark_keeps_every_value(model: Model) -> None:
    timing = model.benchmark(repeat=11, warmup=2, batch=3)
    assert len(timing.seconds) == 11 and len(timing.warmup_seconds) == 2 and timing.batch == 3
    assert 0 < min(timing.seconds) <= timing.median_s <= timing.p90_s <= timing.p99_s
    assert timing.median_s == sorted(timing.seconds)[5]
    with pytest.raises(ImageError, match="2 images"):
        model.benchmark(batch=2)


def test_a_closed_model_says_so(package: Path) -> None:
    model = Model.load(package)
    model(tensor_of())
    model.close()
    model.close()
    with pytest.raises(InputError, match="closed"):
        model(tensor_of())


def test_threads_beyond_the_cores_are_reduced_with_a_warning(package: Path) -> None:
    count = len(os.sched_getaffinity(0))
    with pytest.warns(RuntimeWarning, match="reduced"):
        model = Model.load(package, threads=count + 5)
    assert model.threads == count
    model.close()
    with pytest.raises(InputError, match="at least 1"):
        Model.load(package, threads=0)


def test_a_core_that_is_not_ours_is_refused(package: Path) -> None:
    with pytest.raises(InputError, match="may use"):
        Model.load(package, cores=[1023])


def test_a_model_leaves_the_callers_affinity_alone(package: Path) -> None:
    mine = os.sched_getaffinity(0)
    with Model.load(package) as one, Model.load(package, threads=min(2, len(mine))) as two:
        one(tensor_of())
        two(tensor_of())
        assert os.sched_getaffinity(0) == mine


def test_a_model_runs_on_its_cores_and_leaves_the_callers_alone(
    package: Path, network: Network
) -> None:
    mine = os.sched_getaffinity(0)
    core = max(mine)
    with Model.load(package, cores=[core]) as model:
        assert_right(network, model(tensor_of()), tensor_of())
        assert model._runner.call(lambda: os.sched_getaffinity(0)) == {core}
    assert os.sched_getaffinity(0) == mine


def test_workers_are_as_many_as_asked_and_end_with_the_model(
    package: Path, network: Network
) -> None:
    network.logits(tensor_of())  # numpy starts threads of its own
    for threads in {1, len(os.sched_getaffinity(0))}:
        before = len(listed("/proc/self/task"))
        model = Model.load(package, threads=threads)
        assert_right(network, model(tensor_of()), tensor_of())
        # One worker is the caller's thread; else the model's own thread is the first worker.
        assert len(listed("/proc/self/task")) == before + (threads if threads > 1 else 0)
        model.close()
        assert len(listed("/proc/self/task")) == before


def test_a_forgotten_model_ends_its_thread(package: Path) -> None:
    before = threading.active_count()
    model = Model.load(package, cores=[min(os.sched_getaffinity(0))])
    model(tensor_of())
    assert threading.active_count() == before + 1
    del model
    assert threading.active_count() == before


def test_four_threads_always_get_their_own_answers(package: Path, network: Network) -> None:
    failures: list[BaseException] = []

    def work(model: Model, seed: int) -> None:
        try:
            tensor = tensor_of(seed=seed) if seed % 2 else aligned_empty((1, 3, SIDE, SIDE))
            np.copyto(tensor, tensor_of(seed=seed))
            expected = network.logits(tensor)
            for _ in range(250):
                np.testing.assert_allclose(model(tensor), expected, rtol=1e-4, atol=1e-4)
        except BaseException as error:
            failures.append(error)

    with Model.load(package) as one, Model.load(package, threads=2) as two:
        threads = [
            threading.Thread(target=work, args=((one, two)[seed % 2], seed)) for seed in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


def _answer(model: Model, tensor: np.ndarray, answers: Any) -> None:
    answers.put(model(tensor))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_model_in_use_works_in_a_child_process(
    method: str, workers: int, package: Path, network: Network
) -> None:
    context = multiprocessing.get_context(method)
    answers = context.Queue()
    with Model.load(package, threads=min(workers, len(os.sched_getaffinity(0)))) as model:
        model(tensor_of())
        child = context.Process(target=_answer, args=(model, tensor_of(seed=3), answers))
        child.start()
        assert_right(network, answers.get(timeout=60), tensor_of(seed=3))
        child.join(60)
        assert child.exitcode == 0
        assert_right(network, model(tensor_of()), tensor_of())


def test_a_pickled_model_is_loaded_again_with_its_settings(package: Path) -> None:
    with Model.load(package, cores=[min(os.sched_getaffinity(0))]) as model:
        again = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(again(tensor_of()), model(tensor_of()))
        assert again.cores == model.cores
        again.close()


def test_a_failed_load_leaves_nothing_open(package: Path) -> None:
    before = listed("/proc/self/fd")
    with pytest.raises(PackageError, match="cannot open"):
        Model.load(package / "nothing")
    with pytest.raises(InputError):
        Model.load(package, threads=0)
    assert listed("/proc/self/fd") == before


_LEAN = """
import sys
from tvm_shufflenet.runtime import Model, read_manifest
read_manifest(sys.argv[1])
assert "tvm" not in sys.modules and "PIL" not in sys.modules
import os
import numpy as np
model = Model.load(sys.argv[1])
model(np.zeros((41, 50, 3), np.uint8))
maps = open("/proc/self/maps").read()
assert "libtvm_runtime.so" in maps and "libtvm.so" not in maps and "LLVM" not in maps
heavy = {"torch", "tvm.relay", "onnx", "cryptography", "rich", "psutil"} & set(sys.modules)
assert not heavy, heavy
assert "TVM_USE_RUNTIME_LIB" not in os.environ
print("lean", file=sys.stderr)
"""


def test_a_device_needs_neither_the_compiler_nor_llvm_nor_torch(package: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "TVM_USE_RUNTIME_LIB"}
    done = subprocess.run(
        [sys.executable, "-c", _LEAN, str(package)],
        env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    # Left open on purpose: the program must end by itself, and quietly.
    assert (done.returncode, done.stderr) == (0, "lean\n")
