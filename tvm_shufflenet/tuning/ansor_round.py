"""Worker job: one round of Ansor's search.

Ansor's C++ search has aborted whole processes, so a round runs in a worker: it reads what was
measured from a file, proposes schedules and measures nothing. The builder and the runner that
TVM calls are replaced by ones that only look at what they are given.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm_shufflenet.tuning.build import ansor_input
from tvm_shufflenet.tuning.records import Record

FUNCTION = "tvm_shufflenet.tuning.ansor_round:propose"

# Every schedule of a generation is lowered for its features: with TVM's defaults (2048 schedules,
# 4 generations) a round takes minutes on two cores.
_PARAMETERS = {
    "eps_greedy": 0.05,
    "sample_init_min_population": 32,
    "evolutionary_search_population": 128,
    "evolutionary_search_num_iters": 2,
}
_WARM_UP = 24  # records before the model's word counts
_ROWS = 400  # records the model is trained on


@dataclass(frozen=True, kw_only=True)
class RoundJob:
    """One round."""

    line: str  # any record of the task
    registry: tuple[tuple[Any, ...], ...]  # workload registry entries of all tasks in `records`
    records: str  # path of the measured records
    count: int
    seed: int
    cost_model: bool  # False: schedules are drawn, not chosen


def sample(own: Sequence[Record], others: Sequence[Record]) -> list[Record]:
    """Return the records a round starts from: all of its task, the latest of others."""
    return [*others[-max(0, _ROWS - len(own)) :], *own] if len(own) < _ROWS else list(own)


def propose(job: RoundJob) -> list[str]:
    """Return up to ``job.count`` new schedules as JSON; runs in a worker."""
    from tvm import auto_scheduler
    from tvm.auto_scheduler.workload_registry import deserialize_workload_registry_entry

    for entry in job.registry:
        deserialize_workload_registry_entry(entry)
    task = ansor_input(job.line, None).task
    policy = auto_scheduler.SketchPolicy(
        task,
        _model(job),
        params=dict(_PARAMETERS),
        seed=job.seed,
        verbose=0,
        init_search_callbacks=[auto_scheduler.PreloadMeasuredStates(job.records)],
    )
    seen: list[str] = []
    policy.continue_search_one_round(job.count, _measurer(seen))
    return seen


def _model(job: RoundJob) -> Any:
    from tvm import auto_scheduler
    from tvm.auto_scheduler.cost_model import RandomModel, XGBModel

    inputs, results = auto_scheduler.RecordReader(job.records).read_lines()
    if not job.cost_model or len(inputs) < _WARM_UP:
        return RandomModel()

    class Trained(XGBModel):
        """Trained once; what this round's stand-in runner returns must not reach it."""

        trained = False

        def update(self, inputs: Any, results: Any) -> None:
            if not self.trained:
                super().update(inputs, results)
                self.trained = True

    model = Trained(verbose_eval=0, num_warmup_sample=_WARM_UP - 1, seed=job.seed)
    model.update(inputs, results)
    return model


def _measurer(seen: list[str]) -> Any:
    """Return a measurer that notes the schedules it should measure."""
    import tvm
    from tvm import auto_scheduler

    def build(inputs: Any, *_: Any) -> Any:
        for inp in inputs:
            result = auto_scheduler.MeasureResult([0.0], 0, "", 0.0, 0)
            row = json.loads(auto_scheduler.measure_record.dump_record_to_string(inp, result))
            seen.append(json.dumps({"i": row["i"], "v": row["v"]}))
        return [auto_scheduler.measure.BuildResult("", [], 0, "", 0.0) for _ in inputs]

    def run(inputs: Any, *_: Any) -> Any:
        return [auto_scheduler.MeasureResult([1.0], 0, "", 0.0, 0) for _ in inputs]

    tvm._ffi.register_func("auto_scheduler.local_builder.build", build, override=True)
    tvm._ffi.register_func("auto_scheduler.local_runner.run", run, override=True)
    builder = auto_scheduler.LocalBuilder(n_parallel=1)
    return auto_scheduler.measure.ProgramMeasurer(
        builder, auto_scheduler.LocalRunner(), [], verbose=0
    )
