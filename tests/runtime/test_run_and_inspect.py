from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tvm_shufflenet.errors import BoardUnreachable, ImageError, InputError, PackageError
from tvm_shufflenet.manifest import Weights
from tvm_shufflenet.runtime.cpu import architecture_here

from .packages import CENTER_CROP, Network, make_package

CAT = str(Path(__file__).parents[1] / "data" / "cat.jpg")


def invoke(*arguments: str) -> str:
    from tvm_shufflenet.cli import cli

    result = CliRunner().invoke(cli, arguments)
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_run_names_the_likeliest_classes_of_each_picture(network: Network, tmp_path: Path) -> None:
    path = make_package(network, tmp_path / "net.pkg", preprocessing=CENTER_CROP)
    lines = invoke("run", str(path), CAT, CAT, "-k", "3").splitlines()
    assert lines[0] == lines[4] == CAT and lines[1:4] == lines[5:8]
    assert [line.split()[0] for line in lines[1:4]] == ["1", "2", "3"]
    assert all("class" in line and "%" in line for line in lines[1:4])
    assert "untrained" in lines[8] and len(lines) == 9


def test_run_says_nothing_of_trained_weights(network: Network, tmp_path: Path) -> None:
    trained = Weights(source="megvii.pth", sha256="0" * 64)
    path = make_package(network, tmp_path / "net", weights=trained, labels=None)
    output = invoke("run", str(path), CAT)
    assert "untrained" not in output and len(output.splitlines()) == 6


def test_run_prints_json(package: Path) -> None:
    printed = json.loads(invoke("run", str(package), CAT, "--json", "--threads", "1"))
    assert printed["untrained"] is True and printed["threads"] == 1
    best = printed["images"][0]["top"]
    assert len(best) == 5 and best[0]["class"].startswith("class ")
    assert 1 >= best[0]["probability"] >= best[4]["probability"] >= 0


def test_run_refuses_what_is_no_picture_or_no_package(package: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="No such file"):
        invoke("run", str(package), str(tmp_path / "none.jpg"))
    with pytest.raises(PackageError, match="cannot open"):
        invoke("run", str(tmp_path / "none"), CAT)


def test_run_takes_a_tracker_for_a_board_only(package: Path) -> None:
    with pytest.raises(InputError, match="--board"):
        invoke("run", str(package), CAT, "--tracker", "127.0.0.1:1")
    with pytest.raises(BoardUnreachable, match="no tracker answers"):
        invoke("run", str(package), CAT, "--board", "rpi4b", "--tracker", "127.0.0.1:1")


def test_run_on_a_board_sees_what_it_sees_here_and_what_the_board_cannot_run(
    network: Network, package: Path, tmp_path: Path
) -> None:
    from tvm_shufflenet.rpc.server import server
    from tvm_shufflenet.rpc.tracker import Address, tracker

    newer = make_package(network, tmp_path / "net", cpu_features=("telepathy",))
    with tracker() as desk, server(key="rpi4b", tracker=Address(*desk.address)):
        there = ("--board", "rpi4b", "--tracker", str(Address(*desk.address)))
        ran = json.loads(invoke("run", str(package), CAT, "--json", *there))
        assert ran == json.loads(invoke("run", str(package), CAT, "--json"))
        with pytest.raises(PackageError, match="telepathy, which board rpi4b lacks"):
            invoke("run", str(newer), CAT, *there)


def test_inspect_shows_every_field_and_kernel(package: Path) -> None:
    output = invoke("inspect", str(package))
    for words in ("test_network", "86 400", "nn.conv2d", "model.b3.so", "runs here          yes"):
        assert words in output


def test_inspect_prints_json(package: Path) -> None:
    printed = json.loads(invoke("inspect", str(package), "--json"))
    assert printed["signed"] == "no" and printed["runs_here"] == "yes"
    assert [library["batch"] for library in printed["manifest"]["libraries"]] == [1, 3]
    (kernel,) = printed["manifest"]["kernels"]
    assert kernel["op"] == "nn.conv2d" and kernel["record"] is None


def test_inspect_says_why_a_package_does_not_run_here(network: Network, tmp_path: Path) -> None:
    path = make_package(network, tmp_path / "net", cpu_features=("avx1024",))
    assert "needs a CPU with avx1024" in invoke("inspect", str(path))


def test_inspect_refuses_a_damaged_library(network: Network, tmp_path: Path) -> None:
    path = make_package(network, tmp_path / "net")
    library = path / "model.so"
    damaged = bytearray(library.read_bytes())
    damaged[5000] ^= 1
    library.write_bytes(damaged)
    with pytest.raises(PackageError, match="was altered"):
        invoke("inspect", str(path))


_LEAN = """
import sys
sys.modules.update(dict.fromkeys(["rich", "torch", "psutil", "cryptography", "matplotlib"]))
from tvm_shufflenet.cli import main
sys.argv = ["tvm-shufflenet", *sys.argv[1:]]
try:
    main()
finally:
    assert "tvm.relay" not in sys.modules
"""


@pytest.mark.parametrize(
    "arguments", [["run", "{}", CAT], ["inspect", "{}"]], ids=["run", "inspect"]
)
def test_a_device_without_the_host_extra_can_do_it(arguments: list[str], package: Path) -> None:
    filled = [argument.format(package) for argument in arguments]
    done = subprocess.run(
        [sys.executable, "-c", _LEAN, *filled], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_damaged_package_is_one_sentence_and_exit_code_3(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LEAN, "run", str(tmp_path), CAT],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 3
    assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1


def test_the_test_network_is_built_for_this_machine(package: Path) -> None:
    printed = json.loads(invoke("inspect", str(package), "--json"))
    assert printed["manifest"]["arch"] == architecture_here()
