"""Trained weights: reading a checkpoint and fitting it to a network, or saying why not."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tvm_shufflenet.errors import WeightsError
from tvm_shufflenet.models.dialects import DIALECTS, PAPER
from tvm_shufflenet.models.key_layouts import original_key, recognize
from tvm_shufflenet.models.naming import ShuffleNetVariant

_COUNTER = "num_batches_tracked"  # old checkpoints lack it, and inference has no use for it


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint: a state dict, or a dict that has one under ``state_dict``.

    Only tensors and plain containers are unpickled, never code. The ``module.`` that
    `torch.nn.DataParallel` puts before every key is dropped.

    Raises:
        WeightsError: if the file cannot be read or holds something else.
    """
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"cannot read the weights {path}: {error.strerror or error}") from None
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is not a checkpoint of plain tensors; save one with "
            "torch.save(net.state_dict(), file)"
        ) from error
    except Exception as error:  # a damaged pickle fails in whatever its bytes happen to say
        raise WeightsError(f"{path} is damaged or no PyTorch checkpoint; fetch it again") from error
    state = content.get("state_dict", content) if isinstance(content, Mapping) else content
    if not isinstance(state, Mapping) or not state:
        raise WeightsError(f"{path} holds no state dict; save one with net.state_dict()")
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise WeightsError(
                f"{path}: {key!r} is no named tensor; save the network's state_dict() alone"
            )
    return {key.removeprefix("module."): value for key, value in state.items()}


def load_weights(module: nn.Module, path: Path, variant: ShuffleNetVariant | None) -> None:
    """Load the checkpoint `path` into `module`, in place.

    The keys may be ours or those of the dialect that `variant` names.

    Raises:
        WeightsError: if it cannot be read or does not fit; names the first missing, the first
            unexpected and the first misshaped key, as the file spells them.
    """
    state = read_state(path)
    wanted = {key: value for key, value in module.state_dict().items() if _COUNTER not in key}
    found = {key: value for key, value in state.items() if _COUNTER not in key}
    spelled = _spelling(list(wanted), found, variant)
    problems = _misfits({spelled[key]: value for key, value in wanted.items()}, found)
    if problems:
        advice = _advice(found, variant)
        raise WeightsError(f"{path} does not fit: {'; '.join(problems)}{advice}")
    for key in wanted:
        if not bool(torch.isfinite(found[spelled[key]]).all()):
            raise WeightsError(f"{path}: {spelled[key]!r} holds NaN or infinity; fetch it again")
    module.load_state_dict({key: found[spelled[key]] for key in wanted}, strict=False)


def _spelling(
    keys: list[str], found: Mapping[str, Tensor], variant: ShuffleNetVariant | None
) -> dict[str, str]:
    """Map our keys to the file's: theirs if it comes from the variant's source, else ours."""
    if variant is None or variant.dialect == PAPER or recognize(found) != variant.dialect:
        return {key: key for key in keys}
    return {key: original_key(variant.dialect, key) for key in keys}


def _misfits(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    missing = [key for key in wanted if key not in found]
    unexpected = [key for key in found if key not in wanted]
    problems = []
    if missing:
        problems.append(f"missing {missing[0]!r}{_more(missing)}")
    if unexpected:
        problems.append(f"unexpected {unexpected[0]!r}{_more(unexpected)}")
    both = [key for key in wanted if key in found]
    misshaped = [key for key in both if wanted[key].shape != found[key].shape]
    if misshaped:
        first = misshaped[0]
        shapes = f"{tuple(found[first].shape)} instead of {tuple(wanted[first].shape)}"
        problems.append(f"misshaped {first!r}, {shapes}{_more(misshaped)}")
    integral = [key for key in both if not found[key].is_floating_point()]
    if integral:
        first = integral[0]
        problems.append(f"not floating point {first!r}, {found[first].dtype}{_more(integral)}")
    return problems


def _more(keys: list[str]) -> str:
    return f" and {len(keys) - 1} more" if len(keys) > 1 else ""


def _advice(found: Mapping[str, Tensor], variant: ShuffleNetVariant | None) -> str:
    source = recognize(found)
    if source is None or (variant is not None and variant.dialect == source):
        return ""
    return (
        f"; its keys are those of {DIALECTS[source].title}, whose networks are named "
        f"'shufflenet_v1_g<groups>_x<scale>_{source}'"
    )
