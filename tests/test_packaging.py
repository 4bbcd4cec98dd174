"""The wheel in an environment that has what a board has, and what the lock file promises."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from runtime.packages import build_network, make_package

ROOT = Path(__file__).parents[1]
CAT = ROOT / "tests" / "data" / "cat.jpg"
SOURCES = ("tvm_shufflenet", "schedules", "targets", "tuning_logs")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKED = {
    re.sub(r"[-_.]+", "-", name).lower(): version
    for name, version in (
        line.split("==")
        for line in (ROOT / "requirements.lock").read_text().splitlines()
        if not line.startswith("#")
    )
}
HELP_LIMIT_S = 0.3


def _name(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[<>=!~;\[ ]", requirement)[0]).lower()


def _with_dependencies(requirements: list[str]) -> set[str]:
    """Names of distributions, and of all they need without extras."""
    found: set[str] = set()
    open_ones = [_name(requirement) for requirement in requirements]
    while open_ones:
        name = open_ones.pop()
        if name in found:
            continue
        found.add(name)
        needed = importlib.metadata.requires(name) or []
        open_ones += [_name(text) for text in needed if ";" not in text]
    return found


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # setuptools leaves build/ and *.egg-info behind
    source.mkdir()
    for name in SOURCES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", folder, source], check=True, timeout=120)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def device(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with our wheel and its base requirements, no more."""
    home = tmp_path_factory.mktemp("device")
    venv.create(home, with_pip=False, symlinks=True)
    (site,) = home.glob("lib/python*/site-packages")
    for name in _with_dependencies(PROJECT["dependencies"]):
        files = importlib.metadata.files(name) or []
        for top in {file.parts[0] for file in files if file.parts[0] not in ("..", "__pycache__")}:
            there = Path(str(importlib.metadata.distribution(name).locate_file(top)))
            if there.exists() and not (site / top).exists():
                (site / top).symlink_to(there)
    pip = [sys.executable, "-m", "pip", "--python", home / "bin" / "python", "install", "-qq"]
    subprocess.run([*pip, "--no-deps", "--no-index", wheel], check=True, timeout=120)
    return home / "bin"


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("network")
    return make_package(build_network(folder, (1,)), folder / "net.pkg")


def _run(program: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run away from the checkout, with nothing of it on the path."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [program, *map(str, arguments)],
        cwd=program.parent,
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_lock_pins_all_that_is_required() -> None:
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    for requirement in [text for group in groups for text in group]:
        assert _name(requirement) in LOCKED
        if "==" in requirement:
            assert LOCKED[_name(requirement)] == requirement.split("==")[1]


def test_the_lock_names_versions_and_nothing_of_any_machine() -> None:
    for name, version in LOCKED.items():
        assert re.fullmatch(r"[a-z0-9-]+", name) and re.fullmatch(r"[0-9a-z.]+", version)


def test_help_is_instant_and_loads_neither_tvm_nor_torch() -> None:
    code = (
        "import sys\nfrom tvm_shufflenet.cli import cli\n"
        "cli.main(['--help'], standalone_mode=False)\n"
        "assert not {'tvm', 'torch', 'numpy', 'rich'} & sys.modules.keys()\n"
    )
    taken = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = _run(Path(sys.executable), "-c", code)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert (done.returncode, done.stderr) == (0, "") and "compile" in done.stdout
        # CPU time, since other programs do not change it.
        taken.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    assert min(taken) < HELP_LIMIT_S


def test_a_tvm_without_relay_is_named_with_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "tvm").mkdir()
    (tmp_path / "tvm" / "__init__.py").write_text("__version__ = '0.25.0'\n")
    program = Path(sys.executable).with_name("tvm-shufflenet")
    done = _run(program, "boards", "--check", "local", PYTHONPATH=str(tmp_path))
    assert done.returncode == 3 and len(done.stderr.splitlines()) == 1
    assert "tvm 0.25.0 that is installed has no Relay" in done.stderr
    assert 'pip install "tvm-shufflenet[host]"' in done.stderr


@pytest.mark.slow
def test_the_wheel_holds_boards_sources_and_types_under_one_name(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"tvm_shufflenet"}
    packed = {name.removeprefix("tvm_shufflenet/") for name in names}
    for folder, where in {
        "tvm_shufflenet": "",
        **{name: f"{name}/" for name in SOURCES[1:]},
    }.items():
        files = [path for path in (ROOT / folder).rglob("*") if path.is_file()]
        kept = [path for path in files if path.suffix not in (".pyc", ".md")]
        assert {where + path.relative_to(ROOT / folder).as_posix() for path in kept} <= packed
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_a_device_runs_and_inspects_packages(device: Path, package: Path) -> None:
    program = device / "tvm-shufflenet"
    done = _run(program, "run", package, CAT, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)["images"][0]["top"]) == 5
    done = _run(program, "inspect", package)
    assert (done.returncode, done.stderr) == (0, "") and "test_network" in done.stdout


@pytest.mark.slow
def test_a_device_loads_neither_torch_nor_llvm(device: Path, package: Path) -> None:
    code = (
        "import sys\nfrom tvm_shufflenet.runtime import Model\n"
        f"Model.load({str(package)!r}).close()\n"
        "maps = open('/proc/self/maps').read()\n"
        "assert 'libtvm_runtime' in maps and 'libLLVM' not in maps and 'libtvm.so' not in maps\n"
        "assert not {'torch', 'onnx', 'rich', 'tvm.relay'} & sys.modules.keys()\n"
    )
    done = _run(device / "python", "-c", code)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["models"],
        ["boards", "--check", "local"],
        ["tasks", "alexnet"],
        ["tune", "alexnet"],
        ["compile", "alexnet", "-o", "never-written"],
        ["compare"],
        ["bench", "alexnet"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_device_is_told_what_the_host_commands_need(device: Path, arguments: list[str]) -> None:
    done = _run(device / "tvm-shufflenet", *arguments)
    assert done.returncode == 3 and len(done.stderr.splitlines()) == 1
    assert 'pip install "tvm-shufflenet[host]"' in done.stderr
