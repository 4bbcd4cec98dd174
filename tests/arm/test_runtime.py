"""The runtime-only install on AArch64: what it loads, what it computes, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.arm.conftest import BOARD, NETWORK
from tvm_shufflenet import models
from tvm_shufflenet.emulator.system import Guest
from tvm_shufflenet.errors import BoardUnreachable
from tvm_shufflenet.package.compile import CompileOptions, compile_model
from tvm_shufflenet.runtime import read_manifest, read_picture
from tvm_shufflenet.runtime.preprocess import Preprocessor

pytestmark = pytest.mark.slow
PHOTOGRAPH = Path(__file__).parents[1] / "data" / "cat.jpg"
_MOST_MAPPED_BYTES = 60_000_000
_LOADED = """\
import json, sys
import numpy as np
from tvm_shufflenet.runtime import Model
with Model.load(sys.argv[1]) as model:
    model(np.zeros(model.manifest.input.shape, np.float32))
    libraries = {}
    for line in open("/proc/self/maps"):
        parts = line.split()
        if len(parts) > 5 and ".so" in parts[5] and "memfd" not in parts[5]:
            begin, end = parts[0].split("-")
            size = libraries.get(parts[5], 0)
            libraries[parts[5]] = size + int(end, 16) - int(begin, 16)
print(json.dumps({"modules": sorted(sys.modules), "libraries": libraries}))
"""


def test_the_runtime_loads_numpy_and_tvms_runtime_and_little_else(
    deployed: Guest, package: Path
) -> None:
    loaded = json.loads(deployed.run(["-c", _LOADED, str(package)]).splitlines()[-1])
    tops = {name.split(".")[0] for name in loaded["modules"]}
    assert {"numpy", "tvm"} <= tops
    assert not tops & {"torch", "onnx", "scipy", "xgboost", "PIL", "psutil"}
    assert not [name for name in loaded["modules"] if name.startswith(("tvm.relay", "tvm.autotvm"))]
    names = {Path(path).name for path in loaded["libraries"]}
    assert "libtvm_runtime.so" in names
    assert not [name for name in names if "LLVM" in name or name == "libtvm.so"]
    assert sum(loaded["libraries"].values()) < _MOST_MAPPED_BYTES


def test_the_photograph_gets_the_classes_that_pytorch_gives_it(
    deployed: Guest, package: Path
) -> None:
    arguments = ["-c", "from tvm_shufflenet.cli import main; main()", "run", str(package)]
    answer = json.loads(deployed.run([*arguments, str(PHOTOGRAPH), "--json"]))
    spec = read_manifest(package).input
    tensor = torch.empty(tuple(spec.shape))
    Preprocessor(spec).fill(tensor.numpy(), [read_picture(PHOTOGRAPH)])
    with torch.inference_mode():
        likely = models.build(NETWORK)(tensor).softmax(1)[0].topk(5)
    found = answer["images"][0]["top"]
    assert [entry["class"] for entry in found] == likely.indices.tolist()
    assert [entry["probability"] for entry in found] == pytest.approx(
        likely.values.tolist(), rel=1e-3
    )


def test_a_package_for_a_newer_core_is_refused_before_it_is_mapped(
    deployed: Guest, tmp_path: Path
) -> None:
    newer = compile_model(
        CompileOptions(model=NETWORK, board="rpi5", untuned=True), tmp_path / "newer"
    )
    program = "import sys; from tvm_shufflenet.runtime import Model; Model.load(sys.argv[1])"
    with pytest.raises(BoardUnreachable, match=r"PackageError.*(atomics|asimddp)"):
        deployed.run(["-c", program, str(newer)])


def test_a_package_for_this_host_is_refused_on_the_board(deployed: Guest, tmp_path: Path) -> None:
    foreign = compile_model(
        CompileOptions(model=NETWORK, board="x86-avx2", untuned=True), tmp_path / "foreign"
    )
    program = "import sys; from tvm_shufflenet.runtime import Model; Model.load(sys.argv[1])"
    with pytest.raises(BoardUnreachable, match=r"PackageError.*built for x86-64"):
        deployed.run(["-c", program, str(foreign)])


def test_a_library_linked_by_zig_alone_runs_too(
    deployed: Guest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tvm_shufflenet import linking

    monkeypatch.setattr(linking, "_find_gcc", lambda arch: ())
    made = compile_model(
        CompileOptions(model=NETWORK, board=BOARD, untuned=True), tmp_path / "by-zig"
    )
    arguments = ["-c", "from tvm_shufflenet.cli import main; main()", "run", str(made)]
    answer = json.loads(deployed.run([*arguments, str(PHOTOGRAPH), "--json"]))
    assert len(answer["images"][0]["top"]) == 5
