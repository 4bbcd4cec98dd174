"""The subcommands compare, bench and profile, on real packages and on saved reports."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import resources

import pytest
from click.testing import CliRunner

from tvm_shufflenet.benchmark import export, table8
from tvm_shufflenet.benchmark.results import FAILED, Report
from tvm_shufflenet.cli import cli
from tvm_shufflenet.errors import BoardUnreachable, InputError, TvmShufflenetError

from .test_reports import GROUP, REPORT, result

SMALL = "shufflenet_v1_g3_x0.25"


def invoke(*arguments):
    return CliRunner().invoke(cli, list(map(str, arguments)))


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "report.json"
    path.write_text(REPORT.to_json())
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Exports of this module's tests go here, not into the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(export.CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    from tvm_shufflenet.package.compile import CompileOptions, compile_model

    folder = tmp_path_factory.mktemp("packages") / "small"
    return compile_model(CompileOptions(model=SMALL, size=(32, 32)), folder)


def impatient_board(name, folder):
    """A copy of a board's file that waits a second instead of a minute for its server."""
    text = resources.files("tvm_shufflenet.targets").joinpath(f"{name}.toml").read_text("utf-8")
    lines = [line for line in text.splitlines() if "connect_timeout_s" not in line]
    lines.insert(lines.index("[rpc]") + 1, "connect_timeout_s = 1")
    path = folder / f"{name}.toml"
    path.write_text("\n".join(lines))
    return path


def test_bench_shows_a_saved_report_with_verdict_and_warnings(saved) -> None:
    done = invoke("bench", "--from", saved)
    assert done.exit_code == 0
    assert "best peer" in done.stdout
    assert "ours is 2.00x (2.00-2.00) as fast as the best peer, best" in done.stdout
    assert "warning: noisy" in done.stderr


def test_bench_draws_a_saved_report(saved, tmp_path) -> None:
    chart = tmp_path / "chart.svg"
    assert invoke("bench", "--from", saved, "--plot", chart).exit_code == 0
    assert "<svg" in chart.read_text()


def test_a_wrong_package_of_ours_is_exit_code_1_after_the_table(tmp_path) -> None:
    broken = (result("ours", status=FAILED, detail="it broke"), *GROUP[2:])
    path = tmp_path / "report.json"
    path.write_text(Report("x", {}, broken).to_json())
    done = invoke("bench", "--from", path)
    assert isinstance(done.exception, TvmShufflenetError)
    assert done.exception.exit_code == 1
    assert "it broke" in str(done.exception)
    assert "best peer" in done.stdout


def test_bench_without_a_network_is_a_usage_error() -> None:
    assert invoke("bench").exit_code == 2


