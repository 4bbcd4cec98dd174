"""References are computed apart from any schedule, and differences are seen."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tvm_shufflenet.tuning import reference
from tvm_shufflenet.tuning.measure import difference, is_wrong
from tvm_shufflenet.tuning.tasks import extract, registry_entry

from .nets import small_network

Array = np.ndarray[Any, Any]


def _slow(data: Array, kernel: Array, stride: int, pad: int, groups: int) -> Array:
    padded = np.pad(data, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    out_channels, per_group, size, _ = kernel.shape
    side = (padded.shape[2] - size) // stride + 1
    result = np.zeros((1, out_channels, side, side))
    places = itertools.product(range(out_channels), range(side), range(side))
    for oc, oh, ow in places:
        first = oc // (out_channels // groups) * per_group
        rows = slice(oh * stride, oh * stride + size)
        columns = slice(ow * stride, ow * stride + size)
        window = padded[0, first : first + per_group, rows, columns]
        result[0, oc, oh, ow] = np.sum(window * kernel[oc])
    return result


@pytest.mark.parametrize(
    ("channels", "out_channels", "size", "stride", "pad", "groups"),
    [(6, 4, 3, 1, 1, 1), (6, 6, 3, 2, 1, 6), (6, 9, 1, 1, 0, 3), (4, 8, 3, 2, 0, 2)],
)
def test_the_numpy_convolution_is_the_sum_over_each_window(
    channels: int, out_channels: int, size: int, stride: int, pad: int, groups: int
) -> None:
    rng = np.random.default_rng(0)
    data = rng.standard_normal((1, channels, 7, 7))
    kernel = rng.standard_normal((out_channels, channels // groups, size, size))
    got = reference.convolve(data, kernel, (stride, stride), pad, (1, 1), groups)
    np.testing.assert_allclose(got, _slow(data, kernel, stride, pad, groups), rtol=1e-12)


def test_a_blocked_output_is_compared_in_the_order_of_the_channels() -> None:
    expected = np.arange(32.0).reshape(1, 8, 2, 2)
    blocked = expected.reshape(1, 2, 4, 2, 2).transpose(0, 1, 3, 4, 2)
    assert difference(blocked, expected) == 0.0


@pytest.mark.parametrize(
    "spoil",
    [
        lambda x: x[:, :4],
        lambda x: np.where(x == 5.0, np.nan, x),
        lambda x: np.where(x == 5.0, np.inf, x),
        lambda x: np.roll(x, 1),
    ],
)
def test_a_different_output_is_wrong(spoil: Any) -> None:
    expected = np.arange(32.0).reshape(1, 8, 2, 2)
    assert is_wrong(difference(spoil(expected), expected))


def test_a_rounding_error_is_not_wrong_and_no_comparison_is_no_verdict() -> None:
    expected = np.linspace(-1, 1, 32).reshape(1, 8, 2, 2)
    assert not is_wrong(difference((expected * (1 + 1e-6)).astype("float32"), expected))
    assert not is_wrong(None)
    assert is_wrong(math.nan)


@pytest.mark.parametrize("tuner", ["autotvm", "ansor"])
def test_every_task_of_a_network_has_a_reference(tuner: str, tmp_path: Path) -> None:
    for task in extract(small_network(), tuner):
        if tuner == "autotvm":
            candidate, registry = task.candidate(task.handle.config_space.get(0)), None
        else:
            candidate = task.candidate(task.handle.compute_dag.init_state)
            registry = registry_entry(task)
        line = candidate.record((0.0,), 0, all_cost_s=0.0, timestamp=0.0).line()
        path = tmp_path / f"{task.name}.npz"
        kind = reference.prepare(
            reference.ReferenceJob(tuner=tuner, line=line, registry=registry, output=str(path))
        )
        content = np.load(path)
        assert np.ptp(content["expected"]) > 0
        assert kind == (reference.NUMPY if tuner == "autotvm" else reference.PLAIN)
