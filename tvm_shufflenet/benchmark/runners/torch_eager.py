"""PyTorch as everybody runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvm_shufflenet.benchmark.runners import Infer, Setup

if TYPE_CHECKING:
    import numpy as np


def load(setup: Setup) -> Infer:
    """Load the module itself."""
    import torch

    torch.set_num_threads(setup.threads)
    # Our own cache wrote this file; a state dict alone would not carry the structure.
    module = torch.load(setup.export.module, weights_only=False)

    def infer(image: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return module(torch.from_numpy(image)).numpy()  # type: ignore[no-any-return]

    return infer
