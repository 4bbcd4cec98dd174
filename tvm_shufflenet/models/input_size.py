"""Which input sizes a network takes (no torch here)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tvm_shufflenet.errors import ModelError

if TYPE_CHECKING:
    from tvm_shufflenet.models.naming import ShuffleNetVariant

SHUFFLENET_MIN_SIDE = 32  # one pixel is left after five halvings
ALEXNET_MIN_SIDE = 63  # below it nothing is left for the last max pooling


def min_side(variant: ShuffleNetVariant | None) -> int:
    """Return the shortest side in pixels that `variant` takes; None stands for AlexNet."""
    return SHUFFLENET_MIN_SIDE if variant else ALEXNET_MIN_SIDE


def check_size(what: str, shortest: int, size: tuple[int, int]) -> None:
    """Refuse an input of `size` (height, width) in pixels that `what` cannot take.

    Raises:
        ModelError: if a side is shorter than `shortest`.
    """
    if min(size) < shortest:
        raise ModelError(
            f"{what} cannot take an input of {size[0]}x{size[1]}: "
            f"both sides must be at least {shortest} pixels; choose a larger size"
        )


def check_module_input(module: Any, x: Any) -> None:
    """Refuse an input tensor that is too small, or is not (N, 3, H, W).

    Not while tracing or exporting, where shapes are values of the graph: there
    `models.check_input_size` does it beforehand.
    """
    import torch

    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return
    what = type(module).__name__
    if x.dim() != 4 or x.shape[1] != 3:
        raise ModelError(f"{what} takes a batch of pictures (N, 3, H, W), not {tuple(x.shape)}")
    check_size(what, module.min_side, (int(x.shape[2]), int(x.shape[3])))
