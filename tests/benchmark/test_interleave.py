"""The race, run with recorded timings."""

from __future__ import annotations

import pytest

from tvm_shufflenet.benchmark.interleave import Burst, ContestantFailed, Plan, interleave
from tvm_shufflenet.benchmark.recorded import Recorded
from tvm_shufflenet.benchmark.statistics import Samples

FAST = Samples(((0.010, 0.011), (0.012, 0.010), (0.011, 0.013)), ((0.1,), (0.2,), (0.3,)))
SLOW = Samples(((0.020,), (0.022,), (0.021,)), ((), (), ()))


class Logged(Recorded):
    """Writes its turns to a log shared by all, and sees that nobody else is awake."""

    def __init__(self, name, samples, log, everybody):
        super().__init__(samples)
        self.name, self.log, self.everybody = name, log, everybody
        everybody.append(self)

    def run(self, warmup, number):
        assert [one.name for one in self.everybody if one.awake] == [self.name]
        self.log.append((self.name, number))
        return super().run(warmup, number)


def race(plan, **recordings):
    log, everybody = [], []
    contestants = {
        name: Logged(name, samples, log, everybody) for name, samples in recordings.items()
    }
    return interleave(contestants, plan), log


def test_recorded_timings_come_out_as_they_went_in() -> None:
    outcome, _ = race(Plan(rounds=3), fast=FAST, slow=SLOW)
    assert outcome.samples == {"fast": FAST, "slow": SLOW}
    assert outcome.failures == {}


def test_turns_alternate_and_the_order_rotates() -> None:
    _, log = race(Plan(rounds=3), a=FAST, b=FAST, c=FAST)
    trial, rounds = [name for name, _ in log[:3]], [name for name, _ in log[3:]]
    assert trial == ["a", "b", "c"]
    assert rounds == ["a", "b", "c", "b", "c", "a", "c", "a", "b"]


def test_only_one_contestant_is_ever_awake_and_none_afterwards() -> None:
    log, everybody = [], []
    contestants = {name: Logged(name, FAST, log, everybody) for name in "abc"}
    interleave(contestants, Plan(rounds=2))  # `Logged.run` asserts who is awake
    assert len(log) == 9
    assert not any(one.awake for one in everybody)


def test_a_turn_holds_as_many_inferences_as_fit_its_time() -> None:
    plan = Plan(rounds=1, turn_s=0.1, min_number=3, max_number=8)
    _, log = race(plan, fast=FAST, slow=SLOW, endless=Samples(((9.0,),)))
    assert log[3:] == [("fast", 8), ("slow", 5), ("endless", 3)]


def test_a_contestant_that_fails_is_dropped_and_the_others_go_on() -> None:
    short = Samples(FAST.rounds[:1])
    outcome, _ = race(Plan(rounds=3), short=short, slow=SLOW)
    assert outcome.failures == {"short": "the recording is over"}
    assert outcome.samples == {"slow": SLOW}


def test_a_contestant_that_fails_its_trial_never_gets_a_turn() -> None:
    class Broken(Recorded):
        def run(self, warmup, number):
            raise ContestantFailed("broken from the start")

    outcome = interleave({"broken": Broken(FAST), "slow": Recorded(SLOW)}, Plan(rounds=3))
    assert outcome.failures == {"broken": "broken from the start"}
    assert outcome.samples == {"slow": SLOW}


def test_if_all_fail_the_race_ends_without_samples() -> None:
    class Broken(Recorded):
        def run(self, warmup, number):
            raise ContestantFailed("no")

    outcome = interleave({"one": Broken(FAST)}, Plan(rounds=3))
    assert outcome.samples == {}


def test_a_contestant_is_paused_even_if_its_turn_is_interrupted() -> None:
    class Interrupted(Recorded):
        def run(self, warmup, number):
            raise KeyboardInterrupt

    contestant = Interrupted(FAST)
    with pytest.raises(KeyboardInterrupt):
        interleave({"one": contestant}, Plan(rounds=1))
    assert not contestant.awake


def test_progress_counts_turns() -> None:
    told = []
    interleave({"a": Recorded(FAST)}, Plan(rounds=3), lambda *turns: told.append(turns))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_burst_keeps_warmups_apart() -> None:
    recorded = Recorded(FAST)
    assert recorded.run(1, 1) == Burst((), (0.010,))  # the trial
    assert recorded.run(1, 2) == Burst((0.1,), (0.010, 0.011))
