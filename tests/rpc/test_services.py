"""Trackers and servers as processes: they start, answer, and never outlive their owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import psutil
import pytest

from tvm_shufflenet.boards import load_board
from tvm_shufflenet.errors import BoardUnreachable, InputError, ToolchainError
from tvm_shufflenet.rpc import session
from tvm_shufflenet.rpc.processes import Service
from tvm_shufflenet.rpc.server import server
from tvm_shufflenet.rpc.session import Link
from tvm_shufflenet.rpc.tracker import Address, ask, tracker

_OWNER = """
import os, signal, sys, time
from tvm_shufflenet.rpc.server import server
from tvm_shufflenet.rpc.tracker import Address, tracker
desk = tracker().start()
service = server(key="k", tracker=Address(*desk.address)).start()
print(desk.pid, service.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_services_end_with_their_owner_however_it_ends(sign: signal.Signals) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert owner.stdout is not None
    services = [psutil.Process(int(pid)) for pid in owner.stdout.readline().split()]
    assert len(services) == 2
    os.kill(owner.pid, sign)
    owner.wait()
    _, alive = psutil.wait_procs(services, timeout=10)
    assert not alive


def test_a_session_runs_on_the_server_and_says_what_machine_it_is() -> None:
    with tracker() as desk, server(key="k", tracker=Address(*desk.address)):
        link = Link(address=Address(*desk.address), key="k")
        assert session.wait_for(link, 30) == 1
        connection = session.connect(link, timeout_s=30)
        session.set_threads(connection, 1, (0,))
        facts = session.describe(connection)
        session.check_version(facts, link)
        assert facts["cores"] == os.cpu_count()
        with pytest.raises(ToolchainError, match=r"runs TVM 0\.1"):
            session.check_version({**facts, "tvm": "0.1"}, link)


def test_a_key_that_never_registers_is_reported_with_those_that_did() -> None:
    with tracker() as desk, server(key="rpi4b", tracker=Address(*desk.address)):
        session.wait_for(Link(address=Address(*desk.address), key="rpi4b"), 30)
        began = time.monotonic()
        with pytest.raises(BoardUnreachable, match="it has: rpi4b") as caught:
            session.wait_for(Link(address=Address(*desk.address), key="rpi5"), 0.5)
        assert time.monotonic() - began < 5
        assert caught.value.exit_code == 4


def test_a_missing_tracker_is_reported_at_once() -> None:
    link = Link(address=Address("127.0.0.1", 1), key="k")
    began = time.monotonic()
    with pytest.raises(BoardUnreachable, match=r"no tracker answers at 127\.0\.0\.1:1"):
        ask(link.address)
    with pytest.raises(BoardUnreachable, match="no tracker answers"):
        session.connect(link, timeout_s=5)
    assert time.monotonic() - began < 10


def test_what_is_not_a_tracker_is_not_taken_for_one() -> None:
    with (
        server(key="k") as service,
        pytest.raises(BoardUnreachable, match="tracker"),
    ):
        ask(Address(*service.address), timeout_s=2)


def test_a_server_goes_on_after_a_client_that_broke_off() -> None:
    with server(key="k") as service:
        link = Link(address=Address(*service.address), key="k", direct=True)
        first = session.connect(link, timeout_s=30)
        assert first.get_function("runtime.NumThreads")() > 0
        del first
        assert session.describe(session.connect(link, timeout_s=30))["tvm"]


def test_a_service_that_cannot_start_says_so() -> None:
    with pytest.raises(BoardUnreachable, match="did not start"):
        Service("tvm_shufflenet.rpc.tracker", ["--port", "70000"]).start(30)


def test_listening_on_every_address_is_warned_about() -> None:
    command = [sys.executable, "-m", "tvm_shufflenet.rpc.tracker", "--host", "0.0.0.0"]
    process = subprocess.Popen(
        [*command, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        assert process.stdout.readline().startswith("ready")
        assert "no authentication" in process.stderr.readline()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("rpi4b", ("rpi4b", 9190)),
        ("localhost:80", ("127.0.0.1", 80)),
        ("[::1]:9191", ("::1", 9191)),
    ],
)
def test_an_address_is_a_host_and_maybe_a_port(text: str, address: tuple[str, int]) -> None:
    assert Address.parse(text) == address


@pytest.mark.parametrize("text", ["", "a b", "host:", "host:0", "host:70000", "a:b:c"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="HOST:PORT"):
        Address.parse(text)


def test_a_board_is_looked_for_where_it_was_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    from tvm_shufflenet.rpc import started

    monkeypatch.setenv(started.FOLDER_VARIABLE, str(tmp_path))
    board = load_board("rpi4b")
    assert session.link_to(board).address == ("127.0.0.1", 9190)
    started.remember(started.Started(board="rpi4b", key="rpi4b", tracker="127.0.0.1:9777"))
    assert session.link_to(board).address == ("127.0.0.1", 9777)
    assert session.link_to(board, tracker="desk:1").address == ("desk", 1)
    direct = session.link_to(replace(board), host="rpi4b.local", key="mine")
    assert (direct.address, direct.key, direct.direct) == (("rpi4b.local", 9090), "mine", True)
