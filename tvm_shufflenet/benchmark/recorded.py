"""A contestant that replays timings recorded earlier: the race without the runtimes."""

from __future__ import annotations

from collections.abc import Iterator

from tvm_shufflenet.benchmark.interleave import Burst, ContestantFailed
from tvm_shufflenet.benchmark.statistics import Samples


class Recorded:
    """Gives out the rounds of `samples` one turn after the other.

    The first turn is the race's trial, which times a single inference to size the later ones; it
    gets the first recorded value and uses up no round.
    """

    def __init__(self, samples: Samples) -> None:
        self._first = samples.values[0]
        warmups = samples.warmups or ((),) * len(samples.rounds)
        self._turns: Iterator[Burst] = map(Burst, warmups, samples.rounds)
        self._tried = False
        self.awake = False

    def resume(self) -> None:
        """Note that it may compute."""
        self.awake = True

    def pause(self) -> None:
        """Note that it may not."""
        self.awake = False

    def run(self, warmup: int, number: int) -> Burst:
        """Return the next recorded turn, however many inferences are asked for.

        Raises:
            ContestantFailed: when the recording is over.
        """
        if not self._tried:
            self._tried = True
            return Burst((), (self._first,))
        try:
            return next(self._turns)
        except StopIteration:
            raise ContestantFailed("the recording is over") from None
