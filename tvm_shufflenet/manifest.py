"""What a package says of itself: ``manifest.json`` as frozen dataclasses.

The text is deterministic and closed by a digest of itself, so that any altered byte is noticed.
It names everything else in the package with sizes and SHA-256, so that signing it signs all.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tvm_shufflenet.errors import PackageError
from tvm_shufflenet.strict_json import decode, parse_object

SCHEMA_VERSION = 1
FILE_NAME = "manifest.json"
SIGNATURE_NAME = "manifest.sig"
LIBRARY_NAME = "model.so"
LABELS_NAME = "labels.txt"
MAX_BYTES = 1 << 20  # a manifest; the largest network of ours has 40 KB
ARCHITECTURES = ("aarch64", "armv7", "x86-64")
RANDOM_WEIGHTS = "random"

_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_VERSION = re.compile(r"\d{1,3}(\.\d{1,5}){1,2}[A-Za-z0-9.+-]{0,32}")


def _check(holds: bool, field: str, wanted: str) -> None:
    if not holds:
        raise PackageError(f"{FILE_NAME}: {field} must be {wanted}; make the package again")


def _check_file(file: str, sha256: str, field: str) -> None:
    _check(bool(_FILE.fullmatch(file)), f"{field}.file", "a plain file name")
    _check(file not in (FILE_NAME, SIGNATURE_NAME), f"{field}.file", "another file's name")
    _check(bool(_SHA256.fullmatch(sha256)), f"{field}.sha256", "64 lower-case hex digits")


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How a picture becomes the network's input: resize, crop, order, (x·scale - mean) / std."""

    resize: int | None  # the shorter side is resized to this many pixels; null with no crop
    crop: tuple[int, ...] | None  # (h, w) cut from the middle; null: the whole image is resized
    channel_order: str = "RGB"  # or "BGR": the order in which the network takes the channels
    scale: float = 1 / 255  # applied to the 0-255 values first; mean and std are in its units
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)  # in channel_order
    std: tuple[float, ...] = (0.229, 0.224, 0.225)  # in channel_order
    folded: bool = False  # the compiled graph does scale, mean and std itself and takes 0-255

    def __post_init__(self) -> None:
        # 1 and 1.0 are the same number but not the same text.
        object.__setattr__(self, "scale", float(self.scale))
        object.__setattr__(self, "mean", tuple(map(float, self.mean)))
        object.__setattr__(self, "std", tuple(map(float, self.std)))
        where = "input.preprocessing"
        _check(self.channel_order in ("RGB", "BGR"), f"{where}.channel_order", "RGB or BGR")
        _check(_positive(self.scale), f"{where}.scale", "a positive number")
        _check(len(self.mean) == 3, f"{where}.mean", "three numbers")
        _check(all(map(math.isfinite, self.mean)), f"{where}.mean", "three finite numbers")
        _check(len(self.std) == 3, f"{where}.std", "three numbers")
        _check(all(map(_positive, self.std)), f"{where}.std", "three positive numbers")
        both = (self.resize is None) == (self.crop is None)
        _check(both, f"{where}.resize", "null exactly when crop is null")
        if self.resize is not None and self.crop is not None:
            _check(len(self.crop) == 2, f"{where}.crop", "two sizes, height and width")
            fits = min(self.crop) >= 1 and max(self.crop) <= self.resize <= 1 << 14
            _check(fits, f"{where}.resize", "at least the crop, at most 16384")


def _positive(number: float) -> bool:
    return math.isfinite(number) and number > 0


@dataclass(frozen=True, kw_only=True)
class Input:
    """The network's input; `shape` is (n, 3, h, w) with the first library's batch size."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    preprocessing: Preprocessing

    def __post_init__(self) -> None:
        _check(bool(self.name), "input.name", "the name of the graph's input")
        _check(self.dtype == "float32", "input.dtype", "float32")
        sizes = len(self.shape) == 4 and all(1 <= size <= 1 << 14 for size in self.shape)
        _check(sizes and self.shape[1] == 3, "input.shape", "[n, 3, height, width]")
        crop = self.preprocessing.crop
        _check(crop in (None, self.shape[2:]), "input.preprocessing.crop", "the input's size")


@dataclass(frozen=True, kw_only=True)
class Output:
    """The network's output: logits of shape (n, classes)."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    def __post_init__(self) -> None:
        _check(self.dtype == "float32", "output.dtype", "float32")
        sizes = len(self.shape) == 2 and all(1 <= size <= 1 << 24 for size in self.shape)
        _check(sizes, "output.shape", "[n, classes]")


