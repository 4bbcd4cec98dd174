"""Board files: what is accepted, what is refused and how, and that the docs name every field."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from tvm_shufflenet import boards
from tvm_shufflenet.boards import Board, Cpu, Machine, Measure, Rpc, Run, load_board, parse_board
from tvm_shufflenet.errors import BoardError

REPOSITORY = Path(__file__).parents[2]
SHIPPED = [name for name in boards.board_names() if name != boards.LOCAL]
GOOD = (REPOSITORY / "targets" / "rpi4b.toml").read_text(encoding="utf-8")


@pytest.fixture
def own_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the files that a test loads by path."""
    monkeypatch.setenv(boards.FILES_VARIABLE, "")


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_file_describes_the_board_it_is_named_after(name: str) -> None:
    board = load_board(name)
    assert board.name == name
    assert f"-model={board.model}" in board.target_string()
    assert board.run.threads <= board.cpu.cores
    assert all(core < 16 for core in board.run.core_mask)


def test_the_boards_of_the_issue_are_there() -> None:
    wanted = "rpi3b rpi4b rpi5 rk3399-big rk3399-little rk3568 rk3588-big rk3588-little"
    wanted += " jetson-nano jetson-orin graviton2 graviton3 generic-aarch64 armv7-neon"
    assert set(wanted.split()) | {"qemu-cortex-a72", "qemu-cortex-a53"} <= set(SHIPPED)


def test_boards_that_share_a_model_have_the_same_core() -> None:
    machines: dict[str, Machine] = {}
    for name in SHIPPED:
        board = load_board(name)
        assert machines.setdefault(board.model, board.machine) == board.machine


@pytest.mark.parametrize("name", [name for name in SHIPPED if not name.startswith("x86")])
def test_arm_boards_select_arm_schedules(name: str) -> None:
    assert "-device=arm_cpu" in load_board(name).target_string()


def test_only_emulated_boards_count_instructions() -> None:
    counting = {name for name in SHIPPED if load_board(name).measure.unit == "instructions"}
    assert counting == {"qemu-cortex-a72", "qemu-cortex-a53"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "rpi4b"', 'nam = "rpi4b"', "did you mean 'name'"),
        ("cores = 4", 'cores = "4"', "cpu.cores must be int"),
        ("cores = 4", "cores = true", "cpu.cores must be int"),
        ("cores = 4", "cores = -4", "cpu.cores must be int"),
        ("cores = 4", "cores = 0", "cpu.cores must be at least 1"),
        ('arch = "aarch64"', 'arch = "arm64"', "cpu.arch must be one of"),
        ('arch = "aarch64"\n', "", "cpu lacks 'arch'"),
        ("[rpc]", "[rcp]", "did you mean 'rpc'"),
        ('[rpc]\nkey = "rpi4b"', "", "lacks 'rpc'"),
        ("vector_bits = 128", "vector_bits = 100", "machine.vector_bits must be"),
        ('features = ["+neon"]', 'features = ["neon"]', "cpu.features must each begin"),
        ('features = ["+neon"]', "features = [1]", "cpu.features must be"),
        ('features = ["+neon"]', 'features = ["+a -mcpu=x"]', "cpu.features must each begin"),
        ('model = "bcm2711"', 'model = "../other"', "model must be letters"),
        ('model = "bcm2711"', 'model = "a -mcpu=generic"', "model must be letters"),
        ("threads = 4", "threads = 0", "run.threads must be at least 1"),
        ("threads = 4", "threads = 4\ncore_mask = [1, 1]", "run.core_mask repeats"),
        ("[run]", '[measure]\nunit = "cycles"\n[run]', "measure.unit must be one of"),
        ("[run]", '[measure]\nunit = "instructions"\n[run]', "only there"),
        ("schema = 1", "schema = 2", "'schema' must be 1"),
        ("schema = 1", "schema = ", "is not valid TOML"),
        ("[cpu]", "cpu = 3\n[cup]", "cpu must be a table"),
    ],
)
def test_a_wrong_field_is_named_with_its_file(old: str, new: str, said: str) -> None:
    assert old in GOOD
    with pytest.raises(BoardError, match=re.escape(said)) as caught:
        parse_board(GOOD.replace(old, new), "mine.toml")
    assert str(caught.value).startswith("mine.toml")


def test_an_unknown_board_gets_the_nearest_name() -> None:
    with pytest.raises(BoardError, match="did you mean 'rpi4b'"):
        load_board("rpi4")


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BoardError, match="No such file"):
        load_board(str(tmp_path / "none.toml"))


def test_a_file_of_bytes_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "binary.toml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BoardError, match="no UTF-8 text"):
        load_board(str(file))


@pytest.mark.usefixtures("own_files")
def test_a_copied_file_makes_a_board_that_templates_find_by_its_model(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    text = GOOD.replace('"rpi4b"', '"mine"').replace("bcm2711", "my-soc")
    file.write_text(text.replace("l2_kib = 1024", "l2_kib = 2048"), encoding="utf-8")
    assert load_board(str(file)).name == "mine"
    assert boards.machine_of_model("my-soc").l2_kib == 2048


@pytest.mark.usefixtures("own_files")
def test_a_copied_file_may_not_share_a_model_with_another_core(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(GOOD.replace("l2_kib = 1024", "l2_kib = 2048"), encoding="utf-8")
    with pytest.raises(BoardError, match="a model of its own"):
        load_board(str(file))


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(BoardError, match="no board in targets/ has model 'toaster'"):
        boards.machine_of_model("toaster")


def test_the_docs_explain_every_field_once() -> None:
    text = (REPOSITORY / "docs" / "boards.md").read_text(encoding="utf-8")
    sections = {"cpu": Cpu, "machine": Machine, "rpc": Rpc, "measure": Measure, "run": Run}
    names = [f"{table}.{field.name}" for table, kind in sections.items()
             for field in dataclasses.fields(kind)]  # fmt: skip
    names += [field.name for field in dataclasses.fields(Board) if field.name not in sections]
    for name in ["schema", *names]:
        assert text.count(f"| `{name}` |") == 1, name
