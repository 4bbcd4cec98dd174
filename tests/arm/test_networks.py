"""Whole networks with default schedules on an emulated AArch64 core: PyTorch's outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.arm.conftest import BOARD
from tvm_shufflenet import models
from tvm_shufflenet.emulator.counting import count_instructions
from tvm_shufflenet.package.compile import CompileOptions, compile_model

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("shufflenet_v1_g2_x0.25", (97, 131)),
        ("shufflenet_v1_g3_x0.5_arch2", (224, 224)),
        ("shufflenet_v1_g3_x1.0", (64, 96)),
        ("shufflenet_v1_g4_x0.5", (64, 64)),
        ("shufflenet_v1_g8_x0.5", (64, 64)),
        ("shufflenet_v1_g3_x0.5_megvii", (64, 64)),
    ],
)
def test_the_board_computes_what_pytorch_computes(
    name: str, size: tuple[int, int], tmp_path: Path
) -> None:
    shape = (1, 3, *size)
    options = CompileOptions(model=name, board=BOARD, size=size, untuned=True)
    package = compile_model(options, tmp_path / "package")
    image = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    with torch.inference_mode():
        expected = models.build(name)(torch.from_numpy(image)).numpy()
    computed = count_instructions(package / "model.so", shape).output
    scale = np.abs(expected).max()
    np.testing.assert_allclose(computed, expected, rtol=1e-4, atol=1e-5 * scale)
