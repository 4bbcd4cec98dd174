"""Boards over SSH, against OpenSSH's server on loopback with keys that live as long as the test.

The "board" is this very machine, seen through a home folder of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.arm.conftest import free_port, run_cli
from tvm_shufflenet.boards import LOCAL, load_board
from tvm_shufflenet.errors import BoardError, BoardUnreachable, InputError
from tvm_shufflenet.rpc import ssh, started
from tvm_shufflenet.rpc.tracker import Address

pytestmark = pytest.mark.slow
HOST = "testboard"
CAT = str(Path(__file__).parents[1] / "data" / "cat.jpg")


@dataclass(frozen=True)
class Server:
    """A running sshd, and the file by which our client finds it."""

    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def home(self) -> Path:
        """The home folder of whoever logs in."""
        return self.folder / "home"

    @property
    def programs(self) -> Path:
        """A folder that comes first in the PATH of whoever logs in."""
        return self.folder / "programs"


def _key(file: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file)], check=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run OpenSSH's server on a high port of the loopback, for one key."""
    daemon = shutil.which("sshd") or "/usr/sbin/sshd"
    folder = tmp_path_factory.mktemp("ssh")
    for name in ("home", "programs"):
        (folder / name).mkdir()
    for name in ("host_key", "user_key"):
        _key(folder / name)
    port = free_port()
    path = f"{folder / 'programs'}:{os.environ['PATH']}"
    kept = [f"{name}={os.environ[name]}" for name in ("PIP_FIND_LINKS",) if name in os.environ]
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\n"
        f"AuthorizedKeysFile {folder}/user_key.pub\nStrictModes no\nUsePAM no\nPidFile none\n"
        f"PasswordAuthentication no\nSetEnv HOME={folder}/home PATH={path} {' '.join(kept)}\n"
    )
    (folder / "ssh_config").write_text(
        f"Host {HOST}\n  HostName 127.0.0.1\n  Port {port}\n  IdentityFile {folder}/user_key\n"
        f"  IdentitiesOnly yes\n  UserKnownHostsFile {folder}/known_hosts\n"
        "  StrictHostKeyChecking accept-new\n"
        f"Host nobody\n  HostName 127.0.0.1\n  Port {free_port()}\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)  # sshd run by root wants this empty folder
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [daemon, "-D", "-e", "-f", str(folder / "sshd_config")], stdout=log, stderr=log
        )
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(ssh.CONFIG_VARIABLE, str(folder / "ssh_config"))
            _wait_until_it_answers(folder)
            yield Server(folder, process)
    finally:
        process.terminate()
        process.wait()


def _wait_until_it_answers(folder: Path) -> None:
    for _ in range(100):
        try:
            ssh.run(HOST, "true")
        except BoardUnreachable:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"sshd does not answer: {(folder / 'log').read_text()[-500:]}")


@pytest.fixture(scope="module")
def board_name() -> str:
    """The shipped board that this machine is one of."""
    return load_board(LOCAL).model


@pytest.fixture(scope="module")
def tracker(server: Server, state: Path, board_name: str) -> Iterator[Address]:
    """Set the board up once; stop it at the end and look for what is left."""
    address = Address("127.0.0.1", free_port())
    done = run_cli(
        *("boards", "--setup", f"{os.environ.get('USER', 'root')}@{HOST}", "--as", board_name),
        *("--tracker", str(address)),
    )
    assert done.returncode == 0, done.stderr
    yield address
    ended = run_cli("boards", "--stop", board_name)
    assert ended.returncode == 0, ended.stderr
    assert _servers_on_the_board(server) == []
    assert not list(state.glob("*.json"))
    assert not list(server.home.rglob("*.pid"))


def _servers_on_the_board(server: Server) -> list[psutil.Process]:
    """Return the RPC servers that run for whoever logged in, their session processes included."""
    found = []
    for process in psutil.process_iter():
        try:
            home, command = process.environ().get("HOME"), process.cmdline()
        except psutil.Error:
            continue
        if home == str(server.home) and "tvm_shufflenet.rpc.server" in command:
            found.append(process)
    return found


def test_the_doctor_finds_a_board_over_ssh_whole(tracker: Address, board_name: str) -> None:
    checked = run_cli("boards", "--check", board_name, "--tracker", str(tracker))
    assert checked.returncode == 0, checked.stderr
    for link in ("SSH", "tracker", "key", "server", "TVM", "CPU", "kernel"):
        assert f" {link} " in checked.stdout


