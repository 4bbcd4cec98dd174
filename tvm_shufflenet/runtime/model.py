"""A package, loaded and ready to run."""

from __future__ import annotations

import os
import time
import warnings
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tvm_shufflenet.errors import ImageError, InputError
from tvm_shufflenet.manifest import Manifest
from tvm_shufflenet.runtime import frames as arrays
from tvm_shufflenet.runtime.checked import CheckedPackage, check_package
from tvm_shufflenet.runtime.cpu import check_runs_here
from tvm_shufflenet.runtime.library import (
    ALIGNMENT_BYTES,
    Executor,
    Tensor,
    aligned_empty,
    check_version,
    load_runtime,
)
from tvm_shufflenet.runtime.likeliest import likeliest
from tvm_shufflenet.runtime.preprocess import Preprocessor
from tvm_shufflenet.runtime.threads import Runner, make_runner, usable_cores
from tvm_shufflenet.runtime.timing import Timing

Images = Any  # a uint8 (h, w, 3) array, a batch or list of them, or a float32 NCHW array


class Model:
    """A loaded package. Get one from `Model.load`; it may be shared by several Python threads.

    Calls are served one after another; several models run side by side. It can be used after a
    fork, and pickled to other processes (which load it again).
    """

    def __init__(
        self, checked: CheckedPackage, runner: Runner, executors: Sequence[Executor]
    ) -> None:
        """For `Model.load` only."""
        self._manifest = checked.manifest
        self._labels = checked.labels
        self._preprocessor = Preprocessor(checked.manifest.input)
        self._runner = runner
        self._executors = {executor.shape[0]: executor for executor in executors}
        self._by_shape = {executor.shape: executor for executor in executors}
        self._spare: dict[int, deque[Tensor]] = {n: deque() for n in self._executors}
        self._arguments: tuple[Any, ...] = ()  # of `load`, to load it again elsewhere
        # A model that is forgotten, or open when the program ends, still ends its thread.
        self._finalizer = weakref.finalize(self, runner.close)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        threads: int | None = None,
        cores: Sequence[int] | None = None,
        trust: str | Path | bytes | None = None,
    ) -> Model:
        """Check the package at `path` (a folder or a ``.pkg`` file) wholly, then load it.

        Args:
            path: the package.
            threads: workers for each inference; the manifest's number unless given. More than
                the cores that may be used is reduced to them, with a warning.
            cores: the CPUs to run on; else the manifest's `core_mask`, or all that may be used.
            trust: an Ed25519 public key (a PEM file's path, PEM text or 32 raw bytes): packages
                it did not sign are refused.

        Raises:
            PackageError: if the package is damaged, altered, or not for this machine.
            InputError: if `threads` or `cores` cannot be had.
            ToolchainError: if TVM's runtime (or, with `trust`, `cryptography`) is missing.
        """
        checked = check_package(Path(path), trust)
        try:
            manifest = checked.manifest
            check_runs_here(manifest)
            check_version(manifest)
            usable = usable_cores(cores, manifest.core_mask)
            workers = _worker_count(threads, manifest.threads, len(usable))
            executors = [
                Executor(copy.path, library.batch, manifest)
                for copy, library in zip(checked.copies, manifest.libraries, strict=True)
            ]
        finally:
            checked.close()
        pinned = cores is not None or set(usable) != os.sched_getaffinity(0)
        get_function = load_runtime().get_global_func
        runner = make_runner(workers, usable, pinned=pinned, get_function=get_function)
        model = cls(checked, runner, executors)
        model._arguments = (str(path), threads, cores, trust)
        return model

    @property
    def manifest(self) -> Manifest:
        """What the package says of itself."""
        return self._manifest

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The class names in the order of the outputs, if the package has them."""
        return self._labels

    @property
    def threads(self) -> int:
        """How many workers an inference uses."""
        return self._runner.threads

    @property
    def cores(self) -> tuple[int, ...]:
        """The CPUs that inferences run on."""
        return self._runner.cores

    def __call__(self, images: Images, *, out: Tensor | None = None) -> Tensor:
        """Return the logits (n, classes) of n images.

        Args:
            images: uint8 RGB of shape (h, w, 3), a batch (n, h, w, 3) or a list of pictures of
                any sizes: these are preprocessed. Or a prepared float32 (n, 3, h, w), which goes
                to the network untouched; without a copy if it is C-contiguous and 64-byte aligned.
                n must be a batch size of the package. Read-only and strided arrays are fine.
            out: a float32 array of the result's shape to fill and return.

        Raises:
            ImageError: if the images or `out` are not as above, or a float input is far outside
                what pictures give (every eighth row is looked at; a lone NaN elsewhere is not
                noticed and makes the logits meaningless).
            InputError: if the model is closed.
        """
        if isinstance(images, np.ndarray) and images.dtype == np.float32:
            executor = self._by_shape.get(images.shape)
            if executor is None:
                arrays.check_tensor(images, self._manifest.input.shape, self._manifest.batch_sizes)
                executor = self._executor(len(images))
            if _fits(images):
                return self._run(executor, images, out, checked=False)
            with self._staging(executor) as tensor:
                np.copyto(tensor, images)
                return self._run(executor, tensor, out, checked=False)
        frames = arrays.as_frames(images)
        executor = self._executor(len(frames))
        with self._staging(executor) as tensor:
            self._preprocessor.fill(tensor, frames)
            return self._run(executor, tensor, out)

    def top(self, image: Images, k: int = 5) -> list[tuple[str | int, float]]:
        """Return the `k` likeliest classes of one image: (label or index, probability).

        Raises:
            ImageError: as for a call, or if there is more than one image.
            InputError: if `k` is less than 1.
        """
        return likeliest(self(image), self._labels, k)

    def benchmark(self, repeat: int = 30, *, warmup: int = 3, batch: int | None = None) -> Timing:
        """Time `repeat` inferences of the compiled network alone, on a prepared input.

        Raises:
            InputError: if `repeat` is less than 1, or the package has no such batch size.
        """
        if repeat < 1 or warmup < 0:
            raise InputError("repeat must be at least 1 and warmup not negative")
        executor = self._executor(self._manifest.batch_sizes[0] if batch is None else batch)
        tensor = aligned_empty(executor.shape)
        middle = (self._preprocessor.low + self._preprocessor.high) / 2
        spread = self._preprocessor.high - middle
        noise = np.random.default_rng(0).uniform(-1, 1, executor.shape)
        np.copyto(tensor, middle + spread * noise, casting="same_kind")
        out = np.empty(executor.result_shape, np.float32)

        def timed() -> list[float]:
            seconds = []
            for _ in range(warmup + repeat):
                start = time.perf_counter()
                executor.run(tensor, out)
                seconds.append(time.perf_counter() - start)
            return seconds

        seconds = self._runner.call(timed)
        return Timing(
            seconds=tuple(seconds[warmup:]),
            warmup_seconds=tuple(seconds[:warmup]),
            batch=executor.shape[0],
            threads=self.threads,
        )

    def close(self) -> None:
        """Finish what runs, then free threads and memory. Closing twice is fine."""
        self._finalizer()
        self._executors.clear()
        self._by_shape.clear()
        self._spare.clear()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reload, self._arguments

    def __repr__(self) -> str:
        return f"<Model {self._manifest.model} for {self._manifest.board}, {self.threads} threads>"

    def _executor(self, batch: int) -> Executor:
        executor = self._executors.get(batch)
        if executor is None:
            if not self._executors:
                raise InputError("the model is closed; load it again")
            sizes = ", ".join(map(str, self._manifest.batch_sizes))
            raise ImageError(
                f"{batch} images came and the package is compiled for batches of {sizes}; "
                "compile it with that batch size"
            )
        return executor

    def _run(
        self, executor: Executor, tensor: Tensor, out: Tensor | None, *, checked: bool = True
    ) -> Tensor:
        shape = executor.result_shape
        result = np.empty(shape, np.float32) if out is None else arrays.check_out(out, shape)

        def work() -> None:
            if not checked:
                # Here, where it brings the tensor into the cache of the core that reads it next.
                self._preprocessor.check_range(tensor)
            executor.run(tensor, result)

        self._runner.call(work)
        return result

    @contextmanager
    def _staging(self, executor: Executor) -> Iterator[Tensor]:
        """Lend an aligned input tensor; callers on several threads get different ones."""
        spare = self._spare.get(executor.shape[0], deque())
        try:
            tensor = spare.pop()
        except IndexError:
            tensor = aligned_empty(executor.shape)
        yield tensor
        # Not given back after an interruption, when the runner may still be reading it.
        spare.append(tensor)


def _fits(tensor: Tensor) -> bool:
    address: int = tensor.__array_interface__["data"][0]
    return tensor.flags.c_contiguous and address % ALIGNMENT_BYTES == 0


def _worker_count(wanted: int | None, suggested: int, available: int) -> int:
    if wanted is None:
        return min(suggested, available)
    if wanted < 1:
        raise InputError(f"threads must be at least 1, not {wanted}")
    if wanted > available:
        # TVM's workers spin while they wait: more of them than cores is ruinously slow.
        warnings.warn(
            f"threads={wanted} reduced to the {available} cores that may be used",
            RuntimeWarning,
            stacklevel=3,
        )
    return min(wanted, available)


def _reload(
    path: str,
    threads: int | None,
    cores: Sequence[int] | None,
    trust: str | Path | bytes | None,
) -> Model:
    return Model.load(path, threads=threads, cores=cores, trust=trust)
