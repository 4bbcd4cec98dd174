"""The networks in PyTorch, and the published weights they can take.

Naming is free of torch, so that a wrong name is answered at once; whatever needs torch imports
it when called.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tvm_shufflenet.models import input_size
from tvm_shufflenet.models.cards import PUBLISHED_SIZE, ModelCard, make_card
from tvm_shufflenet.models.costs import cost
from tvm_shufflenet.models.naming import ShuffleNetVariant, names, paper_names, parse
from tvm_shufflenet.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "ModelCard",
    "Preprocessing",
    "ShuffleNetVariant",
    "build",
    "card",
    "check_input_size",
    "multiply_adds",
    "names",
    "paper_names",
    "parse",
    "preprocessing",
]


def build(name: str, *, seed: int = 0, weights: Path | str | None = None) -> nn.Module:
    """Return the network `name` in eval mode, float32, on the CPU.

    (N, 3, H, W) -> (N, 1000).

    Args:
        name: as `names` lists them, or a ShuffleNet of another scale, such as
            ``shufflenet_v1_g3_x0.75``.
        seed: of the random initialization, which leaves torch's global random state alone.
        weights: a checkpoint to load, in our key layout or, for a network of a published
            source, in the source's.

    Raises:
        ModelError: for an unknown network.
        WeightsError: for a checkpoint that cannot be read or does not fit.
    """
    variant = parse(name)
    module = _structure(variant).to_empty(device="cpu").eval()
    from tvm_shufflenet.models.initialization import initialize

    initialize(module, seed, preprocessing(name).input_rms)
    if weights is not None:
        from tvm_shufflenet.models.weights import load_weights

        load_weights(module, Path(weights), variant)
    return module


@cache
def card(name: str) -> ModelCard:
    """Return the facts about the network `name` (imports no torch).

    Raises:
        ModelError: for an unknown network.
    """
    return make_card(parse(name))


def multiply_adds(network: nn.Module | str, size: tuple[int, int] = PUBLISHED_SIZE) -> int:
    """Return the multiply-adds of one picture of `size` (height, width).

    Counted are convolutions and matrix products, as in the paper; bias additions, pooling,
    normalization and activations are not. A name is answered by arithmetic, without torch; a
    module, which may be anybody's, by running it on shapes.

    Raises:
        ModelError: for an unknown network, or a size it cannot take.
    """
    if isinstance(network, str):
        check_input_size(network, size)
        return cost(parse(network), size).multiply_adds
    from tvm_shufflenet.models.counting import count_multiply_adds

    return count_multiply_adds(network, size)


def preprocessing(name: str) -> Preprocessing:
    """Return what the network `name` expects done to a picture (imports no torch).

    Raises:
        ModelError: for an unknown network.
    """
    variant = parse(name)
    return variant.reading.preprocessing if variant else Preprocessing()


def check_input_size(name: str, size: tuple[int, int]) -> None:
    """Refuse a `size` (height, width) that the network `name` cannot take (imports no torch).

    Raises:
        ModelError: for an unknown network, or a side that is too short.
    """
    input_size.check_size(name, input_size.min_side(parse(name)), size)


def _structure(variant: ShuffleNetVariant | None) -> nn.Module:
    """Build the layers on torch's meta device: shapes, no memory, no random numbers."""
    import torch

    from tvm_shufflenet.models.alexnet import AlexNet
    from tvm_shufflenet.models.shufflenet import ShuffleNet

    with torch.device("meta"):
        return ShuffleNet(variant).eval() if variant else AlexNet().eval()
