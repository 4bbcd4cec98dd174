"""A package for the emulated board, the guest it runs in, and a started board, once a session."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tvm_shufflenet.emulator.system import Guest, guest
from tvm_shufflenet.package.compile import CompileOptions, compile_model
from tvm_shufflenet.rpc.started import FOLDER_VARIABLE
from tvm_shufflenet.rpc.tracker import Address
from tvm_shufflenet.rpc.wheel import write_wheel

BOARD = "qemu-cortex-a72"
NETWORK = "shufflenet_v1_g3_x0.25"
CLI = (sys.executable, "-c", "from tvm_shufflenet.cli import main; main()")


def run_cli(
    *arguments: str, environment: dict[str, str] | None = None, timeout_s: float = 600.0
) -> subprocess.CompletedProcess[str]:
    """Run ``tvm-shufflenet`` as a user does, in a process of its own."""
    return subprocess.run(
        [*CLI, *arguments],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def free_port() -> int:
    """Return a port of the loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network compiled for the emulated board, not to be altered."""
    folder = tmp_path_factory.mktemp("arm") / "package"
    return compile_model(CompileOptions(model=NETWORK, board=BOARD, untuned=True), folder)


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Guest:
    """A guest with what a board gets: our wheel installed by pip, numpy, Pillow, TVM's runtime."""
    folder = tmp_path_factory.mktemp("wheel")
    site = folder / "site"
    wheel = write_wheel(folder)
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site)]
    subprocess.run([*install, str(wheel)], check=True)
    system = guest("cortex-a72")
    return dataclasses.replace(system, search_path=(system.search_path[0], site))


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of state files of this module's own, for this process and those it starts."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER_VARIABLE, str(folder))
        yield folder


@pytest.fixture(scope="module")
def tracker(state: Path) -> Iterator[Address]:
    """The tracker that an emulated board is registered at; both were started by the CLI."""
    address = Address("127.0.0.1", free_port())
    begun = run_cli("boards", "--start", BOARD, "--tracker", str(address))
    assert begun.returncode == 0, begun.stderr
    yield address
    ended = run_cli("boards", "--stop", BOARD)
    assert ended.returncode == 0, ended.stderr
    assert not list(state.glob("*.json"))
