"""The emulated board as users meet it: start, check, tune with both tuners, verify, stop."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.arm.conftest import BOARD, NETWORK, run_cli
from tvm_shufflenet import linking, models
from tvm_shufflenet.boards import load_board
from tvm_shufflenet.cli.tune import network_of
from tvm_shufflenet.emulator import board as emulated
from tvm_shufflenet.emulator.counting import count_instructions
from tvm_shufflenet.errors import BoardError
from tvm_shufflenet.rpc import session, started
from tvm_shufflenet.rpc.tracker import Address
from tvm_shufflenet.tuning.calls import Calls
from tvm_shufflenet.tuning.pool import Pool

pytestmark = pytest.mark.slow
_LENGTH = 32768  # floats: so many that where buffers lie hardly changes what misses cost


def test_the_doctor_finds_a_started_board_whole(tracker: Address) -> None:
    checked = run_cli("boards", "--check", BOARD, "--tracker", str(tracker), "--json")
    assert checked.returncode == 0, checked.stderr
    links = json.loads(checked.stdout)["links"]
    assert [row["state"] for row in links] == ["good"] * len(links)
    assert {"tracker", "key", "server", "TVM", "CPU", "kernel"} <= {row["link"] for row in links}


def test_the_list_says_that_it_runs(tracker: Address) -> None:
    rows = json.loads(run_cli("boards", "--json").stdout)
    assert [row["name"] for row in rows if row["running"]] == [BOARD]


def test_it_is_not_started_twice(tracker: Address) -> None:
    again = run_cli("boards", "--start", BOARD, "--tracker", str(tracker))
    assert again.returncode == 3
    assert "runs already" in again.stderr


def test_the_evaluator_returns_instructions_that_repeat(tracker: Address, tmp_path: Path) -> None:
    cheap, again, dear = (_cost_of(tracker, tmp_path, factors) for factors in (1, 1, 8))
    vectors = _LENGTH / 4
    # Load, multiply, store and the loop: a handful of instructions a vector, and few misses.
    assert 3 * vectors <= cheap <= 12 * vectors
    assert again == pytest.approx(cheap, rel=0.05)  # buffers lie elsewhere, so misses differ
    assert dear > cheap + 5 * vectors


def _cost_of(tracker: Address, folder: Path, factors: int) -> float:
    """Return what the board says that a kernel of `factors` multiplications an element costs."""
    import tvm
    from tvm import te

    board = load_board(BOARD)
    source = te.placeholder((_LENGTH,), name="source")

    def product(i: object) -> object:
        value = source[i]
        for _ in range(factors):
            value = value * source[i]
        return value

    result = te.compute((_LENGTH,), product, name="result")
    schedule = te.create_schedule(result.op)
    _, inner = schedule[result].split(result.op.axis[0], factor=4)
    schedule[result].vectorize(inner)
    name = f"kernel{len(list(folder.iterdir()))}.so"
    built = tvm.build(schedule, [source, result], target=board.target(), name="kernel")
    built.export_library(str(folder / name), fcompile=linking.linker(board))
    link = session.Link(address=tracker, key=board.rpc.key)
    remote = session.connect(link, timeout_s=120)
    remote.upload(str(folder / name))
    device = remote.cpu()
    arrays = [tvm.nd.array(np.ones(_LENGTH, "float32"), device) for _ in range(2)]
    evaluator = remote.load_module(name).time_evaluator("kernel", device, number=3, repeat=2)
    first, second = evaluator(*arrays).results
    assert first == second
    return float(first * 1e9)


@pytest.mark.parametrize("tuner", ["autotvm", "ansor"])
def test_a_few_trials_of_a_tuner_make_a_package_that_is_right(
    tuner: str, tracker: Address, tmp_path: Path
) -> None:
    log = tmp_path / f"{tuner}.json"
    tuned = run_cli(
        *("tune", NETWORK, "--board", BOARD, "--tuner", tuner, "--trials", "8"),
        *("--tracker", str(tracker), "--log", str(log), "--quiet"),
    )
    assert tuned.returncode == 0, tuned.stderr[-2000:]
    assert log.stat().st_size > 0
    package = tmp_path / "package"
    compiled = run_cli("compile", NETWORK, "--board", BOARD, "--log", str(log), "-o", str(package))
    assert compiled.returncode == 0, compiled.stderr[-2000:]
    image = np.random.default_rng(1).standard_normal((1, 3, 224, 224)).astype(np.float32)
    counts = count_instructions(package / "model.so", image.shape, input_array=image)
    with torch.inference_mode():
        expected = models.build(NETWORK)(torch.from_numpy(image)).numpy()
    scale = np.abs(expected).max()
    np.testing.assert_allclose(counts.output, expected, rtol=1e-4, atol=1e-5 * scale)


def test_kernels_are_timed_inside_their_network(tracker: Address, tmp_path: Path) -> None:
    """With Arm's runtime; what QEMU takes for them means nothing."""
    network = network_of(NETWORK, BOARD, (64, 64))
    assert network.build is not None
    library = tmp_path / "network.so"
    network.build(None, library)
    link = session.Link(address=tracker, key=network.board.rpc.key)
    with Pool(1) as pool:
        first, second = Calls(network.board, link, 1, pool).kernel_times(library, library)
    assert first.names == second.names
    assert "image_convolution" in first.names[0]
    assert all(seconds > 0 for seconds in (*first.seconds, *second.seconds))


def test_a_board_that_died_is_named_and_can_be_started_again(state: Path, tracker: Address) -> None:
    other = "qemu-cortex-a53"
    begun = run_cli("boards", "--start", other, "--tracker", str(tracker), "--json")
    assert begun.returncode == 0, begun.stderr
    running = started.find(other)
    assert running is not None
    running.processes[-1].end()
    checked = run_cli("boards", "--check", other, "--tracker", str(tracker))
    assert checked.returncode == 4
    assert "the server of qemu-cortex-a53 ended" in checked.stderr
    again = run_cli("boards", "--start", other, "--tracker", str(tracker))
    assert again.returncode == 0, again.stderr
    assert run_cli("boards", "--stop", other).returncode == 0
    assert not running.processes[-1].alive


def test_a_wrong_key_is_named_with_its_remedy(tracker: Address, tmp_path: Path) -> None:
    text = Path(__file__).parents[2].joinpath("targets", f"{BOARD}.toml").read_text("utf-8")
    file = tmp_path / "other.toml"
    file.write_text(text.replace(f'key = "{BOARD}"', 'key = "no-such-key"'), encoding="utf-8")
    checked = run_cli("boards", "--check", str(file), "--tracker", str(tracker))
    assert checked.returncode == 4
    assert "no server registered as 'no-such-key'" in checked.stderr


def test_a_real_board_is_not_emulated() -> None:
    with pytest.raises(BoardError, match="rpi4b is a real board"):
        emulated.server(load_board("rpi4b"))