def test_nothing_listens_beyond_loopback(tracker: Address, server: Server) -> None:
    ours = _servers_on_the_board(server)
    assert ours
    files = list(started.state_folder().glob("*.json"))
    here = [one for file in files for one in started.find(file.stem).processes]
    listening = [
        connection.laddr.ip
        for process in [*ours, *(psutil.Process(one.pid) for one in here)]
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 3  # server, tunnel, tracker
    assert all(ip in ("127.0.0.1", "::1") for ip in listening)


def test_a_network_is_tuned_run_and_timed_over_ssh(
    tracker: Address, board_name: str, tmp_path: Path
) -> None:
    network = ("shufflenet_v1_g3_x0.25", "--size", "32x32")
    there = ("--board", board_name, "--tracker", str(tracker))
    log, package = str(tmp_path / "log.json"), str(tmp_path / "net.pkg")
    tuned = run_cli("tune", *network, *there, "--trials", "2", "--tasks", "t00", "--log", log)
    assert tuned.returncode == 0, tuned.stderr
    made = run_cli("compile", *network, "--board", board_name, "--log", log, "-o", package)
    assert made.returncode == 0, made.stderr
    ran = run_cli("run", package, CAT, *there, "--json")
    assert ran.returncode == 0, ran.stderr
    here = run_cli("run", package, CAT, "--json")
    assert json.loads(ran.stdout)["images"] == json.loads(here.stdout)["images"]
    timed = run_cli("bench", *network, *there, "--rounds", "1", "--threads", "1", "--untuned")
    assert timed.returncode == 0, timed.stderr
    assert "ours takes" in timed.stdout


def test_setting_up_again_installs_nothing_anew(
    tracker: Address, server: Server, board_name: str
) -> None:
    python = server.home / ssh.FOLDER / "venv/bin/python"
    before = python.lstat().st_mtime_ns
    done = run_cli("boards", "--setup", HOST, "--as", board_name, "--tracker", str(tracker))
    assert done.returncode == 0, done.stderr
    assert python.lstat().st_mtime_ns == before
    assert len(_servers_on_the_board(server)) == 1


def test_a_lost_connection_is_named_and_start_brings_the_board_back(
    tracker: Address, server: Server, board_name: str
) -> None:
    running = started.find(board_name)
    assert running is not None
    tunnel = next(one for one in running.processes if one.role == "tunnel")
    os.kill(tunnel.pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while _servers_on_the_board(server) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert _servers_on_the_board(server) == []  # it ended with its connection
    checked = run_cli("boards", "--check", board_name, "--tracker", str(tracker))
    assert checked.returncode == 4
    assert f"the tunnel of {board_name} ended" in checked.stderr
    again = run_cli("boards", "--start", board_name, "--tracker", str(tracker))
    assert again.returncode == 0, again.stderr
    checked = run_cli("boards", "--check", board_name, "--tracker", str(tracker))
    assert checked.returncode == 0, checked.stderr


def test_nobody_at_the_address_is_exit_code_4_with_the_remedy(server: Server) -> None:
    done = run_cli("boards", "--setup", "nobody", "--as", "rpi4b")
    assert done.returncode == 4
    assert "cannot reach nobody by SSH" in done.stderr
    assert "ssh-copy-id" in done.stderr


def test_a_board_of_another_architecture_is_refused(server: Server) -> None:
    done = run_cli("boards", "--setup", HOST, "--as", "rpi4b")
    assert done.returncode == 3
    assert "is x86-64, but rpi4b is aarch64" in done.stderr


def _pretend(server: Server, name: str, script: str) -> Path:
    """Put a program before the real one on the board's PATH."""
    program = server.programs / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


def test_a_board_whose_disk_is_full_is_refused(server: Server, board_name: str) -> None:
    line = "/dev/root 30000000 29990000 10000 100% /"
    program = _pretend(
        server, "df", f'echo "Filesystem 1K Used Available Use% Mounted"; echo "{line}"'
    )
    try:
        with pytest.raises(BoardError, match=r"9 MiB free on disk, but setting up takes 1024 MiB"):
            ssh.check_fit(ssh.probe(HOST), load_board(board_name), HOST)
    finally:
        program.unlink()


def test_a_disk_that_fills_up_on_the_way_is_named(server: Server) -> None:
    script = "echo 'tar: x: Cannot write: No space left on device' >&2; echo failed >&2; exit 1"
    with pytest.raises(BoardError, match=r"No space left on device: free some space there"):
        ssh.run(HOST, script)


@pytest.mark.parametrize(
    ("script", "found"), [("exit 1", "none"), ("echo 3.9", "3.9, 3.9, 3.9, 3.9")]
)
def test_a_board_without_a_new_enough_python_is_refused(
    script: str, found: str, server: Server, board_name: str
) -> None:
    programs = [_pretend(server, name, script) for name in ssh.PYTHONS]
    try:
        with pytest.raises(BoardError, match=rf"no Python 3\.11 or later \(found: {found}\)"):
            ssh.check_fit(ssh.probe(HOST), load_board(board_name), HOST)
    finally:
        for program in programs:
            program.unlink()


def test_a_32_bit_system_on_a_64_bit_core_is_armv7(server: Server) -> None:
    programs = [
        _pretend(server, "uname", "echo aarch64"),
        _pretend(server, "getconf", '[ "$1" = LONG_BIT ] && echo 32 || echo glibc 2.36'),
    ]
    try:
        found = ssh.probe(HOST)
    finally:
        for program in programs:
            program.unlink()
    assert found.arch == "armv7"
    with pytest.raises(BoardError, match="is armv7, but rpi4b is aarch64"):
        ssh.check_fit(found, load_board("rpi4b"), HOST)


@pytest.mark.parametrize("host", ["-oProxyCommand=reboot", "", "a b", "@host", "user@", "user@-x"])
def test_what_is_no_host_never_reaches_ssh(host: str) -> None:
    with pytest.raises(InputError, match="is not USER@HOST"):
        ssh.check_host(host)


def test_without_ssh_the_remedy_is_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(InputError, match="apt install openssh-client"):
        ssh.run(HOST, "true")


def test_stop_and_start_of_a_board_that_never_was_say_so(state: Path) -> None:
    assert run_cli("boards", "--stop", "rpi4b").returncode == 3
    begun = run_cli("boards", "--start", "rpi4b")
    assert begun.returncode == 3
    assert "was not set up from here" in begun.stderr
