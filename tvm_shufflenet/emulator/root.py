"""An arm64 Debian 12 with Python 3.11, and aarch64 wheels, without root rights.

apt works on folders of its own here: it takes the host's sources and signing keys, but the
host's package database is neither read nor changed, and nothing is installed.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tvm_shufflenet.emulator.cache import digest, prepared
from tvm_shufflenet.errors import ToolchainError

PYTHON = "usr/bin/python3.11"  # in the root
TVM_WHEEL = "xtc-tvm-python-bindings==0.19.0.12"
# What a board installs: the runtime's own dependencies, pinned so that counts can be repeated.
RUNTIME_WHEELS = ("numpy==2.4.6", "Pillow==13.0.0", "click==8.5.1", TVM_WHEEL)
_PACKAGES = (
    "libc6",
    "libstdc++6",
    "libgcc-s1",
    "libgomp1",
    "zlib1g",
    "libbz2-1.0",
    "liblzma5",
    "libffi8",
    "libssl3",
    "libsqlite3-0",
    "libuuid1",
    "libncursesw6",
    "libtinfo6",
    "libreadline8",
    "libexpat1",
    "libdb5.3",
    "libzstd1",
    "media-types",
    "python3.11",
    "python3.11-minimal",
    "libpython3.11-stdlib",
    "libpython3.11-minimal",
)
_PLATFORMS = ("manylinux2014", *(f"manylinux_2_{minor}" for minor in (17, 24, 26, 27, 28)))
_APT = """\
Dir::State::lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
APT::Architecture "arm64";
APT::Architectures {{ "arm64"; }};
APT::Sandbox::User "{user}";
Acquire::Languages "none";
Acquire::Retries "3";
"""
_LIMIT_S = 1200.0  # for one apt or pip run on a slow line

Report = Callable[[str], None]


def arm_root(report: Report) -> Path:
    """Return the root folder of an arm64 Debian 12, downloading 13 MB of packages first if needed.

    Raises:
        ToolchainError: if the host cannot provide them.
    """

    def make(folder: Path) -> None:
        report("downloading an arm64 Debian 12 with Python 3.11 (13 MB)")
        _require_debian_12()
        apt = folder / "apt"
        for name in ("lists/partial", "cache/archives/partial", "packages"):
            (apt / name).mkdir(parents=True)
        (apt / "status").touch()
        config = apt / "apt.conf"
        user = os.environ.get("USER", "root")
        config.write_text(_APT.format(folder=apt, user=user), encoding="utf-8")
        environment = {**os.environ, "APT_CONFIG": str(config)}
        # A foreign source that lacks arm64 fails the update; whether it mattered shows below.
        _run(["apt-get", "-q", "update"], "apt", apt, environment, may_fail=True)
        _run(["apt-get", "-q", "download", *_PACKAGES], "apt", apt / "packages", environment)
        for package in sorted((apt / "packages").glob("*.deb")):
            _run(["dpkg-deb", "-x", str(package), str(folder)], "dpkg", apt, environment)
        shutil.rmtree(apt)

    return prepared(f"root-{digest(_PACKAGES)}", make)


def wheels(
    name: str, requirements: Sequence[str], report: Report, *, dependencies: bool = True
) -> Path:
    """Return a folder into which the aarch64 wheels of `requirements` were installed.

    Raises:
        ToolchainError: if pip cannot get them.
    """

    def make(folder: Path) -> None:
        report(f"downloading aarch64 wheels: {', '.join(requirements)}")
        platforms = [f"--platform={name}_aarch64" for name in _PLATFORMS]
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-compile"]
        command += ["--target", str(folder), "--only-binary=:all:", "--python-version=3.11"]
        command += ["--implementation=cp", *platforms, *requirements]
        command += [] if dependencies else ["--no-deps"]
        _run(command, "pip", folder, dict(os.environ))

    return prepared(f"{name}-{digest(requirements)}", make)


def _require_debian_12() -> None:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    if release.get("ID") != "debian" or release.get("VERSION_ID") != "12":
        found = release.get("PRETTY_NAME", platform.system())
        raise ToolchainError(
            f"the emulated board is made of Debian 12 packages, but this is {found}; "
            "run it in a Debian 12 container, or tune on a real board"
        )


def _run(
    command: list[str],
    tool: str,
    folder: Path,
    environment: dict[str, str],
    *,
    may_fail: bool = False,
) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolchainError(f"cannot run {tool} for the emulated board: {error}") from error
    if done.returncode and not may_fail:
        lines = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()
        raise ToolchainError(
            f"{tool} failed while preparing the emulated board: {lines[-1]}; "
            "check the network and the disk, then try again"
        )
