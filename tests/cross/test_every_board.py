"""Every board file builds the networks of the paper's Table 8, into vector code of its machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.cross.loops import loops_of
from tvm_shufflenet import boards, elf, linking
from tvm_shufflenet.benchmark.table8 import NETWORKS
from tvm_shufflenet.boards import Machine, load_board
from tvm_shufflenet.package.compile import CompileOptions, Prepared, build_library, prepare

SHIPPED = [name for name in boards.board_names() if name != boards.LOCAL]
# Multiply-adds are the whole point of these; poolings, sums and copies have none.
_MULTIPLYING = ("convolution", "pointwise")

Preparing = Callable[[str, str], Prepared]


@pytest.fixture(scope="module")
def preparing() -> Preparing:
    """Prepare a network for a board; boards with the same machine share the passes' work."""

    @cache
    def for_machine(network: str, machine: Machine) -> Prepared:
        board = next(name for name in SHIPPED if load_board(name).machine == machine)
        return prepare(CompileOptions(model=network, board=board, untuned=True))

    def for_board(network: str, name: str) -> Prepared:
        board = load_board(name)
        made = for_machine(network, board.machine)
        options = dataclasses.replace(made.options, board=name)
        return dataclasses.replace(made, options=options, board=board, target=board.target())

    return for_board


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", SHIPPED)
def test_a_board_builds_a_network_whose_hot_loops_multiply_and_add_vectors(
    name: str, network: str, preparing: Preparing, tmp_path: Path
) -> None:
    library = tmp_path / "model.so"
    prepared = preparing(network, name)
    built = build_library(prepared, library)
    content = library.read_bytes()
    arch = prepared.board.cpu.arch
    assert elf.machine_of(content) == arch
    assert elf.glibc_needed(content) <= linking.GLIBC_BASELINE
    loops = loops_of(library, arch)
    multiplying = [kernel for kernel, op, _ in built.kernels if any(m in op for m in _MULTIPLYING)]
    assert multiplying
    for kernel in multiplying:
        in_vectors = sum(loop.vector for loop in loops[kernel]) * prepared.board.machine.lanes
        one_by_one = sum(loop.scalar for loop in loops[kernel])
        assert in_vectors > 0, kernel
        # x86 computes what is left of a row of 33 channels one by one.
        assert one_by_one <= (in_vectors / 2 if arch == "x86-64" else 0), kernel
