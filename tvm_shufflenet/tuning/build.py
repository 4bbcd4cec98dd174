"""Worker job: build a candidate's kernel into a shared library for the board."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from tvm_shufflenet.compiler import PASS_CONFIG, load_tvm
from tvm_shufflenet.tuning.records import AUTOTVM

FUNCTION = "tvm_shufflenet.tuning.build:build"


@dataclass(frozen=True, kw_only=True)
class BuildJob:
    """What to build and where to put it."""

    tuner: str
    line: str  # the candidate as a line of a log
    registry: tuple[Any, ...] | None  # Ansor: its entry of TVM's workload registry
    linker: Any  # links for the board; picklable
    output: str  # path of the library
    original_layouts: bool = False  # Ansor: take weights as the network has them, for a check


@dataclass(frozen=True, kw_only=True)
class Argument:
    """One argument of a built kernel."""

    shape: tuple[int, ...]
    dtype: str
    source: int  # which of the operator's inputs it takes; -1: an output

    @property
    def is_output(self) -> bool:
        """Whether the kernel writes it."""
        return self.source < 0


@dataclass(frozen=True, kw_only=True)
class Built:
    """A kernel's library."""

    path: str
    arguments: tuple[Argument, ...]
    seconds: float


def build(job: BuildJob) -> Built:
    """Build `job`; runs in a worker. Raises whatever TVM raises for a config that cannot be."""
    start = time.monotonic()
    tvm = load_tvm()
    kernel = autotvm_kernel(job.line) if job.tuner == AUTOTVM else _ansor(job)
    with tvm.transform.PassContext(opt_level=3, config=PASS_CONFIG):
        library = tvm.build(kernel.schedule, kernel.tensors, target=kernel.target)
    library.export_library(job.output, fcompile=job.linker)
    return Built(path=job.output, arguments=kernel.arguments(), seconds=time.monotonic() - start)


@dataclass(frozen=True)
class Kernel:
    """A scheduled computation, not built yet."""

    schedule: Any  # te.Schedule
    tensors: Any  # the function's arguments, in its order
    inputs: Any  # the operator's inputs, in the operator's order
    target: Any

    def arguments(self) -> tuple[Argument, ...]:
        """Describe the function's arguments."""
        return tuple(
            Argument(
                shape=tuple(int(extent) for extent in tensor.shape),
                dtype=str(tensor.dtype),
                source=next((n for n, i in enumerate(self.inputs) if i.same_as(tensor)), -1),
            )
            for tensor in self.tensors
        )


def autotvm_kernel(line: str) -> Kernel:
    """Instantiate an AutoTVM record.

    A template's function takes output and inputs in the order of its own graph, which may change
    with the configuration; the operator's order is that of the placeholders made for it.
    """
    from tvm import autotvm, te
    from tvm.autotvm.task import task as tasks
    from tvm.autotvm.task.space import InstantiationError

    inp, _ = autotvm.record.decode(line)
    made: list[Any] = []
    original = tasks.deserialize_args

    def remember(arguments: Any) -> Any:
        values = original(arguments)
        made.extend(value for value in values if isinstance(value, te.Tensor))
        return values

    tasks.deserialize_args = remember
    try:
        with inp.target:
            schedule, tensors = inp.task.instantiate(inp.config)
    finally:
        tasks.deserialize_args = original
    if not inp.config.valid():
        raise InstantiationError(str(inp.config.errors))
    return Kernel(schedule, tensors, made or _placeholders(tensors), inp.target)


def _placeholders(tensors: Any) -> list[Any]:
    from tvm import te

    return [tensor for tensor in tensors if isinstance(tensor.op, te.PlaceholderOp)]


def _ansor(job: BuildJob) -> Kernel:
    from tvm.auto_scheduler.compute_dag import LayoutRewriteOption

    inp = ansor_input(job.line, job.registry)
    rewrite = inp.task.layout_rewrite_option
    if job.original_layouts and rewrite != LayoutRewriteOption.NO_REWRITE:
        rewrite = LayoutRewriteOption.INSERT_TRANSFORM_STAGE
    schedule, tensors = inp.task.compute_dag.apply_steps_from_state(
        inp.state, layout_rewrite=rewrite
    )
    return Kernel(schedule, tensors, _placeholders(tensors), inp.task.target)


def ansor_input(line: str, registry: tuple[Any, ...] | None) -> Any:
    """Return the complete ``auto_scheduler.MeasureInput`` of a log line."""
    from tvm import auto_scheduler
    from tvm.auto_scheduler.workload_registry import deserialize_workload_registry_entry

    if registry is not None:
        deserialize_workload_registry_entry(registry)
    json.loads(line)  # TVM's reader aborts on what is not JSON
    inp, _ = auto_scheduler.measure_record.load_record_from_string(line)
    return auto_scheduler.measure.recover_measure_input(inp)


def ansor_plain(inp: Any) -> Kernel:
    """Return the computation of an Ansor task under TVM's default schedule."""
    dag = inp.task.compute_dag
    schedule, tensors = dag.apply_steps_from_state(dag.init_state)
    return Kernel(schedule, tensors, _placeholders(tensors), inp.task.target)
