"""Boards over SSH: install the runtime there, run its server on loopback, reach it by a tunnel.

The system's OpenSSH client is used with the user's own configuration and keys; it never asks for
a password here. Nothing listens on an address that other machines reach: the board's server and
both ends of the tunnel are bound to loopback.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tvm_shufflenet.boards import Board
from tvm_shufflenet.errors import BoardError, BoardUnreachable, InputError, ToolchainError

CONFIG_VARIABLE = "TVM_SHUFFLENET_SSH_CONFIG"  # environment: an OpenSSH client file, for ssh -F
FOLDER = ".local/share/tvm-shufflenet"  # on the board, in the home folder
_CONNECT_LIMIT_S = 15
_SSH_FAILED = 255  # OpenSSH's own exit code when the connection failed
_NEEDED_KIB = 1 << 20  # the environment takes about 0.5 GB, and pip as much while it installs
PYTHONS = ("python3.11", "python3.12", "python3.13", "python3")
_OLDEST_PYTHON = (3, 11)
_OLDEST_GLIBC = (2, 28)
_PROBE = f"""\
echo arch=$(uname -m)
echo bits=$(getconf LONG_BIT)
echo glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null | sed 's/.* //')
echo free_kib=$(df -Pk "$HOME" | awk 'NR==2 {{print $4}}')
for python in {" ".join(PYTHONS)}; do
  command -v $python >/dev/null 2>&1 || continue
  version=$($python -c 'import sys; print("%d.%d" % sys.version_info[:2])') || continue
  echo python=$python:$version
done
"""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What a machine said about itself over SSH."""

    arch: str  # of a 64-bit or 32-bit user land: "aarch64", "armv7" or "x86-64"
    glibc: tuple[int, ...]
    free_kib: int  # in the home folder's file system
    python: str  # first interpreter that is new enough; empty if there is none
    found_pythons: str  # all that there are, for messages

    @property
    def summary(self) -> str:
        """One line for the doctor."""
        return f"{self.arch}, {self.python or 'no Python'}, {self.free_kib >> 10} MiB free on disk"


def client(*options: str) -> list[str]:
    """Return the command of the OpenSSH client, without a host.

    Raises:
        ToolchainError: if it is not installed.
    """
    path = shutil.which("ssh")
    if path is None:
        raise ToolchainError("the OpenSSH client is not installed: apt install openssh-client")
    config = os.environ.get(CONFIG_VARIABLE)
    chosen = ["-F", config] if config else []
    limits = ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={_CONNECT_LIMIT_S}"]
    return [path, *chosen, *limits, *options]


def check_host(host: str) -> None:
    """Refuse what is no ``[user@]host``.

    Raises:
        InputError: also for what ssh would take as an option.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][^\s@]*(@[A-Za-z0-9_.\[][^\s@]*)?", host):
        raise InputError(f"{host!r} is not USER@HOST, nor a host of your SSH configuration")


def run(host: str, script: str, *, timeout_s: float = 60.0, send: Path | None = None) -> str:
    """Run a shell `script` on `host`, with the file `send` on its standard input; return stdout.

    Raises:
        BoardUnreachable: if the connection fails or the script takes longer than `timeout_s`.
        BoardError: if the script fails there.
    """
    check_host(host)
    command = [*client(), "-T", host, f"sh -c {shlex.quote(script)}"]
    try:
        data = send.read_bytes() if send else b""
        done = subprocess.run(
            command, input=data, capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise BoardUnreachable(
            f"{host} did not finish within {timeout_s:g} s; is it overloaded, or offline?"
        ) from None
    errors = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"]
    if done.returncode == _SSH_FAILED:
        raise BoardUnreachable(
            f"cannot reach {host} by SSH: {errors[-1]}; 'ssh {host} true' must work without a "
            "password (ssh-copy-id installs your key)"
        )
    if done.returncode:
        raise BoardError(f"a step on {host} failed: {_telling(errors)}")
    return done.stdout.decode("utf-8", "replace")


def _telling(errors: list[str]) -> str:
    """Return the line that says most: a full disk hides behind what failed because of it."""
    full = [line for line in errors if "No space left" in line]
    return f"{full[0].strip()}: free some space there" if full else errors[-1][:300]


def probe(host: str) -> Probe:
    """Ask `host` what it is.

    Raises:
        BoardUnreachable: if it cannot be reached.
        BoardError: if its shell cannot answer.
    """
    answers: dict[str, list[str]] = {}
    for line in run(host, _PROBE).splitlines():
        name, separator, value = line.partition("=")
        if separator:
            answers.setdefault(name, []).append(value)
    pythons = [entry.split(":", 1) for entry in answers.get("python", []) if ":" in entry]
    new = [name for name, version in pythons if _version(version) >= _OLDEST_PYTHON]
    machine, bits = _first(answers, "arch"), _first(answers, "bits")
    arch = {"x86_64": "x86-64"}.get(machine, machine)
    if bits == "32":
        arch = "armv7"
    free = _first(answers, "free_kib")
    return Probe(
        arch=arch,
        glibc=_version(_first(answers, "glibc")),
        free_kib=int(free) if free.isdigit() else 0,
        python=new[0] if new else "",
        found_pythons=", ".join(version for _, version in pythons) or "none",
    )


def check_fit(found: Probe, board: Board, host: str) -> None:
    """Refuse a machine on which the runtime cannot be installed.

    Raises:
        BoardError: naming what it lacks and the remedy.
    """
    if board.compile_only:
        raise BoardError(f"{board.name} is for compiling only; set up a 64-bit board")
    if found.arch != board.cpu.arch:
        raise BoardError(
            f"{host} is {found.arch}, but {board.name} is {board.cpu.arch}; give --as another board"
        )
    if not found.python:
        raise BoardError(
            f"{host} has no Python 3.11 or later (found: {found.found_pythons}); install one there"
        )
    if found.glibc < _OLDEST_GLIBC:
        dotted = ".".join(map(str, found.glibc)) or "of another kind"
        raise BoardError(f"the C library of {host} is {dotted}; glibc 2.28 or later is needed")
    if found.free_kib < _NEEDED_KIB:
        raise BoardError(
            f"{host} has {found.free_kib >> 10} MiB free on disk, but setting up takes "
            f"{_NEEDED_KIB >> 10} MiB; free some space there"
        )


def _first(answers: dict[str, list[str]], name: str) -> str:
    return answers.get(name, [""])[0].strip()


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])
