"""Worker job: random inputs of a task and what must come out, computed apart from its schedule.

Convolutions and dense layers are computed with numpy; our own operators bring their reference
(``tvm_shufflenet.schedules.REFERENCES``). For Ansor, and for templates without one, the reference
is the task's computation under TVM's plain default schedule on this machine.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tvm_shufflenet.compiler import PASS_CONFIG, load_tvm
from tvm_shufflenet.tuning.build import Kernel, ansor_input, ansor_plain, autotvm_kernel
from tvm_shufflenet.tuning.records import AUTOTVM

FUNCTION = "tvm_shufflenet.tuning.reference:prepare"
NUMPY = "numpy"
OWN = "numpy, from the template's module"
PLAIN = "the same computation under a plain schedule"

Array = npt.NDArray[Any]
Reference = Callable[[tuple[Any, ...], list[Array]], Array]


@dataclass(frozen=True, kw_only=True)
class ReferenceJob:
    """The task, as any candidate of it."""

    tuner: str
    line: str
    registry: tuple[Any, ...] | None
    output: str  # path of the .npz
    seed: int = 0


def prepare(job: ReferenceJob) -> str:
    """Write ``input0`` ... and ``expected`` to the .npz; return what the reference is."""
    inputs, expected, kind = _autotvm(job) if job.tuner == AUTOTVM else _ansor(job)
    arrays: dict[str, Any] = {f"input{number}": array for number, array in enumerate(inputs)}
    np.savez(job.output, **{**arrays, "expected": expected})
    return kind


def _autotvm(job: ReferenceJob) -> tuple[list[Array], Array, str]:
    from tvm import autotvm, te

    kernel = autotvm_kernel(job.line)
    inp, _ = autotvm.record.decode(job.line)
    task = inp.task
    inputs = _random(kernel, job.seed)
    own = getattr(importlib.import_module("tvm_shufflenet.schedules"), "REFERENCES", {})
    if task.name in own:
        return inputs, own[task.name](task.args, inputs), OWN
    known = _known(task.name)
    if known is not None:
        return inputs, known(task.args, inputs), NUMPY
    outputs = [t.op for t in kernel.tensors if not isinstance(t.op, te.PlaceholderOp)]
    plain = replace(kernel, schedule=te.create_schedule(outputs))
    return inputs, _plain(plain, inputs), PLAIN


def _ansor(job: ReferenceJob) -> tuple[list[Array], Array, str]:
    kernel = ansor_plain(ansor_input(job.line, job.registry))
    inputs = _random(kernel, job.seed)
    return inputs, _plain(kernel, inputs), PLAIN


def _random(kernel: Kernel, seed: int) -> list[Array]:
    generator = np.random.default_rng(seed)
    arrays: list[Array] = []
    for tensor in kernel.inputs:
        shape = tuple(int(extent) for extent in tensor.shape)
        is_float = str(tensor.dtype).startswith("float")
        low, high = (-1.0, 1.0) if is_float else (0.0, 4.0)
        arrays.append(generator.uniform(low, high, shape).astype(str(tensor.dtype)))
    return arrays


def _plain(kernel: Kernel, inputs: list[Array]) -> Array:
    """Run the computation on this machine as it is written down, loop by loop."""
    tvm = load_tvm()
    with tvm.transform.PassContext(opt_level=3, config=PASS_CONFIG):
        function = tvm.build(kernel.schedule, kernel.tensors, target="llvm")
    arguments = kernel.arguments()
    arrays = [
        tvm.nd.empty(part.shape, part.dtype)
        if part.is_output
        else tvm.nd.array(inputs[part.source])
        for part in arguments
    ]
    function(*arrays)
    outputs = [array for array, part in zip(arrays, arguments, strict=True) if part.is_output]
    result: Array = outputs[-1].numpy()
    return result


def _known(name: str) -> Reference | None:
    """Return the numpy computation of a stock template, if we have it."""
    operator = name.split(".")[0]
    plain = ("conv2d_nchw", "conv2d_NCHWc", "depthwise_conv2d_nchw", "depthwise_conv2d_NCHWc")
    if operator.startswith(plain):
        return _conv2d
    if operator == "group_conv2d_nchw":
        return _group_conv2d
    return _dense if operator.startswith("dense") else None


def _dense(arguments: tuple[Any, ...], inputs: list[Array]) -> Array:
    product = inputs[0].astype(np.float64) @ inputs[1].astype(np.float64).T
    return product + inputs[2] if len(inputs) > 2 else product


def _conv2d(arguments: tuple[Any, ...], inputs: list[Array]) -> Array:
    data, kernel = inputs[:2]
    groups = data.shape[1] // kernel.shape[1] if kernel.shape[1] == 1 else 1
    return convolve(data, kernel, arguments[2], arguments[3], arguments[4], groups)


def _group_conv2d(arguments: tuple[Any, ...], inputs: list[Array]) -> Array:
    strides, padding, dilation, groups = arguments[2:6]
    return convolve(inputs[0], inputs[1], strides, padding, dilation, int(groups))


def convolve(
    data: Array, kernel: Array, strides: Any, padding: Any, dilation: Any, groups: int
) -> Array:
    """Convolve NCHW data with OIHW kernels in float64; padding is 1, 2 or 4 numbers."""
    stride_h, stride_w = _pair(strides)
    dilation_h, dilation_w = _pair(dilation)
    top, left, bottom, right = _sides(padding)
    padded = np.pad(data.astype(np.float64), ((0, 0), (0, 0), (top, bottom), (left, right)))
    out_channels, per_group, kernel_h, kernel_w = kernel.shape
    out_h = (padded.shape[2] - dilation_h * (kernel_h - 1) - 1) // stride_h + 1
    out_w = (padded.shape[3] - dilation_w * (kernel_w - 1) - 1) // stride_w + 1
    batch = data.shape[0]
    weights = kernel.reshape(groups, out_channels // groups, per_group, kernel_h, kernel_w)
    result = np.zeros((batch, groups, out_channels // groups, out_h, out_w))
    for row in range(kernel_h):
        for column in range(kernel_w):
            window = padded[
                :,
                :,
                row * dilation_h : row * dilation_h + (out_h - 1) * stride_h + 1 : stride_h,
                column * dilation_w : column * dilation_w + (out_w - 1) * stride_w + 1 : stride_w,
            ].reshape(batch, groups, per_group, out_h, out_w)
            taps = weights[..., row, column]
            result += np.einsum("ngihw,goi->ngohw", window, taps, optimize=True)
    return result.reshape(batch, out_channels, out_h, out_w)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _sides(padding: Any) -> tuple[int, int, int, int]:
    """Return top, left, bottom, right of a padding given as 1, 2 or 4 numbers."""
    numbers = [padding] if isinstance(padding, int) else [int(side) for side in padding]
    top, left, bottom, right = (numbers * 4)[:4]
    return top, left, bottom, right
