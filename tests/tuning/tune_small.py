"""Tune the small network and print each trial; run by a test that kills it.

``python -m tuning.tune_small LOG TRIALS``
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from tvm_shufflenet.boards import Measure, load_board
from tvm_shufflenet.tuning.events import Event, Trial
from tvm_shufflenet.tuning.options import TuneOptions
from tvm_shufflenet.tuning.tune import tune

from .nets import small_network


def _print(event: Event) -> None:
    if isinstance(event, Trial):
        sys.stdout.write(f"{event.key}\n")
        sys.stdout.flush()


def main() -> None:
    quick = Measure(number=1, repeat=2, min_repeat_ms=2, cooldown_s=0.0)
    board = replace(load_board("local"), measure=quick)
    options = TuneOptions(
        log=Path(sys.argv[1]), trials=int(sys.argv[2]), resume=True, search="random"
    )
    tune(small_network(board), options, _print)


if __name__ == "__main__":
    main()
