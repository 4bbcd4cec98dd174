"""Tuning tasks: what a network computes, how often, and the ways in which it may be scheduled."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm_shufflenet.boards import Board
from tvm_shufflenet.compiler import load_tvm
from tvm_shufflenet.errors import InputError, did_you_mean
from tvm_shufflenet.tuning import templates
from tvm_shufflenet.tuning.history import autotvm_workload
from tvm_shufflenet.tuning.options import check_tuner
from tvm_shufflenet.tuning.records import ANSOR, AUTOTVM, Candidate

# Builds the network into a library at the second path with the log at the first (None: untuned);
# returns the key of the record that serves each kernel, by the kernel's function.
BuildNetwork = Callable[[Path | None, Path], Mapping[str, str]]


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network to tune: Relay after our passes, parameters bound, for one board."""

    name: str  # names the log
    mod: Any  # tvm.IRModule
    board: Board
    target: Any  # tvm.target.Target of `board`
    params: Any = None  # parameters that are not bound
    build: BuildNetwork | None = None  # without it nothing is measured inside the network


@dataclass(frozen=True, kw_only=True)
class Task:
    """A workload on a target."""

    name: str  # short and unique within its network: "t03"
    tuner: str
    title: str  # operator and shapes, for people
    workload: str  # as `Candidate.workload` spells it
    site: str  # templates for the same operator share it: the network needs one of them
    weight: int  # calls in one inference
    flops: float  # of one call
    handle: Any  # autotvm.task.Task or auto_scheduler.SearchTask
    space: int  # configurations; 0 if unbounded (Ansor)

    def candidate(self, config: Any) -> Candidate:
        """Return the candidate for an AutoTVM config entity or an Ansor state."""
        if self.tuner == AUTOTVM:
            return _autotvm_candidate(self.handle, config)
        return _ansor_candidate(self.handle, config)


def extract(network: Network, tuner: str, modules: tuple[str, ...] = ()) -> tuple[Task, ...]:
    """Return the tasks of `network`, those with the most work first.

    Raises:
        InputError: if `tuner` is unknown or nothing in the network can be tuned.
    """
    check_tuner(tuner)
    load_tvm()
    templates.register(modules)
    found = list(_from_autotvm(network) if tuner == AUTOTVM else _from_ansor(network))
    if not found:
        raise InputError(f"{network.name} has nothing that {tuner} can tune")
    found.sort(key=lambda task: (-task["weight"] * task["flops"], task["workload"]))
    return tuple(
        Task(name=f"t{number:02d}", tuner=tuner, **fields) for number, fields in enumerate(found)
    )


def select(tasks: tuple[Task, ...], names: Iterable[str]) -> tuple[Task, ...]:
    """Return the tasks called `names`, or whose title contains one of them; all if none is given.

    Raises:
        InputError: if a name fits no task.
    """
    wanted: list[Task] = []
    for name in names:
        hits = [task for task in tasks if name == task.name or name in task.title.split()[0]]
        if not hits:
            known = [task.name for task in tasks]
            raise InputError(
                f"no task {name!r}{did_you_mean(name, known)}; 'tvm-shufflenet tasks' lists them"
            )
        wanted += [task for task in hits if task not in wanted]
    return tuple(wanted) or tasks


def _from_autotvm(network: Network) -> Iterable[dict[str, Any]]:
    """Ask every strategy the target has for the templates of each fused kernel's operators.

    The strategy decides by the target's keys, so a template of another family never shows up.
    """
    from tvm import autotvm

    found: dict[str, dict[str, Any]] = {}
    for call, count in _operator_calls(network):
        for workload in _workloads(call, network.target):
            name = autotvm_workload(workload)
            if name in found:
                found[name]["weight"] += count
                continue
            task = autotvm.task.create(workload[0], workload[1:], network.target)
            if len(task.config_space) == 0:
                continue
            tensors = [part[1] for part in workload[1:] if _is_tensor(part)]
            found[name] = {
                "title": f"{workload[0]} {' '.join(_shape(shape) for shape in tensors)}",
                "workload": name,
                "site": f"{call.op.name} {tensors} {_attributes(call)}",
                "weight": count,
                "flops": float(task.flop),
                "handle": task,
                "space": len(task.config_space),
            }
    return _of_family(found.values(), network.board)


def _of_family(found: Iterable[dict[str, Any]], board: Board) -> list[dict[str, Any]]:
    """Leave out x86 templates on an Arm board where the operator has others."""
    tasks = list(found)
    if board.cpu.arch == "x86-64":
        return tasks
    foreign = [task["handle"].name.endswith(".x86") for task in tasks]
    own = {task["site"] for task, other in zip(tasks, foreign, strict=True) if not other}
    return [
        task
        for task, other in zip(tasks, foreign, strict=True)
        if not other or task["site"] not in own
    ]


