"""Samples and what is concluded from them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_shufflenet.benchmark.statistics import Samples, percentile, speedup

seconds = st.floats(1e-6, 1e3)


@given(st.lists(seconds, min_size=1), st.floats(0, 1))
def test_percentiles_are_numpys(values, fraction) -> None:
    wanted = np.percentile(values, fraction * 100)
    assert percentile(values, fraction) == pytest.approx(wanted)


def test_a_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="of 0 values"):
        percentile([], 0.5)


def test_the_figures_span_all_rounds_and_no_warmup() -> None:
    samples = Samples(((1.0, 2.0), (3.0, 4.0, 5.0)), warmups=((100.0,), (100.0,)))
    assert samples.values == (1.0, 2.0, 3.0, 4.0, 5.0)
    assert samples.median_s == 3.0
    assert samples.min_s == 1.0
    assert samples.round_medians_s == (1.5, 4.0)
    assert samples.p90_s == pytest.approx(4.6)
    assert samples.p99_s == pytest.approx(4.96)
    assert samples.spread == pytest.approx((4.6 - 1.4) / 3)


@pytest.mark.parametrize("rounds", [(), ((),), ((1.0,), ()), ((0.0,),), ((float("nan"),),)])
def test_samples_without_positive_values_are_refused(rounds) -> None:
    with pytest.raises(ValueError, match=r"round|positive"):
        Samples(rounds)


def test_steady_samples_bring_no_warning() -> None:
    assert Samples(((1.0, 1.01, 0.99),) * 5).warnings() == ()


def test_few_samples_are_warned_about() -> None:
    (warning,) = Samples(((1.0, 1.0),)).warnings()
    assert warning == "only 2 samples: raise --rounds"


def test_a_large_deviation_is_warned_about_with_a_remedy() -> None:
    (warning,) = Samples(((1.0, 2.0, 1.0, 2.0, 1.5),) * 4).warnings()
    assert "of the mean" in warning
    assert "raise --rounds" in warning


def test_a_round_that_drifted_is_warned_about_even_if_each_round_is_steady() -> None:
    samples = Samples(((1.0,) * 20,) * 9 + ((1.25,) * 20,))
    (warning,) = samples.warnings()
    assert "25% off" in warning


@given(st.floats(1.1, 5), st.lists(st.floats(0.5, 2), min_size=3, max_size=20))
def test_drift_that_both_meet_leaves_their_ratio_alone(factor, drift) -> None:
    ours = Samples(tuple((1e-3 * slow,) * 3 for slow in drift))
    theirs = Samples(tuple((factor * 1e-3 * slow,) * 3 for slow in drift))
    ratio = speedup(ours, theirs)
    assert ratio.median == pytest.approx(factor)
    assert ratio.low == pytest.approx(factor)
    assert ratio.high == pytest.approx(factor)


def test_a_ratio_tells_its_worst_and_best_round() -> None:
    ratio = speedup(Samples(((1.0,), (1.0,), (2.0,))), Samples(((2.0,), (3.0,), (2.0,))))
    assert (ratio.low, ratio.median, ratio.high) == (1.0, 2.0, 3.0)
