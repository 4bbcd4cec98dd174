"""Right and wrong outputs."""

from __future__ import annotations

import numpy as np
import pytest

from tvm_shufflenet.benchmark.verify import compare, worst

EXPECTED = np.linspace(-4, 8, 100, dtype=np.float32)[None]


def test_the_same_output_is_strictly_right() -> None:
    difference = compare(EXPECTED.copy(), EXPECTED)
    assert difference.strict
    assert difference.acceptable
    assert difference.of_scale == 0


def test_float32_noise_is_strictly_right() -> None:
    assert compare(EXPECTED * (1 + 5e-5), EXPECTED).strict


def test_float16_arithmetic_is_not_strictly_right() -> None:
    assert not compare(EXPECTED.astype(np.float16).astype(np.float32), EXPECTED).strict


@pytest.mark.parametrize("off, acceptable", [(0.9e-3, True), (1.2e-3, False)])
def test_a_peer_may_be_off_by_a_thousandth_of_the_scale(off, acceptable) -> None:
    got = EXPECTED.copy()
    got[0, 50] += off * 8
    difference = compare(got, EXPECTED)
    assert difference.acceptable is acceptable
    assert not difference.strict
    assert difference.of_scale == pytest.approx(off, rel=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_output_that_is_not_finite_is_wrong(value) -> None:
    got = EXPECTED.copy()
    got[0, 3] = value
    difference = compare(got, EXPECTED)
    assert not difference.acceptable
    assert difference.describe() == "output holds NaN or infinity"


def test_an_output_of_another_shape_is_wrong_and_says_so() -> None:
    difference = compare(EXPECTED[:, :-1], EXPECTED)
    assert not difference.acceptable
    assert difference.describe() == "output has shape [1, 99], expected [1, 100]"


def test_zeros_where_zeros_are_expected_are_right() -> None:
    zeros = np.zeros((1, 4), np.float32)
    assert compare(zeros, zeros).strict


def test_the_worst_of_several_counts() -> None:
    right, wrong = compare(EXPECTED, EXPECTED), compare(EXPECTED[:, ::-1], EXPECTED)
    both = worst([right, wrong])
    assert both.of_scale == wrong.of_scale
    assert not both.strict
