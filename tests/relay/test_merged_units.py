"""Properties over small random units: merged equals unmerged equals PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from interpreter import evaluate
from networks import built, expected_of, lowered, operators, output_of, pixels, seeded
from tolerance import assert_same
from torch import nn

from tvm_shufflenet.frontend import from_torch


@dataclass(frozen=True)
class UnitCase:
    """One shuffle unit and its input."""

    groups: int
    each: int  # channels of a group of the bottleneck
    outputs: int  # channels of a group of the expansion
    stride: int
    height: int
    width: int
    batch: int
    megvii: bool  # shuffle after the depthwise convolution, with the inverse permutation
    first_dense: bool  # the first pointwise convolution is not grouped

    @property
    def middle(self) -> int:
        """Channels of the bottleneck."""
        return self.groups * self.each

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the input."""
        return self.batch, 3, self.height, self.width


class Unit(nn.Module):
    """A first convolution, one unit of Figure 2 and the classifier's mean."""

    def __init__(self, case: UnitCase) -> None:
        super().__init__()
        middle, outputs = case.middle, case.groups * case.outputs
        self.case = case
        self.first = nn.Sequential(nn.Conv2d(3, outputs, 3, padding=1), nn.ReLU())
        self.compress = nn.Sequential(
            nn.Conv2d(outputs, middle, 1, groups=1 if case.first_dense else case.groups),
            nn.BatchNorm2d(middle),
            nn.ReLU(),
        )
        self.depthwise = nn.Sequential(
            nn.Conv2d(middle, middle, 3, case.stride, padding=1, groups=middle),
            nn.BatchNorm2d(middle),
        )
        self.expand = nn.Sequential(
            nn.Conv2d(middle, outputs, 1, groups=case.groups), nn.BatchNorm2d(outputs)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) -> (N, outputs) of the unit, averaged."""
        groups = self.case.each if self.case.megvii else self.case.groups
        x = self.first(x)
        y = self.compress(x)
        if self.case.megvii:
            y = F.channel_shuffle(self.depthwise(y), groups)
        else:
            y = self.depthwise(F.channel_shuffle(y, groups))
        y = self.expand(y)
        if self.case.stride == 1:
            return torch.relu(x + y).mean((2, 3))
        return torch.relu(torch.cat((F.avg_pool2d(x, 3, 2, 1), y), 1)).mean((2, 3))


_CASES = st.builds(
    UnitCase,
    groups=st.sampled_from([2, 3, 4, 5, 8]),
    # 20: 60 channels with three groups, which their square does not divide.
    each=st.sampled_from([2, 3, 4, 6, 8, 12, 17, 20]),
    outputs=st.sampled_from([2, 4, 5, 8, 20]),
    stride=st.sampled_from([1, 2]),
    height=st.integers(3, 12),
    width=st.integers(3, 12),
    batch=st.sampled_from([1, 2]),
    megvii=st.booleans(),
    first_dense=st.booleans(),
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(case=_CASES, board=st.sampled_from(["rpi4b", "x86-avx2", "x86-avx512"]))
def test_merged_units_mean_what_torch_means(case: UnitCase, board: str) -> None:
    """For every vector width, without building: the kernels' references stand in for them."""
    module = seeded(Unit(case))
    image = pixels(case.shape)
    expected = expected_of(module, image)
    imported = from_torch(module, case.shape)
    merged, kept = lowered(imported, board), lowered(imported, board, merge=False)
    assert operators(merged)["channel_shuffle"] == 0
    assert operators(kept)["channel_shuffle"] == 1
    assert_same(evaluate(merged, image), expected)
    assert_same(evaluate(kept, image), expected)


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(case=_CASES)
def test_compiled_units_compute_what_torch_computes(case: UnitCase) -> None:
    module = seeded(Unit(case))
    image = pixels(case.shape)
    expected = expected_of(module, image)
    imported = from_torch(module, case.shape)
    for merge in (True, False):
        assert_same(output_of(built(lowered(imported, "local", merge)), image), expected)
