"""A small compiled network and packages made of it, for the tests of the runtime."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tvm_shufflenet.manifest import (
    Input,
    Kernel,
    Manifest,
    Output,
    Preprocessing,
    TuningLog,
    Weights,
)
from tvm_shufflenet.package.store import (
    describe_labels,
    describe_library,
    library_name,
    write_package,
)
from tvm_shufflenet.runtime.cpu import architecture_here

SIDE = 40  # pixels of the network's input
CLASSES = 7
LABELS = "\n".join(f"class {n}" for n in range(CLASSES)).encode() + b"\n"
WHOLE_IMAGE = Preprocessing(resize=None, crop=None)
CENTER_CROP = Preprocessing(resize=48, crop=(SIDE, SIDE))

# Compiled in a process of its own, so that building leaves nothing behind in the tests' process.
_BUILD = """
import sys
import numpy as np
from tvm_shufflenet.boards import load_board
from tvm_shufflenet.compiler import PASS_CONFIG, load_tvm
tvm = load_tvm()
from tvm import relay
batch, side, classes, out, weights = int(sys.argv[1]), *map(int, sys.argv[2:4]), *sys.argv[4:6]
saved = np.load(weights)
x = relay.var("input", shape=(batch, 3, side, side), dtype="float32")
y = relay.nn.conv2d(
    x, relay.const(saved["conv"]), channels=8, kernel_size=(3, 3), padding=(1, 1), strides=(2, 2)
)
y = relay.nn.relu(y)
y = relay.nn.batch_flatten(relay.nn.global_avg_pool2d(y))
y = relay.nn.dense(y, relay.const(saved["dense"]))
mod = tvm.IRModule.from_expr(relay.Function([x], y))
with tvm.transform.PassContext(opt_level=3, config=PASS_CONFIG):
    factory = relay.build(mod, load_board("local").target(), mod_name="default")
factory.export_library(out)
"""


@dataclass(frozen=True)
class Network:
    """Compiled libraries by batch size, and the weights to check them against."""

    libraries: dict[int, Path]
    conv: np.ndarray
    dense: np.ndarray

    def logits(self, tensor: np.ndarray) -> np.ndarray:
        """What the network must answer, by numpy."""
        padded = np.pad(tensor.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
        features = np.einsum("nchwij,ocij->nohw", windows[:, :, ::2, ::2], self.conv)
        return np.maximum(features, 0).mean(axis=(2, 3)) @ self.dense.T


def build_network(folder: Path, batches: tuple[int, ...]) -> Network:
    """Compile the test network for each batch size."""
    rng = np.random.default_rng(5)
    conv = rng.standard_normal((8, 3, 3, 3)).astype(np.float32)
    dense = rng.standard_normal((CLASSES, 8)).astype(np.float32)
    weights = folder / "weights.npz"
    np.savez(weights, conv=conv, dense=dense)
    libraries = {}
    for batch in batches:
        path = folder / f"network.b{batch}.so"
        arguments = [batch, SIDE, CLASSES, path, weights]
        command = [sys.executable, "-c", _BUILD, *map(str, arguments)]
        subprocess.run(command, check=True, timeout=300)
        libraries[batch] = path
    return Network(libraries, conv, dense)


def manifest_for(network: Network, batches: tuple[int, ...] = (1,), **changes: Any) -> Manifest:
    """A manifest of a package of the network for these batch sizes."""
    libraries = tuple(
        describe_library(library_name(batch, first=n == 0), batch, network.libraries[batch])
        for n, batch in enumerate(batches)
    )
    preprocessing = changes.pop("preprocessing", WHOLE_IMAGE)
    whole = Manifest(
        model="test_network",
        input=Input(
            name="input",
            shape=(batches[0], 3, SIDE, SIDE),
            dtype="float32",
            preprocessing=preprocessing,
        ),
        output=Output(name="output", shape=(batches[0], CLASSES), dtype="float32"),
        board="local",
        target="llvm -keys=cpu -model=test",
        arch=architecture_here(),
        cpu_features=(),
        glibc="2.17",
        tvm_version="0.19.0",
        passes=("FoldConstant",),
        tuning_log=TuningLog(name="test.autotvm.json", sha256="0" * 64),
        kernels=(Kernel(name="tvmgen_default_fused_nn_conv2d", op="nn.conv2d", record=None),),
        libraries=libraries,
        labels=describe_labels("labels.txt", LABELS),
        multiply_adds=86_400,
        parameters=272,
        weights=Weights(source="random", seed=5),
        threads=1,
        core_mask=(),
    )
    return dataclasses.replace(whole, **changes)


def files_for(network: Network, manifest: Manifest) -> dict[str, bytes | Path]:
    """The files that go with a manifest of `manifest_for`."""
    files: dict[str, bytes | Path] = {
        library.file: network.libraries[library.batch] for library in manifest.libraries
    }
    return files | ({manifest.labels.file: LABELS} if manifest.labels else {})


def make_package(
    network: Network,
    path: Path,
    batches: tuple[int, ...] = (1,),
    *,
    key: Path | None = None,
    **changes: Any,
) -> Path:
    """Write a package of the network."""
    manifest = manifest_for(network, batches, **changes)
    return write_package(path, files_for(network, manifest), manifest, key=key)