@pytest.mark.parametrize("threads", ["0", "two", "-1", "5000"])
def test_a_thread_count_that_is_none_is_a_usage_error(threads) -> None:
    done = invoke("bench", SMALL, "--threads", threads)
    assert done.exit_code == 2
    assert "neither a number of threads nor 'all'" in done.stderr


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["bench", "shufflenet_v1_g3"], "shufflenet_v1_g3"),
        (["bench", SMALL, "--peer", "nccn"], "unknown peer 'nccn'; did you mean 'ncnn_cpu'"),
        (["bench", SMALL, "--size", "16x16"], "16x16"),
        (["bench", "--from", "/no/such/report.json"], "cannot read the report"),
        (["bench", SMALL, "--board", "rpi5x"], "unknown board 'rpi5x'"),
        (["bench", SMALL, "--board", "qemu-cortex-a72", "--peer", "open_vino"], "'open_vino'"),
        (["compare", "--board", "qemu-cortex-a72"], "bench --board qemu-cortex-a72"),
        (["compare", "--packages", "/no/such/package"], "/no/such/package"),
        (["profile", "/no/such/package"], "/no/such/package"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_3(arguments, message) -> None:
    done = invoke(*arguments)
    assert isinstance(done.exception, InputError)
    assert done.exception.exit_code == 3
    assert message in str(done.exception)


@pytest.mark.parametrize("command", [["bench", SMALL], ["compare"]])
def test_a_board_that_nobody_serves_is_unreachable(command, tmp_path) -> None:
    board = impatient_board("rpi4b", tmp_path)
    done = invoke(*command, "--board", board, "--tracker", "127.0.0.1:9")
    assert isinstance(done.exception, BoardUnreachable)
    assert done.exception.exit_code == 4


def test_a_chart_of_an_emulated_board_is_a_usage_error() -> None:
    done = invoke("bench", SMALL, "--board", "qemu-cortex-a72", "--plot", "chart.png")
    assert done.exit_code == 2


def test_compare_shows_a_saved_report_as_table_8(tmp_path) -> None:
    measured = tuple(
        result("ours", ms, network=name)
        for name, ms in zip(table8.NETWORKS, (4, 8, 48), strict=True)
    )
    path = tmp_path / "table8.json"
    path.write_text(Report("x", {}, measured).to_json())
    done = invoke("compare", "--from", path)
    assert done.exit_code == 0
    (line,) = [line for line in done.stdout.splitlines() if "arch2" in line]
    assert "12.00x (12.00-12.00)" in line
    assert "15.2" in line


def test_compare_refuses_a_report_that_has_no_alexnet(saved) -> None:
    done = invoke("compare", "--from", saved)
    assert isinstance(done.exception, InputError)
    assert "alexnet" in str(done.exception)


@pytest.mark.slow
def test_compare_refuses_a_package_that_is_not_in_the_table(package, cache) -> None:
    done = invoke("compare", "--packages", package, "--size", "32x32")
    assert isinstance(done.exception, InputError)
    assert f"is {SMALL} at 32x32, which is not in this table" in str(done.exception)


@pytest.mark.slow
def test_bench_measures_ours_merged_and_not_beside_a_peer(cache, tmp_path) -> None:
    path = tmp_path / "bench.json"
    done = invoke(
        *("bench", SMALL, "--size", "32x32", "--peer", "onnx_runtime"),
        *("--threads", 1, "--rounds", 3, "--untuned", "--json", path),
    )
    assert done.exit_code == 0, done.exception
    report = json.loads(path.read_text())
    titles = [entry["title"] for entry in report["results"]]
    assert titles == ["ours", "ours, shuffle not merged", "ONNX Runtime"]
    assert all(entry["status"] == "measured" for entry in report["results"])
    assert all(len(entry["rounds"]) == 3 for entry in report["results"])
    assert report["environment"]["versions"]["torch"]
    assert "as fast as the best peer, ONNX Runtime" in done.stdout


@pytest.mark.slow
def test_bench_times_our_packages_on_a_board_over_rpc(cache, tmp_path) -> None:
    from tvm_shufflenet.boards import LOCAL, load_board
    from tvm_shufflenet.rpc.server import server
    from tvm_shufflenet.rpc.tracker import Address, tracker

    board = load_board(load_board(LOCAL).model)
    path = tmp_path / "bench.json"
    with tracker() as meeting:
        address = Address(*meeting.address)
        with server(key=board.rpc.key, tracker=address):
            done = invoke(
                *("bench", SMALL, "--size", "32x32", "--board", board.name, "--rounds", 2),
                *("--tracker", address, "--threads", 1, "--untuned", "--json", path),
            )
    assert done.exit_code == 0, done.exception
    report = json.loads(path.read_text())
    assert [entry["status"] for entry in report["results"]] == ["measured", "measured"]
    assert report["environment"]["board"] == board.name
    assert report["environment"]["cpu"]


@pytest.mark.slow
def test_compare_takes_packages_and_checks_them_against_pytorch(cache, tmp_path) -> None:
    from tvm_shufflenet.package.compile import CompileOptions, compile_model

    folders = []
    for name in table8.NETWORKS:
        options = CompileOptions(model=name, size=(64, 64), untuned=True)
        folders += ["--packages", compile_model(options, tmp_path / name)]
    done = invoke("compare", *folders, "--size", "64x64", "--rounds", 2, "--json")
    assert done.exit_code == 0, done.exception
    results = json.loads(done.stdout)["results"]
    assert [entry["network"] for entry in results] == list(table8.NETWORKS)
    assert all(entry["status"] == "measured" and entry["strict"] for entry in results)


@pytest.mark.slow
def test_a_package_with_other_weights_is_reported_as_wrong(cache, tmp_path) -> None:
    from tvm_shufflenet.benchmark.interleave import Plan
    from tvm_shufflenet.benchmark.measure import Entry, measure
    from tvm_shufflenet.package.compile import CompileOptions, compile_model

    options = CompileOptions(model=SMALL, size=(32, 32), seed=7, untuned=True)
    other = compile_model(options, tmp_path / "other")
    entry = Entry("ours", "ours", export.export(SMALL, 32, 32, seed=0), 1, other)
    (found,) = measure([entry], Plan(rounds=1))
    assert found.status == "wrong"
    assert "differs from PyTorch" in found.detail


@pytest.mark.slow
def test_profile_lists_kernels_that_add_up_to_the_networks_multiply_adds(package) -> None:
    from tvm_shufflenet import models

    # In a process of its own: this one may have loaded TVM without its compiler.
    code = "from tvm_shufflenet.cli import main; main()"
    command = [sys.executable, "-c", code, "profile", str(package), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    found = json.loads(done.stdout)
    counted = sum(kernel["multiply_adds"] for kernel in found["kernels"])
    wanted = models.multiply_adds(SMALL, (32, 32))
    assert wanted <= counted <= 2 * wanted  # blocks padded with zeros are executed too
    assert found["peaks"]["gflops"] > 1
    assert all(read["gb_s"] > 0 for read in found["peaks"]["reads"])
    assert all(kernel["microseconds"] > 0 for kernel in found["kernels"])


def test_the_help_needs_neither_tvm_nor_torch_nor_rich() -> None:
    code = (
        "import sys, tvm_shufflenet.cli\n"
        "print([name for name in ('tvm', 'torch', 'rich', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
