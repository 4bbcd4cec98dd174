"""What the manifest of a compiled network says."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_shufflenet import linking, models
from tvm_shufflenet.compiler import load_tvm
from tvm_shufflenet.errors import PackageError
from tvm_shufflenet.manifest import (
    LABELS_NAME,
    RANDOM_WEIGHTS,
    Input,
    Kernel,
    Manifest,
    Output,
    Preprocessing,
    TuningLog,
    Weights,
)
from tvm_shufflenet.package import store
from tvm_shufflenet.runtime.cpu import linux_features

if TYPE_CHECKING:
    from tvm_shufflenet.package.compile import Compiled, CompileOptions, Prepared


def size_of(imported: Any, model: str, size: tuple[int, int]) -> tuple[int, int]:
    """Return the multiply-adds of one image and the parameters of a network."""
    if not model.endswith(".onnx"):
        return models.multiply_adds(model, size), models.card(model).parameters
    from tvm import relay

    constants: dict[Any, int] = {}

    def count(node: Any) -> None:
        if isinstance(node, relay.Constant) and str(node.data.dtype).startswith("float"):
            constants[node] = int(node.data.numpy().size)

    relay.analysis.post_order_visit(imported["main"], count)
    images = int(imported["main"].params[0].checked_type.shape[0])
    multiply_adds = relay.analysis.get_total_mac_number(imported["main"]) // images
    return int(multiply_adds), sum(constants.values())


def manifest(compiled: Compiled) -> Manifest:
    """Return the manifest of a compiled network."""
    options, first = compiled.options, compiled.libraries[0]
    prepared = first.prepared
    board = prepared.board
    log = first.history.log
    labels = None
    if options.labels is not None:
        labels = store.describe_labels(LABELS_NAME, read_labels(options.labels))
    return Manifest(
        model=Path(options.model).name if options.model.endswith(".onnx") else options.model,
        input=Input(
            name="input",
            shape=(first.batch, 3, *options.size),
            dtype="float32",
            preprocessing=_preprocessing(options),
        ),
        output=Output(name="logits", shape=first.output, dtype="float32"),
        board=board.name,
        target=board.target_string(),
        arch=board.cpu.arch,
        cpu_features=_features(prepared),
        glibc=".".join(str(part) for part in linking.GLIBC_BASELINE),
        tvm_version=str(load_tvm().__version__),
        passes=(*prepared.passes, "pack_weights"),
        tuning_log=None if log is None else TuningLog(name=log.name, sha256=_sha256(log)),
        kernels=tuple(
            Kernel(name=name, op=op, record=record) for name, op, record in first.kernels
        ),
        libraries=tuple(
            store.describe_library(built.path.name, built.batch, built.path)
            for built in compiled.libraries
        ),
        labels=labels,
        multiply_adds=prepared.multiply_adds,
        parameters=prepared.parameters,
        weights=_weights(options),
        threads=options.threads or board.run.threads,
        core_mask=board.run.core_mask,
    )


def _preprocessing(options: CompileOptions) -> Preprocessing:
    """The paper's 224 crop of a 256 resize; at any other size the whole picture."""
    onnx = options.model.endswith(".onnx")
    wanted = models.Preprocessing() if onnx else models.preprocessing(options.model)
    crop = (wanted.crop, wanted.crop)
    whole = options.size != crop
    return Preprocessing(
        resize=None if whole else wanted.resize,
        crop=None if whole else crop,
        channel_order=wanted.channel_order,
        scale=wanted.scale,
        mean=wanted.mean,
        std=wanted.std,
    )


def _weights(options: CompileOptions) -> Weights:
    if options.model.endswith(".onnx"):
        path = Path(options.model)
        return Weights(source=path.name, sha256=_sha256(path))
    if options.weights is None:
        return Weights(source=RANDOM_WEIGHTS, seed=options.seed)
    return Weights(source=options.weights.name, sha256=_sha256(options.weights))


def _features(prepared: Prepared) -> tuple[str, ...]:
    """Return what the compiler may have used, as Linux names it."""
    from tvm.target import codegen

    load_tvm()
    features = codegen.llvm_get_cpu_features(prepared.target)
    return linux_features(prepared.board.cpu.arch, (str(name) for name in features))


@cache
def read_labels(path: Path) -> bytes:
    """Return a labels file's content.

    Raises:
        PackageError: if it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise PackageError(f"cannot read the labels {path}: {error.strerror}") from None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


__all__ = ["LABELS_NAME", "manifest", "read_labels", "size_of"]