@dataclass(frozen=True, kw_only=True)
class Library:
    """One compiled shared library: graph, parameters and kernels for one batch size."""

    batch: int
    file: str
    sha256: str
    size_bytes: int

    def __post_init__(self) -> None:
        _check_file(self.file, self.sha256, "libraries")
        _check(1 <= self.batch <= 1 << 14, "libraries.batch", "a positive batch size")
        _check(1 <= self.size_bytes < 1 << 31, "libraries.size_bytes", "a size under 2 GiB")


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The class names: a UTF-8 text file, one class a line in the order of the outputs."""

    file: str
    sha256: str

    def __post_init__(self) -> None:
        _check_file(self.file, self.sha256, "labels")


@dataclass(frozen=True, kw_only=True)
class TuningLog:
    """The records that were applied."""

    name: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """One kernel of the graph: its name, what it computes, and the record that served it."""

    name: str
    op: str
    record: str | None  # null: compiled with its operator's default schedule


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Where the weights are from: "random" with its seed, or a file's name and SHA-256."""

    source: str
    seed: int | None = None
    sha256: str | None = None

    @property
    def untrained(self) -> bool:
        """Whether the network was never trained, so that its predictions mean nothing."""
        return self.source == RANDOM_WEIGHTS


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything a package says of itself; see docs/package.md for the fields."""

    schema_version: int = SCHEMA_VERSION
    model: str
    input: Input
    output: Output
    board: str
    target: str  # TVM's target string
    arch: str  # "aarch64", "armv7" or "x86-64"
    cpu_features: tuple[str, ...]  # as the kernel spells them: "avx2", "asimddp"
    glibc: str  # the oldest glibc that can load the libraries
    tvm_version: str
    passes: tuple[str, ...]
    tuning_log: TuningLog | None
    kernels: tuple[Kernel, ...]
    libraries: tuple[Library, ...]  # one a batch size
    labels: Labels | None
    multiply_adds: int  # of one image
    parameters: int
    weights: Weights
    threads: int  # used unless the caller says otherwise
    core_mask: tuple[int, ...]  # cores to run on; empty: the system chooses

    def __post_init__(self) -> None:
        _check(self.schema_version == SCHEMA_VERSION, "schema_version", str(SCHEMA_VERSION))
        _check(self.arch in ARCHITECTURES, "arch", f"one of {', '.join(ARCHITECTURES)}")
        _check(bool(_VERSION.fullmatch(self.glibc)), "glibc", "a version such as 2.28")
        _check(bool(_VERSION.fullmatch(self.tvm_version)), "tvm_version", "a version")
        _check(bool(self.libraries), "libraries", "at least one library")
        _check(_distinct(self.batch_sizes), "libraries.batch", "different in each library")
        files = [library.file for library in self.libraries]
        files += [self.labels.file] if self.labels else []
        _check(_distinct(files), "libraries.file", "different in each library")
        batch = self.libraries[0].batch
        _check(self.input.shape[0] == batch, "input.shape", f"for a batch of {batch}")
        _check(self.output.shape[0] == batch, "output.shape", f"for a batch of {batch}")
        _check(min(self.multiply_adds, self.parameters) >= 0, "multiply_adds", "not negative")
        _check(1 <= self.threads <= 1024, "threads", "from 1 to 1024")
        cores = all(0 <= core < 1024 for core in self.core_mask) and _distinct(self.core_mask)
        _check(cores, "core_mask", "a list of different cores")

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """The batch sizes it is compiled for."""
        return tuple(library.batch for library in self.libraries)

    def fields(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values, without the closing digest."""
        return dataclasses.asdict(self)

    def to_text(self) -> str:
        """Return the one text of this manifest: same fields, same bytes."""
        fields = self.fields()
        digest = hashlib.sha256(_dump(fields).encode()).hexdigest()
        return _dump({**fields, "digest": digest})


def _distinct(items: Iterable[Any]) -> bool:
    listed = list(items)
    return len(set(listed)) == len(listed)


def _dump(fields: dict[str, Any]) -> str:
    return json.dumps(fields, indent=2, allow_nan=False) + "\n"


def parse_manifest(text: bytes, where: str = FILE_NAME) -> Manifest:
    """Read a manifest strictly.

    Raises:
        PackageError: naming the field that is wrong, or saying that the text was altered.
    """
    if len(text) > MAX_BYTES:
        raise PackageError(f"{where} is larger than {MAX_BYTES} bytes; it is not a manifest")
    raw = parse_object(text, where)
    version = raw.get("schema_version")
    if version != SCHEMA_VERSION or type(version) is not int:
        raise PackageError(
            f"{where}: schema_version is {version!r:.40} and this tvm-shufflenet reads "
            f"{SCHEMA_VERSION}; compile the package with the version that runs it"
        )
    raw.pop("digest", None)  # compared as part of the text below
    manifest = decode(Manifest, raw, where)
    if manifest.to_text().encode() != text:
        raise PackageError(
            f"{where} was altered after it was written (its digest does not match); "
            "make the package again"
        )
    return manifest
