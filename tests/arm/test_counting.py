"""Counting instructions: exact sums, steady totals, right outputs, errors in one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.arm.conftest import NETWORK
from tvm_shufflenet import models
from tvm_shufflenet.emulator.blocks import Block
from tvm_shufflenet.emulator.counting import OTHER, Counts, count_instructions
from tvm_shufflenet.emulator.cycles import estimated_cycles
from tvm_shufflenet.emulator.instructions import CLASSES, VECTOR_FMA, classify, disassemble
from tvm_shufflenet.errors import BoardUnreachable

pytestmark = pytest.mark.slow
SHAPE = (1, 3, 224, 224)


@pytest.fixture(scope="module")
def counts(package: Path) -> Counts:
    """One inference, with the cache model."""
    return count_instructions(package / "model.so", SHAPE, cache=True)


def test_the_counted_inference_computed_what_pytorch_computes(counts: Counts) -> None:
    image = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    with torch.inference_mode():
        expected = models.build(NETWORK)(torch.from_numpy(image)).numpy()
    scale = np.abs(expected).max()
    np.testing.assert_allclose(counts.output, expected, rtol=1e-4, atol=1e-5 * scale)


def test_classes_and_kernels_add_up_to_the_total(counts: Counts) -> None:
    assert set(counts.classes) <= set(CLASSES)
    assert sum(counts.classes.values()) == counts.total
    assert sum(kernel.total for kernel in counts.kernels) == counts.total
    assert sum(block.instructions for block in counts.blocks) == counts.total


def test_the_vector_multiply_adds_are_those_of_the_network(counts: Counts) -> None:
    lanes = 4
    needed = models.multiply_adds(NETWORK, SHAPE[2:]) / lanes
    # Channels are padded to whole vectors, which is why there are more.
    assert needed <= counts.classes[VECTOR_FMA] <= 1.6 * needed


def test_kernels_are_told_apart_and_the_rest_is_small(counts: Counts) -> None:
    names = [kernel.name for kernel in counts.kernels]
    assert any("depthwise_pointwise" in name for name in names)
    other = next(kernel for kernel in counts.kernels if kernel.name == OTHER)
    assert other.total < 0.1 * counts.total


def test_totals_repeat(counts: Counts, package: Path) -> None:
    again = count_instructions(package / "model.so", SHAPE)
    assert again.total == pytest.approx(counts.total, rel=1e-4)
    assert again.l1_misses is None
    assert again.l2_misses is None


def test_a_smaller_second_level_cache_misses_more(counts: Counts, package: Path) -> None:
    little = count_instructions(package / "model.so", SHAPE, cpu="cortex-a53", cache=True)
    assert counts.l1_misses is not None
    assert counts.l2_misses is not None
    assert little.l2_misses is not None
    assert 0 < counts.l2_misses < counts.l1_misses
    assert counts.l2_misses < little.l2_misses


def test_estimated_cycles_lie_between_the_widest_core_and_one_instruction_a_cycle(
    counts: Counts,
) -> None:
    assert counts.total / 3 < estimated_cycles(counts) < 1.5 * counts.total


def test_a_library_for_another_machine_is_one_sentence() -> None:
    host_library = next(Path(np.__file__).parent.joinpath("_core").glob("_multiarray_umath*.so"))
    with pytest.raises(BoardUnreachable, match="the program on the emulated cortex-a72 failed"):
        count_instructions(host_library, SHAPE)


def test_the_command_prints_classes_and_kernels_as_json(package: Path) -> None:
    command = [sys.executable, "-m", "tvm_shufflenet.emulator.count", str(package / "model.so")]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert report["unit"] == "instructions"
    assert sum(report["classes"].values()) == report["total"]


@pytest.mark.parametrize(
    ("word", "text", "kind"),
    [
        ("4e20cc00", "fmla v0.4s, v0.4s, v0.4s", VECTOR_FMA),
        ("0e20cc00", "fmla v0.2s, v0.2s, v0.2s", "vector other"),
        ("3dc00001", "ldr q1, [x0]", "vector load"),
        ("4c007800", "st1 { v0.4s }, [x0]", "vector store"),
        ("f9400001", "ldr x1, [x0]", "load"),
        ("f9000001", "str x1, [x0]", "store"),
        ("f9800000", "prfm pldl1keep, [x0]", "prefetch"),
        ("1e202800", "fadd s0, s0, s0", "scalar float"),
        ("8b010000", "add x0, x0, x1", "integer"),
        ("54000000", "b.eq #0", "branch"),
        ("d65f03c0", "ret", "branch"),
        ("00000000", "nop", "integer"),  # no instruction: data that was translated with code
    ],
)
def test_an_instruction_is_disassembled_and_classified(word: str, text: str, kind: str) -> None:
    found = disassemble([word, "d503201f"])
    assert found[word].split() == text.split() or word == "00000000"
    assert classify(found[word]) == kind


def test_dependent_multiply_adds_take_longer_than_independent_ones() -> None:
    chain = ["4e21cc20"] * 8  # fmla v0.4s, v1.4s, v1.4s
    independent = [f"4e21cc{0x20 + register:02x}" for register in range(2, 10)]
    cycles = [_cycles_of([*body, "d65f03c0"]) for body in (chain, independent)]
    assert cycles[0] > 1.9 * cycles[1]
    assert cycles[1] >= 8  # one vector multiply-add a cycle at best


def _cycles_of(code: list[str]) -> float:
    """Return the estimated cycles of one pass through `code`."""
    block = Block(0x1000, 1000, tuple(code))
    counted = Counts(
        cpu="cortex-a72", total=block.instructions, classes={}, kernels=(), blocks=(block,)
    )
    return estimated_cycles(counted) / 1000
