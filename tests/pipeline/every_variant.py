"""Worker job: import a network, lower it for a board, evaluate it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from interpreter import evaluate
from networks import expected_of, exported, lowered, notes, operators, pixels

from tvm_shufflenet import frontend, models
from tvm_shufflenet.benchmark.verify import compare
from tvm_shufflenet.passes import merge_channel_shuffle, to_channel_blocks


@dataclass(frozen=True)
class Seen:
    """What came of one network."""

    operators: Mapping[str, int]
    notes: tuple[str, ...]
    wrong: str  # how the outputs differ; empty if they are PyTorch's


def look_at(name: str, size: tuple[int, int], board: str, onnx: bool) -> Seen:
    """Return what becomes of the network `name`."""
    import torch

    torch.set_num_threads(1)
    shape = (1, 3, *size)
    module, image = models.build(name, seed=1), pixels(shape)
    expected = expected_of(module, image)
    if onnx:
        with tempfile.TemporaryDirectory() as folder:
            imported = frontend.from_onnx(exported(module, shape, Path(folder)), shape)
    else:
        imported = frontend.from_torch(module, shape)
    mod = lowered(imported, board)
    kept = notes(mod, merge_channel_shuffle.KEPT) + notes(mod, to_channel_blocks.KEPT)
    difference = compare(evaluate(mod, image), expected)
    return Seen(operators(mod), tuple(kept), "" if difference.strict else difference.describe())