def _is_tensor(part: Any) -> bool:
    return isinstance(part, tuple) and part[:1] == ("TENSOR",)


def _shape(shape: Iterable[int]) -> str:
    return "x".join(str(extent) for extent in shape)


def _attributes(call: Any) -> str:
    if call.attrs is None:
        return ""
    return str(sorted((str(key), str(call.attrs[key])) for key in call.attrs.keys()))  # noqa: SIM118


def _operator_calls(network: Network) -> list[tuple[Any, int]]:
    """Return the operator calls inside the network's fused kernels, with their number of runs."""
    tvm = load_tvm()
    from tvm import relay

    # AutoTVM's tasks are those of the layouts before AlterOpLayout asks for a record.
    context = tvm.transform.PassContext(opt_level=3, disabled_pass={"AlterOpLayout"})
    with context:
        optimized, _ = relay.optimize(network.mod, network.target, params=network.params)
    kernels: dict[int, tuple[Any, int]] = {}

    def count(node: Any) -> None:
        if isinstance(node, relay.Call) and isinstance(node.op, relay.Function):
            identity = tvm.ir.structural_hash(node.op)
            function, runs = kernels.get(identity, (node.op, 0))
            kernels[identity] = function, runs + 1

    relay.analysis.post_order_visit(optimized["main"], count)
    calls: list[tuple[Any, int]] = []
    for function, runs in kernels.values():
        relay.analysis.post_order_visit(function.body, _collector(calls, runs))
    return calls


def _collector(calls: list[tuple[Any, int]], runs: int) -> Callable[[Any], None]:
    from tvm import relay
    from tvm.ir import Op

    def collect(node: Any) -> None:
        if isinstance(node, relay.Call) and isinstance(node.op, Op):
            calls.append((node, runs))

    return collect


def _workloads(call: Any, target: Any) -> list[tuple[Any, ...]]:
    """Return the workloads of all templates that `target` has for one operator call."""
    from tvm import autotvm, te
    from tvm.relay.backend import te_compiler

    if call.op.get_attr("FTVMStrategy") is None:
        return []
    types = [argument.checked_type for argument in call.args]
    if not all(hasattr(kind, "shape") for kind in types):
        return []  # a tuple of tensors: concatenation and the like have no template
    inputs = [te.placeholder(kind.shape, kind.dtype) for kind in types]
    found: list[tuple[Any, ...]] = []
    silent, autotvm.GLOBAL_SCOPE.silent = autotvm.GLOBAL_SCOPE.silent, True
    try:
        with target:
            for implementation in te_compiler.get_valid_implementations(
                call.op, call.attrs, inputs, call.checked_type, target
            ):
                outputs = implementation.compute(call.attrs, inputs, call.checked_type)
                workload = autotvm.task.get_workload(outputs)
                if workload is not None and workload not in found:
                    found.append(workload)
    finally:
        autotvm.GLOBAL_SCOPE.silent = silent
    return found


def _from_ansor(network: Network) -> Iterable[dict[str, Any]]:
    from tvm import auto_scheduler

    tasks, weights = auto_scheduler.extract_tasks(network.mod, network.params, network.target)
    for task, weight in zip(tasks, weights, strict=True):
        key = str(task.workload_key)
        shapes = " ".join(_shape(shape) for shape in json.loads(key)[1:])
        names = sorted({name.removeprefix("vm_mod_fused_") for name in task.desc.split(",")})
        yield {
            "title": f"{min(names, key=len)} {shapes}",
            "workload": key,
            "site": key,
            "weight": int(weight),
            "flops": max(0.0, float(task.compute_dag.flop_ct)),
            "handle": task,
            "space": 0,
        }


def _autotvm_candidate(task: Any, config: Any) -> Candidate:
    from tvm import __version__
    from tvm.autotvm.record import AUTOTVM_LOG_VERSION

    body = {
        "input": [str(task.target), task.name, _lists(task.args), {}],
        "config": _lists(config.to_json_dict()),
        "version": AUTOTVM_LOG_VERSION,
        "tvm_version": __version__,
    }
    return Candidate(AUTOTVM, body)


def _lists(value: Any) -> Any:
    """Return `value` as JSON would: TVM's numbers and tuples become plain ones."""
    return json.loads(json.dumps(value, default=int))


def _ansor_candidate(task: Any, state: Any) -> Candidate:
    from tvm import auto_scheduler

    inp = auto_scheduler.MeasureInput(task, state)
    result = auto_scheduler.MeasureResult([0.0], 0, "", 0.0, 0)
    row = json.loads(auto_scheduler.measure_record.dump_record_to_string(inp, result))
    return Candidate(ANSOR, {"i": row["i"], "v": row["v"]})


def registry_entry(task: Task) -> Any:
    """Return what another process needs to know of an Ansor task's computation."""
    from tvm.auto_scheduler.workload_registry import serialize_workload_registry_entry

    return serialize_workload_registry_entry(task.workload)
