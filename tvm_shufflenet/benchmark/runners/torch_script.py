"""PyTorch's traced module, frozen and optimized for inference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvm_shufflenet.benchmark.runners import Infer, Setup

if TYPE_CHECKING:
    import numpy as np


def load(setup: Setup) -> Infer:
    """Load, freeze and optimize the traced module."""
    import torch

    torch.set_num_threads(setup.threads)
    traced = torch.jit.load(setup.export.torchscript)  # type: ignore[no-untyped-call]
    module = torch.jit.optimize_for_inference(torch.jit.freeze(traced.eval()))

    def infer(image: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return module(torch.from_numpy(image)).numpy()  # type: ignore[no-any-return]

    return infer
