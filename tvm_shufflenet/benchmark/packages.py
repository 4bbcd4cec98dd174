"""Packages to be measured: compiled for the occasion, or given by the user and recognized."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tvm_shufflenet.benchmark.export import Export, export
from tvm_shufflenet.benchmark.measure import Entry, Progress
from tvm_shufflenet.benchmark.runners import OURS, card, peer_names
from tvm_shufflenet.errors import InputError, did_you_mean

MERGED = "ours"
UNMERGED = "ours, shuffle not merged"


@dataclass(frozen=True, kw_only=True)
class Case:
    """What one benchmark compares: a network at a size with a number of threads."""

    network: str
    size: tuple[int, int]  # height, width
    threads: int
    seed: int = 0


def compile_package(
    case: Case, board: str, folder: Path, *, merge: bool = True, untuned: bool = False
) -> Path:
    """Compile a network for `board` into a package below `folder`; return its path.

    Raises:
        InputError: if the network, size or board cannot be used.
    """
    from tvm_shufflenet.package.compile import CompileOptions, compile_model

    height, width = case.size
    kind = "merged" if merge else "unmerged"
    destination = folder / f"{case.network}-{height}x{width}-{kind}"
    if destination.exists():
        return destination
    options = CompileOptions(
        model=case.network,
        board=board,
        size=case.size,
        seed=case.seed,
        merge_shuffles=merge,
        untuned=untuned,
    )
    return compile_model(options, destination)


def has_shuffle(network: str) -> bool:
    """Say whether a network of ours has channel shuffles at all."""
    from tvm_shufflenet import models

    variant = models.parse(network)
    return variant is not None and variant.groups > 1 and variant.shuffle


def our_entries(
    case: Case, board: str, folder: Path, progress: Progress, *, untuned: bool = False
) -> list[Entry]:
    """Compile `case` with and (where there is a shuffle) without the merge."""
    exported = export(case.network, *case.size, case.seed)
    progress(f"{case.network}: compiling")
    merged = compile_package(case, board, folder, untuned=untuned)
    entries = [Entry(OURS, MERGED, exported, case.threads, merged)]
    if has_shuffle(case.network):
        progress(f"{case.network}: compiling without the merge")
        unmerged = compile_package(case, board, folder, merge=False, untuned=untuned)
        entries.append(Entry(OURS, UNMERGED, exported, case.threads, unmerged))
    return entries


def peer_entries(case: Case, exported: Export, names: Iterable[str]) -> list[Entry]:
    """Return an entry a peer."""
    return [Entry(name, card(name).title, exported, case.threads) for name in names]


def check_peers(names: Sequence[str]) -> tuple[str, ...]:
    """Return the peers asked for, all if none was named.

    Raises:
        InputError: for a name that is no peer's.
    """
    for name in names:
        if name not in peer_names():
            hint = did_you_mean(name, peer_names())
            raise InputError(f"unknown peer {name!r}{hint}; known: {', '.join(peer_names())}")
    return tuple(names) or peer_names()


def recognize(package: Path, threads: int) -> Entry:
    """Return the entry of a package made earlier, with the network PyTorch is to check it by.

    Raises:
        PackageError: if it is no package.
        InputError: if its network cannot be rebuilt here to compare with.
    """
    from tvm_shufflenet.runtime import read_manifest

    manifest = read_manifest(package)
    _, _, height, width = manifest.input.shape
    if manifest.weights.seed is None:
        raise InputError(
            f"{package} holds the weights of {manifest.weights.source}, which only that file can "
            "check; compare takes packages compiled with random weights (--seed)"
        )
    exported = export(manifest.model, height, width, manifest.weights.seed)
    return Entry(OURS, MERGED, exported, threads, package)
