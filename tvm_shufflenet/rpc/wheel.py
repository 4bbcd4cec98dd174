"""A wheel of this very package, made of the installed files, for a board to install.

It works from a checkout and from an installed wheel alike, and needs neither network nor build
tools. Format: the binary distribution format of packaging.python.org.
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Iterator
from importlib import import_module, metadata
from pathlib import Path

import tvm_shufflenet
from tvm_shufflenet.errors import ToolchainError

_DISTRIBUTION = "tvm-shufflenet"
# Folders that a checkout keeps elsewhere: subpackage -> its place in the wheel.
_MAPPED = ("schedules", "targets", "tuning_logs")
_TAG = "py3-none-any"
_DATE = (1980, 1, 1, 0, 0, 0)  # the same files give the same wheel


def write_wheel(folder: Path) -> Path:
    """Write the wheel into `folder` and return its path.

    Raises:
        ToolchainError: if this package is not installed, so that its metadata is missing.
    """
    try:
        distribution = metadata.distribution(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        raise ToolchainError(
            f"{_DISTRIBUTION} is not installed here; install it with: pip install -e ."
        ) from None
    # In a checkout, setuptools' own folder may be found before what pip installed.
    described = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO")
    if not described:
        raise ToolchainError(
            f"the metadata of {_DISTRIBUTION} is missing here; install it again: pip install -e ."
        )
    version = distribution.version
    info = f"tvm_shufflenet-{version}.dist-info"
    texts = {
        f"{info}/METADATA": described,
        f"{info}/entry_points.txt": distribution.read_text("entry_points.txt") or "",
        f"{info}/WHEEL": (
            f"Wheel-Version: 1.0\nGenerator: {_DISTRIBUTION}\nRoot-Is-Purelib: true\nTag: {_TAG}\n"
        ),
    }
    files = {name: path.read_bytes() for name, path in _package_files()}
    files |= {name: text.encode() for name, text in texts.items()}
    record = "".join(f"{name},{_digest(data)},{len(data)}\n" for name, data in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    wheel = folder / f"tvm_shufflenet-{version}-{_TAG}.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), data, zipfile.ZIP_DEFLATED)
    return wheel


def _package_files() -> Iterator[tuple[str, Path]]:
    """Yield every file of the package: its name in the wheel, and where it is."""
    package = Path(tvm_shufflenet.__file__).parent
    places = {"tvm_shufflenet": package}
    for name in _MAPPED:
        module = import_module(f"tvm_shufflenet.{name}")
        places[f"tvm_shufflenet/{name}"] = Path(str(module.__file__)).parent
    seen = set()
    for prefix, folder in places.items():
        for path in sorted(folder.rglob("*")):
            name = f"{prefix}/{path.relative_to(folder).as_posix()}"
            if path.is_file() and "__pycache__" not in path.parts and name not in seen:
                seen.add(name)
                yield name, path


def _digest(data: bytes) -> str:
    text = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
    return f"sha256={text}"
